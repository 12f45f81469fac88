// The plan of guest_copy.cc, over the recoverable row. A row that meets a fault has done
// some bytes at the beginning, and comes to finish_*_words() for what else can be done:
// naturally aligned pieces, then the bytes of the piece that fails.
#include "vm_mem/internal/recoverable_copy.h"

#include <algorithm>
#include <cstdint>

#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/fault_thread.h"
#include "vm_mem/internal/guest_pieces.h"
#include "vm_mem/internal/recoverable_finish.h"
#include "vm_mem/internal/recoverable_words.h"

namespace vm_mem::internal {
namespace {

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

  VM_MEM_INLINE bool piece(std::size_t at, std::size_t bytes) const {
    return move_piece(dst + at, src + at, bytes);
  }
  VM_MEM_INLINE std::size_t words(std::size_t at, std::size_t bytes) const {
    const RecoverableKernels& row = raw_copy_state.row.load(std::memory_order_relaxed)->recoverable;
    const bool streams = bytes >= raw_copy_state.stream_min.load(std::memory_order_relaxed) &&
                         past_word(dst + at) == 0;
    if (streams) [[unlikely]]
      return row.stream(dst + at, src + at, bytes);
    return row.copy_words(dst + at, src + at, bytes);
  }
};

struct Filling {
  std::byte* dst;
  const std::byte* guest;  // dst
  std::uint64_t pattern;

  VM_MEM_INLINE bool piece(std::size_t at, std::size_t bytes) const {
    return store_piece(dst + at, pattern, bytes);
  }
  std::size_t words(std::size_t at, std::size_t bytes) const {
    return active_kernels().recoverable.set(dst + at, static_cast<std::byte>(pattern & 0xff),
                                            bytes);
  }
};

Filling filling(std::byte* dst, std::byte value) {
  return {dst, dst, 0x0101'0101'0101'0101u * static_cast<std::uint64_t>(value)};
}

// Naturally aligned pieces of [begin, end), and of a piece that fails its bytes. Returns
// where they stop: at the first byte that fails.
template <typename Work>
VM_MEM_INLINE std::size_t pieces(const Work& work, std::size_t begin, std::size_t end) {
  for (std::size_t at = begin, bytes = 0; at < end; at += bytes) {
    bytes = piece_bytes(work.guest + at, end - at);
    if (work.piece(at, bytes)) [[likely]]
      continue;
    for (const std::size_t piece_end = at + bytes; at < piece_end; ++at) {
      if (!work.piece(at, 1)) return at;
    }
    bytes = 0;  // the host provides it after all
  }
  return end;
}

// How many bytes at the beginning are done, exactly.
template <typename Work>
VM_MEM_INLINE std::size_t complete(const Work& work, std::size_t n) {
  prepare_this_thread();
  if (n <= kMaxPieces) return pieces(work, 0, n);
  const GuestBody body = body_of(work.guest, n);
  std::size_t done = pieces(work, 0, body.begin);
  if (done < body.begin) return done;
  done += work.words(done, body.bytes);
  return done < body.end() ? done : pieces(work, done, n);
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
  const std::size_t done = pieces(Copying{dst, src, dst}, 0, n);
  return {done, done < n ? failed_side(src + done) : AccessSide::kSource};
}

// Out of line, with the arguments where they are: the front keeps no frame.
[[gnu::noinline]] std::size_t complete_any(std::byte* dst, const std::byte* src, std::size_t n,
                                           const std::byte* guest) {
  return complete(Copying{dst, src, guest}, n);
}

// Most copies are whole words, on a thread that is ready: no ends to take care of, and
// above a few words every way out is a jump.
VM_MEM_INLINE std::size_t copy_any(const Copying& work, std::size_t n) {
  const bool whole_words = ((reinterpret_cast<std::uintptr_t>(work.guest) | n) % kGuestWord) == 0;
  if (!whole_words || !thread_is_prepared) [[unlikely]]
    return complete_any(work.dst, work.src, n, work.guest);
  if (n > kMaxPieces) return work.words(0, n);
  if (n >= kGuestWord && !work.piece(0, kGuestWord)) [[unlikely]]
    return finish_copy_words(work.dst, work.src, n, 0);
  if (n > kGuestWord && !work.piece(kGuestWord, kGuestWord)) [[unlikely]]
    return finish_copy_words(work.dst, work.src, n, kGuestWord);
  return n;
}

}  // namespace

std::size_t finish_copy_words(std::byte* dst, const std::byte* src, std::size_t n,
                              std::size_t done) {
  // The guest's side is at a word; where both are, the pieces of one are those of the other.
  return pieces(Copying{dst, src, past_word(dst) == 0 ? dst : src}, done, n);
}

std::size_t finish_set_words(std::byte* dst, std::byte value, std::size_t n, std::size_t done) {
  return pieces(filling(dst, value), done, n);
}

std::size_t copy_to_guest_or_fault(std::byte* guest_dst, const std::byte* host_src, std::size_t n) {
  return copy_any(Copying{guest_dst, host_src, guest_dst}, n);
}

std::size_t copy_from_guest_or_fault(std::byte* host_dst, const std::byte* guest_src,
                                     std::size_t n) {
  return copy_any(Copying{host_dst, guest_src, guest_src}, n);
}

std::size_t fill_guest_or_fault(std::byte* dst, std::byte value, std::size_t n) {
  return complete(filling(dst, value), n);
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
