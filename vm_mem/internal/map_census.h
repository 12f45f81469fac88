// Which maps somebody still uses.
#ifndef VM_MEM_INTERNAL_MAP_CENSUS_H_
#define VM_MEM_INTERNAL_MAP_CENSUS_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>

#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

class MapCensus : public std::enable_shared_from_this<MapCensus> {
 public:
  // Counts `map` among the living until its last user has let go.
  std::shared_ptr<const MemoryMap> enroll(std::unique_ptr<const MemoryMap> map);

  // False where a map older than `generation` is in use for longer than `timeout`.
  bool wait_for_older(std::uint64_t generation, std::chrono::nanoseconds timeout);

 private:
  void strike(std::uint64_t generation) noexcept;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::set<std::uint64_t> living_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_MAP_CENSUS_H_
