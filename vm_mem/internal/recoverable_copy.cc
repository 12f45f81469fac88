// First the plan of guest_copy.cc, over the recoverable row. Where that stops, what it
// did is finished to the byte:
//
//  1. The row again, up to the page that failed: nothing below it is known to fail.
//  2. From there naturally aligned pieces, and the bytes of the piece that fails.
//  3. Should the host have provided the page meanwhile, the row again for the rest.
#include "vm_mem/internal/recoverable_copy.h"

#include <algorithm>
#include <cstdint>

#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/fault_record.h"
#include "vm_mem/internal/guest_pieces.h"
#include "vm_mem/internal/recoverable_words.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kPage = 4096;  // the host's, or a part of one

VM_MEM_INLINE bool move_piece(std::byte* dst, const std::byte* src, std::size_t bytes) {
  switch (bytes) {
    case 1: return RecoverableWord<std::uint8_t>::move(dst, src);
    case 2: return RecoverableWord<std::uint16_t>::move(dst, src);
    case 4: return RecoverableWord<std::uint32_t>::move(dst, src);
    default: return RecoverableWord<std::uint64_t>::move(dst, src);
  }
}

VM_MEM_INLINE bool store_piece(std::byte* dst, std::uint64_t value, std::size_t bytes) {
  switch (bytes) {
    case 1: return RecoverableWord<std::uint8_t>::store(dst, static_cast<std::uint8_t>(value));
    case 2: return RecoverableWord<std::uint16_t>::store(dst, static_cast<std::uint16_t>(value));
    case 4: return RecoverableWord<std::uint32_t>::store(dst, static_cast<std::uint32_t>(value));
    default: return RecoverableWord<std::uint64_t>::store(dst, value);
  }
}

// A copy of which one side is the guest's: its words stay whole.
struct Copying {
  std::byte* dst;
  const std::byte* src;
  const std::byte* guest;  // dst or src

  Copying from(std::size_t offset) const { return {dst + offset, src + offset, guest + offset}; }

  VM_MEM_INLINE bool piece(std::size_t at, std::size_t bytes) const {
    return move_piece(dst + at, src + at, bytes);
  }
  std::size_t words(std::size_t at, std::size_t bytes) const {
    const CopyState& state = copy_state();
    const RecoverableKernels& row = state.row.load(std::memory_order_relaxed)->recoverable;
    const bool streams =
        bytes >= state.stream_min.load(std::memory_order_relaxed) && past_word(dst + at) == 0;
    return (streams ? row.stream : row.copy_words)(dst + at, src + at, bytes);
  }
  // How many of n bytes lie below the page that failed last; 0 where that is not known.
  std::size_t below_failed_page(std::size_t n) const {
    const std::size_t to_dst = below_failed_page(dst, n);
    return to_dst != 0 ? to_dst : below_failed_page(src, n);
  }
  static std::size_t below_failed_page(const std::byte* begin, std::size_t n) {
    const std::uintptr_t page = latest_fault.address / kPage * kPage;
    const auto first = reinterpret_cast<std::uintptr_t>(begin);
    return page > first && page - first < n ? page - first : 0;
  }
};

struct Filling {
  std::byte* dst;
  const std::byte* guest;  // dst
  std::uint64_t pattern;

  Filling from(std::size_t offset) const { return {dst + offset, guest + offset, pattern}; }

  VM_MEM_INLINE bool piece(std::size_t at, std::size_t bytes) const {
    return store_piece(dst + at, pattern, bytes);
  }
  std::size_t words(std::size_t at, std::size_t bytes) const {
    return active_kernels().recoverable.set(dst + at, static_cast<std::byte>(pattern & 0xff),
                                            bytes);
  }
  std::size_t below_failed_page(std::size_t n) const { return Copying::below_failed_page(dst, n); }
};

// Naturally aligned pieces of [begin, end); returns where they stop.
template <typename Work>
VM_MEM_INLINE std::size_t pieces(const Work& work, std::size_t begin, std::size_t end) {
  std::size_t at = begin;
  while (at < end) {
    const std::size_t bytes = piece_bytes(work.guest + at, end - at);
    if (!work.piece(at, bytes)) break;
    at += bytes;
  }
  return at;
}

// Some bytes at the beginning, n where nothing faulted.
template <typename Work>
VM_MEM_INLINE std::size_t attempt(const Work& work, std::size_t n) {
  if (n <= kMaxPieces) {
    if (n != kMaxPieces || past_word(work.guest) != 0) return pieces(work, 0, n);
    if (!work.piece(0, kGuestWord)) return 0;
    return work.piece(kGuestWord, kGuestWord) ? n : kGuestWord;
  }
  const GuestBody body = body_of(work.guest, n);
  if (pieces(work, 0, body.begin) < body.begin) return 0;
  const std::size_t words = work.words(body.begin, body.bytes);
  if (words < body.bytes) return body.begin + words;
  return pieces(work, body.end(), n);
}

// Exactly the bytes of [begin, end) before the first that fails.
template <typename Work>
std::size_t pieces_to_the_byte(const Work& work, std::size_t begin, std::size_t end) {
  for (std::size_t at = begin;;) {
    at = pieces(work, at, end);
    if (at == end) return end;
    const std::size_t piece_end = at + piece_bytes(work.guest + at, end - at);
    while (at < piece_end && work.piece(at, 1)) ++at;
    if (at < piece_end) return at;
  }
}

// Exactly what can be done of n bytes, `done` being done already.
template <typename Work>
[[gnu::noinline, gnu::cold]] std::size_t finish(const Work& work, std::size_t n, std::size_t done) {
  while (done < n) {
    const Work rest = work.from(done);
    const std::size_t left = n - done;
    std::size_t more = attempt(rest, rest.below_failed_page(left));
    const std::size_t end = std::min(left, more + kPage);
    more = pieces_to_the_byte(rest, more, end);
    done += more;
    if (more < end) break;
    done += attempt(work.from(done), n - done);
  }
  return done;
}

template <typename Work>
VM_MEM_INLINE std::size_t complete(const Work& work, std::size_t n) {
  prepare_this_thread();
  const std::size_t done = attempt(work, n);
  return done == n ? n : finish(work, n, done);
}

AccessSide failed_side(const std::byte* src) {
  std::byte held;
  return move_piece(&held, src, 1) ? AccessSide::kDestination : AccessSide::kSource;
}

GuestMove copy_disjoint(std::byte* dst, const std::byte* src, std::size_t n) {
  const std::size_t done = complete(Copying{dst, src, dst}, n);
  return {done, done < n ? failed_side(src + done) : AccessSide::kSource};
}

// Overlapping by most of their length: a piece, loaded before it is stored, is behind
// nothing that is loaded later.
GuestMove copy_ascending_by_pieces(std::byte* dst, const std::byte* src, std::size_t n) {
  prepare_this_thread();
  const std::size_t done = pieces_to_the_byte(Copying{dst, src, dst}, 0, n);
  return {done, done < n ? failed_side(src + done) : AccessSide::kSource};
}

// Out of the way of what needs none of it.
[[gnu::noinline]] std::size_t complete_any(const Copying& work, std::size_t n) {
  return complete(work, n);
}

// Whether a copy is whole words of the guest, more than are copied in pieces, not so many
// that they stream, on a thread that is ready: most are.
VM_MEM_INLINE bool is_one_row_copy(const std::byte* guest, std::size_t n) {
  const bool whole_words = ((reinterpret_cast<std::uintptr_t>(guest) | n) % kGuestWord) == 0;
  return whole_words && n > kMaxPieces && thread_is_prepared &&
         n < raw_copy_state.stream_min.load(std::memory_order_relaxed) &&
         raw_copy_state.row.load(std::memory_order_acquire) != nullptr;
}

// Needs:  is_one_row_copy().
VM_MEM_INLINE std::size_t copy_whole_words(const Copying& work, std::size_t n) {
  const CopyKernels& row = *raw_copy_state.row.load(std::memory_order_relaxed);
  const std::size_t done = row.recoverable.copy_words(work.dst, work.src, n);
  return done == n ? n : finish(work, n, done);
}

}  // namespace

std::size_t copy_to_guest_or_fault(std::byte* guest_dst, const std::byte* host_src, std::size_t n) {
  if (is_one_row_copy(guest_dst, n)) [[likely]]
    return copy_whole_words(Copying{guest_dst, host_src, guest_dst}, n);
  return complete_any(Copying{guest_dst, host_src, guest_dst}, n);
}

std::size_t copy_from_guest_or_fault(std::byte* host_dst, const std::byte* guest_src,
                                     std::size_t n) {
  if (is_one_row_copy(guest_src, n)) [[likely]]
    return copy_whole_words(Copying{host_dst, guest_src, guest_src}, n);
  return complete_any(Copying{host_dst, guest_src, guest_src}, n);
}

std::size_t fill_guest_or_fault(std::byte* dst, std::byte value, std::size_t n) {
  const std::uint64_t pattern = 0x0101'0101'0101'0101u * static_cast<std::uint64_t>(value);
  return complete(Filling{dst, dst, pattern}, n);
}

GuestMove copy_ascending_or_fault(std::byte* dst, const std::byte* src, std::size_t n) {
  const auto distance =
      reinterpret_cast<std::uintptr_t>(src) - reinterpret_cast<std::uintptr_t>(dst);
  if (distance >= n) return copy_disjoint(dst, src, n);
  constexpr std::size_t kLeastStep = 64;
  if (distance < kLeastStep) return copy_ascending_by_pieces(dst, src, n);
  // Steps as long as the ranges are apart overlap nothing that is still to be read. They
  // begin and end between words.
  std::size_t step = distance / kGuestWord * kGuestWord - past_word(dst);
  for (std::size_t done = 0; done < n; step = distance / kGuestWord * kGuestWord) {
    step = std::min(step, n - done);
    const GuestMove moved = copy_disjoint(dst + done, src + done, step);
    done += moved.done;
    if (moved.done < step) return {done, moved.side};
  }
  return {.done = n};
}

GuestMove copy_descending_or_fault(std::byte* dst, const std::byte* src, std::size_t n) {
  prepare_this_thread();
  std::size_t left = n;
  while (left > 0) {
    const std::size_t bytes = piece_bytes(dst + left, left);
    if (move_piece(dst + left - bytes, src + left - bytes, bytes)) {
      left -= bytes;
      continue;
    }
    for (const std::size_t end = left - bytes; left > end; --left) {
      if (move_piece(dst + left - 1, src + left - 1, 1)) continue;
      return {n - left, failed_side(src + left - 1)};
    }
  }
  return {.done = n};
}

}  // namespace vm_mem::internal
