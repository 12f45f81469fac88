// A thread's own handle on guest memory: it holds the current map and renews it
// with one load when the map has changed.
#ifndef VM_MEM_MEMORY_READER_H_
#define VM_MEM_MEMORY_READER_H_

#include <cstdint>
#include <memory>
#include <span>

#include "vm_mem/access.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_map.h"

namespace vm_mem {

// For one thread at a time. It keeps the map it last used alive, and with it the
// memory of regions removed since: an idle thread calls park().
class MemoryReader {
 public:
  // Needs:  `manager` outlives this object.
  explicit MemoryReader(MemoryManager& manager, Route route = Route::kCpu);

  // The current map, valid until the next call of a member of this object, or, in an
  // MmioHandler called from inside an access of this object, until that one ends.
  // Cost:  one load while the map stays the same.
  const MemoryMap& map();

  // Drops the map until the next access; inside an access, when that one ends.
  void park();

  // As the members of MemoryManager of the same names.
  AccessResult read(GuestAddress from, std::span<std::byte> to);
  AccessResult write(GuestAddress to, std::span<const std::byte> from);
  AccessResult copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes);
  AccessResult fill_block(GuestAddress to, std::byte value, std::uint64_t bytes);
  AccessResult compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes, int& order);

  template <GuestWord T>
  AccessResult load(GuestAddress from, T& value,
                    std::memory_order order = std::memory_order_relaxed) {
    std::uint64_t bits = 0;
    const AccessResult result = load_bits(from, sizeof(T), bits, order);
    if (result.ok()) value = word_from_bits<T>(bits);
    return result;
  }
  template <GuestWord T>
  AccessResult store(GuestAddress to, T value,
                     std::memory_order order = std::memory_order_relaxed) {
    return store_bits(to, sizeof(T), word_to_bits(value), order);
  }

  MemoryManager& manager() const { return *manager_; }

 private:
  class Access;
  template <typename Outermost, typename Nested>
  AccessResult access(Outermost outermost, Nested nested);
  template <typename Outermost, typename Nested>
  AccessResult bulk(Outermost outermost, Nested nested);
  AccessResult load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                         std::memory_order order);
  AccessResult store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                          std::memory_order order);

  MemoryManager* manager_;
  Route route_;
  std::shared_ptr<const MemoryMap> map_;
  std::shared_ptr<const MemoryMap> nested_;  // for map() inside an access
  int depth_ = 0;
  bool park_wanted_ = false;
};

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_READER_H_
