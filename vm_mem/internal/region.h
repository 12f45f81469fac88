// One region as the manager keeps it: what backs it, and who waits for its end.
#ifndef VM_MEM_INTERNAL_REGION_H_
#define VM_MEM_INTERNAL_REGION_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "vm_mem/dirty_log.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

// An event that happens once.
class Departure {
 public:
  void signal();
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;
};

// Maps share it as MapSection::owner. Destruction gives the memory back, then
// signals the departure.
struct Region {
  Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  RegionId id{};
  GuestRange range;
  RegionKind kind = RegionKind::kRam;
  MmioHandler* handler = nullptr;        // MMIO only
  std::optional<HostMapping> mapping;    // RAM and ROM
  std::unique_ptr<DirtyLog> dirty_log;   // RAM that is tracked
  std::shared_ptr<const Region> target;  // of an alias
  std::uint64_t target_offset = 0;
  std::shared_ptr<Departure> departure = std::make_shared<Departure>();
};

// The one run of guest addresses that shows `region`, which it owns.
MapSection section_of(const std::shared_ptr<const Region>& region);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_H_
