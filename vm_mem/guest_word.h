// The words that typed access moves, and one atomic access of the host to each.
#ifndef VM_MEM_GUEST_WORD_H_
#define VM_MEM_GUEST_WORD_H_

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace vm_mem {

// Whole objects that one instruction can load or store.
template <typename T>
concept GuestWord = std::is_trivially_copyable_v<T> &&
    (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

// The unsigned type of as many bytes.
template <GuestWord T>
using WordBits = std::conditional_t<
    sizeof(T) == 1, std::uint8_t,
    std::conditional_t<sizeof(T) == 2, std::uint16_t,
                       std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>>;

// To and from the low bits of 64.
template <GuestWord T>
constexpr std::uint64_t word_to_bits(T value) {
  return std::bit_cast<WordBits<T>>(value);
}
template <GuestWord T>
constexpr T word_from_bits(std::uint64_t bits) {
  return std::bit_cast<T>(static_cast<WordBits<T>>(bits));
}

template <std::unsigned_integral T>
constexpr T byte_swapped(T value) {
  if constexpr (sizeof(T) == 1)
    return value;
  else if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(value);
  else
    return __builtin_bswap64(value);
}

// One atomic access of host memory. An order that a load (a store) cannot have becomes
// the strongest.
//
// Needs:  `host` naturally aligned. Word is an unsigned type of 1, 2, 4 or 8 bytes.
template <typename Word>
Word load_host_word(const std::byte* host, std::memory_order order) {
  const auto* const from = reinterpret_cast<const Word*>(host);
  switch (order) {
    case std::memory_order_relaxed: return __atomic_load_n(from, __ATOMIC_RELAXED);
    case std::memory_order_consume:
    case std::memory_order_acquire: return __atomic_load_n(from, __ATOMIC_ACQUIRE);
    default: return __atomic_load_n(from, __ATOMIC_SEQ_CST);
  }
}
template <typename Word>
void store_host_word(std::byte* host, Word value, std::memory_order order) {
  auto* const to = reinterpret_cast<Word*>(host);
  switch (order) {
    case std::memory_order_relaxed: return __atomic_store_n(to, value, __ATOMIC_RELAXED);
    case std::memory_order_release: return __atomic_store_n(to, value, __ATOMIC_RELEASE);
    default: return __atomic_store_n(to, value, __ATOMIC_SEQ_CST);
  }
}

}  // namespace vm_mem

#endif  // VM_MEM_GUEST_WORD_H_
