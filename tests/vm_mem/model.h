// The reference that MemoryManager is compared with: guest memory one byte at a time,
// as plainly as its contract can be written down.
#ifndef VM_TESTS_VM_MEM_MODEL_H_
#define VM_TESTS_VM_MEM_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "vm_mem/access.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/mmio_handler.h"

namespace vm_mem {

// What is behind a RAM or ROM region, and behind every alias of it.
struct ModelBacking {
  std::vector<std::uint8_t> bytes;
  std::set<std::uint64_t> dirty_pages;
  std::set<std::uint64_t> lost_pages;  // the host does not provide them
};

struct ModelRegion {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
  RegionKind kind = RegionKind::kRam;
  std::shared_ptr<ModelBacking> backing;  // null for MMIO
  std::uint64_t offset = 0;               // of the region in its backing
  MmioHandler* device = nullptr;
  Protection protection = Protection::kReadWrite;

  std::uint64_t last() const { return begin + (bytes - 1); }
};

class Model {
 public:
  // Keyed by whatever the caller calls the regions.
  std::map<std::uint64_t, ModelRegion>& regions() { return found_ = nullptr, regions_; }
  bool is_free(std::uint64_t begin, std::uint64_t bytes) const;

  AccessResult read(std::uint64_t from, std::vector<std::uint8_t>& to);
  AccessResult write(std::uint64_t to, const std::vector<std::uint8_t>& from);
  AccessResult fill(std::uint64_t to, std::uint8_t value, std::uint64_t bytes);
  AccessResult copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);
  AccessResult compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes, int& order);

  // `word` holds the bytes of the value in the host's order.
  AccessResult load(std::uint64_t from, std::vector<std::uint8_t>& word);
  AccessResult store(std::uint64_t to, const std::vector<std::uint8_t>& word);
  // Where a read-modify-write of that size may go.
  AccessResult check_modify(std::uint64_t at, unsigned bytes) const;

 private:
  enum class Use { kRead, kWrite };
  struct Prefix {
    std::uint64_t bytes = 0;
    AccessFault fault = AccessFault::kNone;
  };

  const ModelRegion* at(std::uint64_t address) const;
  bool is_device(std::uint64_t address) const { return at(address)->kind == RegionKind::kMmio; }
  bool is_lost(std::uint64_t address) const;
  bool meets_lost(std::uint64_t at, std::uint64_t bytes) const;
  // Up to where region, and page of its backing, are the same.
  std::uint64_t run_at(std::uint64_t address, std::uint64_t left) const;
  Prefix permitted(std::uint64_t address, std::uint64_t bytes, Use use) const;
  std::uint8_t* memory(std::uint64_t address) const;
  void store_bytes(std::uint64_t to, const std::uint8_t* from, std::uint64_t bytes);
  AccessFault read_element(std::uint64_t from, unsigned size, std::uint8_t* to);
  AccessFault write_element(std::uint64_t to, unsigned size, const std::uint8_t* from);
  unsigned shared_element(std::uint64_t to, std::uint64_t from, std::uint64_t left) const;
  bool overwrites_own_source(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) const;
  bool descends_well(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) const;
  bool meets_device(std::uint64_t at, std::uint64_t bytes) const;
  AccessResult copy_elements(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);
  AccessResult copy_descending(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);
  AccessResult copy_permitted(std::uint64_t to, std::uint64_t from, std::uint64_t prefix,
                              std::uint64_t bytes);
  AccessResult copy_buffered(std::uint64_t to, std::uint64_t from, std::uint64_t bytes);

  std::map<std::uint64_t, ModelRegion> regions_;
  mutable const ModelRegion* found_ = nullptr;  // by the last search
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_MODEL_H_
