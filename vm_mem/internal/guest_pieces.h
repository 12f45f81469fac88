// How n bytes at a guest address are cut so that no aligned word of the guest is torn.
#ifndef VM_MEM_INTERNAL_GUEST_PIECES_H_
#define VM_MEM_INTERNAL_GUEST_PIECES_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace vm_mem::internal {

inline constexpr std::size_t kGuestWord = 8;
inline constexpr std::size_t kMaxPieces = 16;  // bytes that are copied in pieces alone

inline std::size_t past_word(const std::byte* p) {
  return reinterpret_cast<std::uintptr_t>(p) % kGuestWord;
}

// The largest naturally aligned access at `p` that stays within n bytes; with `p` the
// end of the bytes, the largest that ends there. n > 0.
inline std::size_t piece_bytes(const std::byte* p, std::size_t n) {
  const std::size_t aligned = std::size_t{1} << std::countr_zero(past_word(p) | kGuestWord);
  return n < aligned ? std::bit_floor(n) : aligned;
}

// The part of n bytes at a guest address that the kernels take: whole words.
struct GuestBody {
  std::size_t begin;
  std::size_t bytes;
  std::size_t end() const { return begin + bytes; }
};

// Needs:  n > kGuestWord.
inline GuestBody body_of(const std::byte* guest, std::size_t n) {
  const std::size_t begin = (kGuestWord - past_word(guest)) % kGuestWord;
  return {begin, (n - begin) / kGuestWord * kGuestWord};
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_GUEST_PIECES_H_
