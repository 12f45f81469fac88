// Typed access to guest memory: single words, in either byte order, and atomic
// read-modify-writes. MemoryManager and MemoryReader have these members.
#ifndef VM_MEM_TYPED_ACCESS_H_
#define VM_MEM_TYPED_ACCESS_H_

#include <atomic>
#include <bit>
#include <concepts>
#include <cstdint>

#include "vm_mem/access.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/guest_word.h"

namespace vm_mem {

enum class WordOperation : std::uint8_t { kExchange, kAdd, kOr, kAnd, kXor };

// In host byte order unless the name says otherwise.
//
// Memory:  single-copy atomic where naturally aligned, with the given order.
//          An unaligned load or store is made of bytes, each relaxed, with the
//          fences of `order` around them. Each byte is read once.
// Errors:  in the result; `value` is written only on success. A read-modify-write
//          that is not naturally aligned is kMisaligned, on MMIO kProtected.
//
// Front is the class that derives from this. It has load_bits, store_bits, modify_bits
// and compare_exchange_bits, and may have a quicker load and store.
template <typename Front>
class TypedAccess {
 public:
  template <GuestWord T>
  AccessResult load(GuestAddress from, T& value,
                    std::memory_order order = std::memory_order_relaxed) const {
    std::uint64_t bits = 0;
    const AccessResult result = front().load_bits(from, sizeof(T), bits, order);
    if (result.ok()) value = word_from_bits<T>(bits);
    return result;
  }
  template <GuestWord T>
  AccessResult store(GuestAddress to, T value,
                     std::memory_order order = std::memory_order_relaxed) {
    return front().store_bits(to, sizeof(T), word_to_bits(value), order);
  }

  template <std::unsigned_integral T>
  AccessResult load_le(GuestAddress from, T& value,
                       std::memory_order order = std::memory_order_relaxed) const {
    return load_as<std::endian::little>(front(), from, value, order);
  }
  template <std::unsigned_integral T>
  AccessResult load_le(GuestAddress from, T& value,
                       std::memory_order order = std::memory_order_relaxed) {
    return load_as<std::endian::little>(front(), from, value, order);
  }
  template <std::unsigned_integral T>
  AccessResult load_be(GuestAddress from, T& value,
                       std::memory_order order = std::memory_order_relaxed) const {
    return load_as<std::endian::big>(front(), from, value, order);
  }
  template <std::unsigned_integral T>
  AccessResult load_be(GuestAddress from, T& value,
                       std::memory_order order = std::memory_order_relaxed) {
    return load_as<std::endian::big>(front(), from, value, order);
  }
  template <std::unsigned_integral T>
  AccessResult store_le(GuestAddress to, T value,
                        std::memory_order order = std::memory_order_relaxed) {
    return front().store(to, in_order<std::endian::little>(value), order);
  }
  template <std::unsigned_integral T>
  AccessResult store_be(GuestAddress to, T value,
                        std::memory_order order = std::memory_order_relaxed) {
    return front().store(to, in_order<std::endian::big>(value), order);
  }

  // Each stores a new value and gives the old one in `previous`.
  template <GuestWord T>
  AccessResult exchange(GuestAddress at, T desired, T& previous,
                        std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, WordOperation::kExchange, desired, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_add(GuestAddress at, T operand, T& previous,
                         std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, WordOperation::kAdd, operand, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_or(GuestAddress at, T operand, T& previous,
                        std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, WordOperation::kOr, operand, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_and(GuestAddress at, T operand, T& previous,
                         std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, WordOperation::kAnd, operand, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_xor(GuestAddress at, T operand, T& previous,
                         std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, WordOperation::kXor, operand, previous, order);
  }
  // Stores `desired` where the value equals `expected`, which becomes the value
  // that was found. `exchanged` says whether it was stored. Never fails spuriously.
  template <GuestWord T>
  AccessResult compare_exchange(GuestAddress at, T& expected, T desired, bool& exchanged,
                                std::memory_order order = std::memory_order_seq_cst) {
    std::uint64_t found = word_to_bits(expected);
    const AccessResult result = front().compare_exchange_bits(
        at, sizeof(T), found, word_to_bits(desired), exchanged, order);
    if (result.ok()) expected = word_from_bits<T>(found);
    return result;
  }

 protected:
  TypedAccess() = default;
  ~TypedAccess() = default;

 private:
  Front& front() { return static_cast<Front&>(*this); }
  const Front& front() const { return static_cast<const Front&>(*this); }

  template <std::endian kOrder, typename T>
  static constexpr T in_order(T value) {
    return std::endian::native == kOrder ? value : byte_swapped(value);
  }
  template <std::endian kOrder, typename Self, typename T>
  static AccessResult load_as(Self& self, GuestAddress from, T& value, std::memory_order order) {
    T found{};
    const AccessResult result = self.load(from, found, order);
    if (result.ok()) value = in_order<kOrder>(found);
    return result;
  }
  template <GuestWord T>
  AccessResult modify(GuestAddress at, WordOperation operation, T operand, T& previous,
                      std::memory_order order) {
    std::uint64_t bits = 0;
    const AccessResult result =
        front().modify_bits(at, sizeof(T), operation, word_to_bits(operand), bits, order);
    if (result.ok()) previous = word_from_bits<T>(bits);
    return result;
  }
};

}  // namespace vm_mem

#endif  // VM_MEM_TYPED_ACCESS_H_
