// Plan by size: up to 16 bytes, naturally aligned pieces; above, pieces up to the
// guest's next multiple of 8, whole words through the active row, pieces again. Reads of 8
// bytes or more load the words at their ends whole, and leave out what is not theirs.
#include "vm_mem/guest_copy.h"

#include <bit>
#include <cstdint>

#include "vm_mem/internal/copy_path.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/guest_pieces.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

template <typename Word>
Word load_atomic(const std::byte* p) {
  return __atomic_load_n(reinterpret_cast<const Word*>(p), __ATOMIC_RELAXED);
}

template <typename Word>
void store_atomic(std::byte* p, Word word) {
  __atomic_store_n(reinterpret_cast<Word*>(p), word, __ATOMIC_RELAXED);
}

struct ToGuest {
  template <typename Word>
  static void move_word(std::byte* guest, const std::byte* host) {
    store_atomic<Word>(guest, load_word<Word>(host));
  }
};

struct FromGuest {
  template <typename Word>
  static void move_word(std::byte* host, const std::byte* guest) {
    store_word<Word>(host, load_atomic<Word>(guest));
  }
};

struct WithinGuest {
  template <typename Word>
  static void move_word(std::byte* dst, const std::byte* src) {
    store_atomic<Word>(dst, load_atomic<Word>(src));
  }
};

template <typename Direction>
void move_piece(std::byte* dst, const std::byte* src, std::size_t bytes) {
  switch (bytes) {
    case 1: return Direction::template move_word<std::uint8_t>(dst, src);
    case 2: return Direction::template move_word<std::uint16_t>(dst, src);
    case 4: return Direction::template move_word<std::uint32_t>(dst, src);
    default: return Direction::template move_word<std::uint64_t>(dst, src);
  }
}

void write_pieces(std::byte* guest, const std::byte* host, std::size_t n) {
  for (std::size_t i = 0, bytes = 0; i < n; i += bytes) {
    bytes = piece_bytes(guest + i, n - i);
    move_piece<ToGuest>(guest + i, host + i, bytes);
  }
}

void read_pieces(std::byte* host, const std::byte* guest, std::size_t n) {
  for (std::size_t i = 0, bytes = 0; i < n; i += bytes) {
    bytes = piece_bytes(guest + i, n - i);
    move_piece<FromGuest>(host + i, guest + i, bytes);
  }
}

// Through registers of the host, so that overlap does not matter.
void move_pieces(std::byte* dst, const std::byte* src, std::size_t n) {
  std::byte held[kMaxPieces];
  read_pieces(held, src, n);
  write_pieces(dst, held, n);
}

void fill_pieces(std::byte* dst, std::byte value, std::size_t n) {
  std::byte held[kMaxPieces];
  for (std::byte& byte : held) byte = value;
  write_pieces(dst, held, n);
}

// At the first use of the copy core.
[[gnu::noinline, gnu::cold]] void start_and_copy_words(std::byte* dst, const std::byte* src,
                                                       std::size_t n) {
  active_kernels().copy_words(dst, src, n);
}

// Streams what the policy streams; a destination between words would make the
// streaming kernel split the source's. Every way out of here is a jump.
inline void copy_words(std::byte* dst, const std::byte* src, std::size_t n) {
  const CopyKernels* row = raw_copy_state.row.load(std::memory_order_acquire);
  if (row == nullptr) [[unlikely]]
    return start_and_copy_words(dst, src, n);
  const bool streams =
      n >= raw_copy_state.stream_min.load(std::memory_order_relaxed) && past_word(dst) == 0;
  if (streams) [[unlikely]]
    return row->stream(dst, src, n);
  row->copy_words(dst, src, n);
}

// Nothing but whole words: no ends to take care of.
bool whole_words(const std::byte* p, std::size_t n) {
  return ((reinterpret_cast<std::uintptr_t>(p) | n) & (kGuestWord - 1)) == 0;
}

// Needs:  whole words on the guest's side. One or two are each one access.
template <typename Direction>
inline void move_words(std::byte* dst, const std::byte* src, std::size_t n) {
  if (n > kMaxPieces) return copy_words(dst, src, n);
  if (n >= kGuestWord) Direction::template move_word<std::uint64_t>(dst, src);
  if (n > kGuestWord)
    Direction::template move_word<std::uint64_t>(dst + kGuestWord, src + kGuestWord);
}

// The 8 bytes that begin `past` bytes into `low`, the rest being the first of `high`.
// Shifted in two steps, as none is by 64.
std::uint64_t join_words(std::uint64_t low, std::uint64_t high, std::size_t past) {
  const std::size_t bits = 8 * past;
  if constexpr (std::endian::native == std::endian::little) {
    return low >> bits | high << 1 << (63 - bits);
  } else {
    return low << bits | high >> 1 >> (63 - bits);
  }
}

// A word of which some bytes are wanted. Threads that have nothing to do with this one may
// write the others meanwhile: not a race for ThreadSanitizer to report. (It is in line where
// no sanitizer is.)
__attribute__((no_sanitize("thread"))) inline std::uint64_t load_around(const std::byte* word) {
  return load_word<std::uint64_t>(word);
}

// Needs:  kGuestWord <= n <= 2 * kGuestWord, not whole words. Each of the two or three words that
// hold the bytes is loaded once, so that none is shown torn.
void read_two_words(std::byte* host, const std::byte* guest, std::size_t n) {
  const std::size_t past = past_word(guest);
  const std::byte* const words = guest - past;
  const auto first = load_around(words);
  const auto second = load_around(words + kGuestWord);
  const auto third = past + n > 2 * kGuestWord ? load_around(words + 2 * kGuestWord) : 0;
  const std::size_t last = past + n - kGuestWord;  // where the last 8 bytes begin
  store_word(host, join_words(first, second, past));
  store_word(host + n - kGuestWord, last < kGuestWord
                                        ? join_words(first, second, last)
                                        : join_words(second, third, last - kGuestWord));
}

// The first 8 bytes or fewer, up to the next word, and then some; the last 8.
void read_first_word(std::byte* host, const std::byte* guest) {
  const std::size_t past = past_word(guest);
  store_word(host, join_words(load_around(guest - past), 0, past));
}
void read_last_word(std::byte* host_end, const std::byte* guest_end) {
  const std::size_t past = past_word(guest_end);
  const std::byte* const words = guest_end - kGuestWord - past;
  const auto low = load_around(words);
  const auto high = load_around(past == 0 ? words : words + kGuestWord);
  store_word(host_end - kGuestWord, join_words(low, high, past));
}

// Less than a word, to the beginning of one, or up to one: naturally aligned pieces,
// without a loop.
void write_below_word(std::byte* guest, const std::byte* host, std::size_t n) {
  if ((n & 4) != 0) {
    ToGuest::move_word<std::uint32_t>(guest, host);
    guest += 4, host += 4;
  }
  if ((n & 2) != 0) {
    ToGuest::move_word<std::uint16_t>(guest, host);
    guest += 2, host += 2;
  }
  if ((n & 1) != 0) ToGuest::move_word<std::uint8_t>(guest, host);
}
void write_up_to_word(std::byte* guest, const std::byte* host, std::size_t n) {
  if ((n & 1) != 0) {
    ToGuest::move_word<std::uint8_t>(guest, host);
    guest += 1, host += 1;
  }
  if ((n & 2) != 0) {
    ToGuest::move_word<std::uint16_t>(guest, host);
    guest += 2, host += 2;
  }
  if ((n & 4) != 0) ToGuest::move_word<std::uint32_t>(guest, host);
}

[[gnu::noinline]] void write_ragged(std::byte* guest, const std::byte* host, std::size_t n) {
  if (n <= kMaxPieces) return write_pieces(guest, host, n);
  const GuestBody body = body_of(guest, n);
  write_up_to_word(guest, host, body.begin);
  copy_words(guest + body.begin, host + body.begin, body.bytes);
  write_below_word(guest + body.end(), host + body.end(), n - body.end());
}

// The ends are loaded and stored as whole words, which the body stores some of again.
[[gnu::noinline]] void read_ragged(std::byte* host, const std::byte* guest, std::size_t n) {
  if (n < kGuestWord) return read_pieces(host, guest, n);
  if (n <= kMaxPieces) return read_two_words(host, guest, n);
  const GuestBody body = body_of(guest, n);
  read_first_word(host, guest);
  read_last_word(host + n, guest + n);
  copy_words(host + body.begin, guest + body.begin, body.bytes);
}

// Whether the bytes are one word, naturally aligned on both sides.
bool is_word(const std::byte* a, const std::byte* b, std::size_t n) {
  const auto places = reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b);
  return n - 1 < kGuestWord && (n & (n - 1)) == 0 && (places & (n - 1)) == 0;
}

// Whether no byte of one is a byte of the other.
bool disjoint(const std::byte* a, const std::byte* b, std::size_t n) {
  const auto ahead = static_cast<std::size_t>(a - b);
  return ahead >= n && -ahead >= n;
}

// Overlap decides the order, as it does inside the kernel: what is stored first must not be
// a source of what follows.
[[gnu::noinline]] void move_ragged(std::byte* dst, const std::byte* src, std::size_t n) {
  if (is_word(dst, src, n)) return move_piece<WithinGuest>(dst, src, n);
  if (n <= kMaxPieces) return move_pieces(dst, src, n);
  const GuestBody body = body_of(dst, n);
  const auto move_head = [&] { move_pieces(dst, src, body.begin); };
  const auto move_tail = [&] { move_pieces(dst + body.end(), src + body.end(), n - body.end()); };
  const bool backward =
      reinterpret_cast<std::uintptr_t>(dst) > reinterpret_cast<std::uintptr_t>(src);
  backward ? move_tail() : move_head();
  active_kernels().move(dst + body.begin, src + body.begin, body.bytes);
  backward ? move_head() : move_tail();
}

}  // namespace
}  // namespace vm_mem::internal

namespace vm_mem {

void copy_to_guest(std::byte* guest_dst, const std::byte* host_src, std::size_t n) {
  if (internal::whole_words(guest_dst, n))
    return internal::move_words<internal::ToGuest>(guest_dst, host_src, n);
  internal::write_ragged(guest_dst, host_src, n);
}

void copy_from_guest(std::byte* host_dst, const std::byte* guest_src, std::size_t n) {
  if (internal::whole_words(guest_src, n))
    return internal::move_words<internal::FromGuest>(host_dst, guest_src, n);
  internal::read_ragged(host_dst, guest_src, n);
}

void copy_within_guest(std::byte* dst, const std::byte* src, std::size_t n) {
  if (internal::whole_words(dst, n) && n > internal::kMaxPieces && internal::disjoint(dst, src, n))
      [[likely]]
    return internal::copy_words(dst, src, n);
  internal::move_ragged(dst, src, n);
}

void fill_guest(std::byte* dst, std::byte value, std::size_t n) {
  if (n <= internal::kMaxPieces) return internal::fill_pieces(dst, value, n);
  const internal::GuestBody body = internal::body_of(dst, n);
  internal::fill_pieces(dst, value, body.begin);
  internal::active_kernels().set(dst + body.begin, value, body.bytes);
  internal::fill_pieces(dst + body.end(), value, n - body.end());
}

}  // namespace vm_mem
