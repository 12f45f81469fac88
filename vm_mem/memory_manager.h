// Owns the guest's regions and moves bytes in and out of them.
//
// The regions are published as an immutable MemoryMap. A change builds a new map
// and swaps it in; accesses that run at that moment finish on the old one, and
// never wait. docs/memory_model.md states what concurrent accesses may see.
#ifndef VM_MEM_MEMORY_MANAGER_H_
#define VM_MEM_MEMORY_MANAGER_H_

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/access.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/mmio_handler.h"
#include "vm_mem/ram_options.h"
#include "vm_mem/statistics.h"

namespace vm_mem {

class MemoryListener;

struct MemoryManagerOptions {
  // The most regions that may exist at a time; more is refused.
  std::size_t max_regions = 65536;
};

// What remove_region does while somebody still uses the region.
enum class RemovePolicy : std::uint8_t {
  kRefuse,  // do not wait: the memory goes when its last reader has finished
  kWait,    // return once the memory has been given back to the host
};

// What typed access moves: whole objects that one instruction can load or store.
template <typename T>
concept GuestWord = std::is_trivially_copyable_v<T> &&
    (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

class MemoryManager {
 public:
  static absl::StatusOr<std::unique_ptr<MemoryManager>> create(MemoryManagerOptions options);

  MemoryManager(const MemoryManager&) = delete;
  MemoryManager& operator=(const MemoryManager&) = delete;
  // Needs:  no access in progress, and no MemoryReader left.
  ~MemoryManager();

  // --- The map. Every call is all or nothing: on an error the map is as before.
  //
  // Units:   ranges begin and end at multiples of 4096.
  // Errors:  kInvalidArgument     empty or misaligned range, null handler, content
  //                               longer than the range, alias outside its region
  //          kAlreadyExists       overlap; the message names both ranges
  //          kNotFound            no such region
  //          kFailedPrecondition  an alias still shows the region
  //          kResourceExhausted   the host refused (errno in the message), or
  //                               max_regions reached
  // Memory:  an access that starts after the call has returned sees the change.
  // Cost:    proportional to the number of regions; accesses are not stopped.

  absl::StatusOr<RegionId> add_ram(GuestRange range, RamOptions options = {});
  // `content` is copied; the rest of the range reads as zero.
  absl::StatusOr<RegionId> add_rom(GuestRange range, std::span<const std::byte> content);
  // Needs:  `handler` lives until the region is removed and its last access ended.
  absl::StatusOr<RegionId> add_mmio(GuestRange range, MmioHandler* handler);
  // Shows [offset, offset + range.bytes()) of `target`, a RAM or ROM region, again.
  absl::StatusOr<RegionId> add_alias(GuestRange range, RegionId target, std::uint64_t offset);
  // Needs:  kWait: this thread is in no access (not in an MmioHandler), and no
  //         reader that has not been parked stays idle meanwhile.
  absl::Status remove_region(RegionId region, RemovePolicy policy);

  std::shared_ptr<const MemoryMap> map() const;
  // Of the current map. Cost: one acquire load.
  std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // The memfd behind a RAM region; it stays the manager's.
  // Errors:  kNotFound; kFailedPrecondition where the backing has none.
  absl::StatusOr<int> region_fd(RegionId region) const;
  // Errors:  kNotFound; kFailedPrecondition where writes are not tracked.
  absl::StatusOr<std::uint64_t> dirty_page_count(RegionId region) const;

  // Tells `listener` of the current regions, then of every change.
  // Needs:  it outlives this object or is removed; neither call from a listener.
  void add_listener(MemoryListener* listener);
  void remove_listener(MemoryListener* listener);

  // --- Bulk access. Ranges may span any mixture of regions.
  //
  // Units:   bytes; a length of 0 does nothing and succeeds anywhere.
  // Memory:  relaxed. An access of exactly 1, 2, 4 or 8 bytes that is naturally
  //          aligned in guest memory is single-copy atomic, whatever the alignment
  //          of the host buffer. Longer ones never tear an aligned 8-byte word on
  //          the guest's side.
  // Errors:  in the result; see AccessResult. What the map knows is found first,
  //          and the longest possible prefix is transferred. A range that runs past
  //          2^64 - 1 is unmapped from there on.

  AccessResult read(GuestAddress from, std::span<std::byte> to, Route route = Route::kCpu) const;
  AccessResult write(GuestAddress to, std::span<const std::byte> from, Route route = Route::kCpu);
  // memmove semantics: overlap is judged on host memory, so that it holds through
  // aliases too.
  AccessResult copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes,
                          Route route = Route::kCpu);
  AccessResult fill_block(GuestAddress to, std::byte value, std::uint64_t bytes,
                          Route route = Route::kCpu);
  // `order` is negative, zero or positive, as memcmp's; it covers the `done` bytes.
  // On a fault, side kDestination means that it lies in `a`, kSource in `b`.
  AccessResult compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes, int& order,
                             Route route = Route::kCpu) const;

  // --- Typed access, in host byte order unless the name says otherwise.
  //
  // Memory:  single-copy atomic where naturally aligned, with the given order.
  //          An unaligned load or store is made of bytes, each relaxed, with the
  //          fences of `order` around them.
  // Errors:  in the result; `value` is written only on success. A read-modify-write
  //          that is not naturally aligned is kMisaligned, on MMIO kProtected.

  template <GuestWord T>
  AccessResult load(GuestAddress from, T& value,
                    std::memory_order order = std::memory_order_relaxed) const {
    std::uint64_t bits = 0;
    const AccessResult result = load_bits(from, sizeof(T), bits, order);
    if (result.ok()) value = from_bits<T>(bits);
    return result;
  }
  template <GuestWord T>
  AccessResult store(GuestAddress to, T value,
                     std::memory_order order = std::memory_order_relaxed) {
    return store_bits(to, sizeof(T), to_bits(value), order);
  }

  template <std::unsigned_integral T>
  AccessResult load_le(GuestAddress from, T& value,
                       std::memory_order order = std::memory_order_relaxed) const {
    return load_swapped(from, value, order, std::endian::native != std::endian::little);
  }
  template <std::unsigned_integral T>
  AccessResult load_be(GuestAddress from, T& value,
                       std::memory_order order = std::memory_order_relaxed) const {
    return load_swapped(from, value, order, std::endian::native != std::endian::big);
  }
  template <std::unsigned_integral T>
  AccessResult store_le(GuestAddress to, T value,
                        std::memory_order order = std::memory_order_relaxed) {
    return store(to, std::endian::native == std::endian::little ? value : byte_swapped(value),
                 order);
  }
  template <std::unsigned_integral T>
  AccessResult store_be(GuestAddress to, T value,
                        std::memory_order order = std::memory_order_relaxed) {
    return store(to, std::endian::native == std::endian::big ? value : byte_swapped(value), order);
  }

  // Each stores a new value and gives the old one in `previous`.
  template <GuestWord T>
  AccessResult exchange(GuestAddress at, T desired, T& previous,
                        std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, Modify::kExchange, desired, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_add(GuestAddress at, T operand, T& previous,
                         std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, Modify::kAdd, operand, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_or(GuestAddress at, T operand, T& previous,
                        std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, Modify::kOr, operand, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_and(GuestAddress at, T operand, T& previous,
                         std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, Modify::kAnd, operand, previous, order);
  }
  template <std::integral T>
  AccessResult fetch_xor(GuestAddress at, T operand, T& previous,
                         std::memory_order order = std::memory_order_seq_cst) {
    return modify(at, Modify::kXor, operand, previous, order);
  }
  // Stores `desired` where the value equals `expected`, which becomes the value
  // that was found. `exchanged` says whether it was stored. Never fails spuriously.
  template <GuestWord T>
  AccessResult compare_exchange(GuestAddress at, T& expected, T desired, bool& exchanged,
                                std::memory_order order = std::memory_order_seq_cst) {
    std::uint64_t found = to_bits(expected);
    const AccessResult result =
        compare_exchange_bits(at, sizeof(T), found, to_bits(desired), exchanged, order);
    if (result.ok()) expected = from_bits<T>(found);
    return result;
  }

  // Bulk operations so far, by route and path.
  Statistics statistics() const;

 private:
  friend class MemoryReader;
  class State;
  enum class Modify : std::uint8_t { kExchange, kAdd, kOr, kAnd, kXor };

  template <GuestWord T>
  static std::uint64_t to_bits(T value);
  template <GuestWord T>
  static T from_bits(std::uint64_t bits);
  template <std::unsigned_integral T>
  static T byte_swapped(T value);
  template <std::unsigned_integral T>
  AccessResult load_swapped(GuestAddress from, T& value, std::memory_order order, bool swap) const;
  template <GuestWord T>
  AccessResult modify(GuestAddress at, Modify operation, T operand, T& previous,
                      std::memory_order order);

  explicit MemoryManager(MemoryManagerOptions options);
  AccessResult counted(const AccessResult& result, Route route) const;
  AccessResult load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                         std::memory_order order) const;
  AccessResult store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                          std::memory_order order);
  AccessResult modify_bits(GuestAddress at, unsigned bytes, Modify operation, std::uint64_t operand,
                           std::uint64_t& previous, std::memory_order order);
  AccessResult compare_exchange_bits(GuestAddress at, unsigned bytes, std::uint64_t& expected,
                                     std::uint64_t desired, bool& exchanged,
                                     std::memory_order order);

  std::unique_ptr<State> state_;
  std::atomic<std::uint64_t> generation_{0};
};

template <GuestWord T>
std::uint64_t MemoryManager::to_bits(T value) {
  if constexpr (sizeof(T) == 1)
    return std::bit_cast<std::uint8_t>(value);
  else if constexpr (sizeof(T) == 2)
    return std::bit_cast<std::uint16_t>(value);
  else if constexpr (sizeof(T) == 4)
    return std::bit_cast<std::uint32_t>(value);
  else
    return std::bit_cast<std::uint64_t>(value);
}

template <GuestWord T>
T MemoryManager::from_bits(std::uint64_t bits) {
  if constexpr (sizeof(T) == 1)
    return std::bit_cast<T>(static_cast<std::uint8_t>(bits));
  else if constexpr (sizeof(T) == 2)
    return std::bit_cast<T>(static_cast<std::uint16_t>(bits));
  else if constexpr (sizeof(T) == 4)
    return std::bit_cast<T>(static_cast<std::uint32_t>(bits));
  else
    return std::bit_cast<T>(bits);
}

template <std::unsigned_integral T>
T MemoryManager::byte_swapped(T value) {
  if constexpr (sizeof(T) == 1)
    return value;
  else if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(value);
  else
    return __builtin_bswap64(value);
}

template <std::unsigned_integral T>
AccessResult MemoryManager::load_swapped(GuestAddress from, T& value, std::memory_order order,
                                         bool swap) const {
  const AccessResult result = load(from, value, order);
  if (result.ok() && swap) value = byte_swapped(value);
  return result;
}

template <GuestWord T>
AccessResult MemoryManager::modify(GuestAddress at, Modify operation, T operand, T& previous,
                                   std::memory_order order) {
  std::uint64_t bits = 0;
  const AccessResult result = modify_bits(at, sizeof(T), operation, to_bits(operand), bits, order);
  if (result.ok()) previous = from_bits<T>(bits);
  return result;
}

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_MANAGER_H_
