#include "bench/vm_mem/suite/dirty_race.h"

#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "bench/harness/machine.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "tests/support/mark_race.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {
namespace {

using vm_mem::DirtyLog;
using vm_mem::DirtyRun;
using vm_test::kRacePages;
using vm_test::RaceLimits;
using vm_test::RaceReader;

constexpr RaceLimits kLimits = {
    .lost = ~std::uint64_t{0}, .bursts = 100'000, .time = std::chrono::seconds(2)};

// A region whose first word of each page the race is about.
class Arena {
 public:
  Arena() {
    const auto range =
        vm_mem::GuestRange::make(vm_mem::GuestAddress{0}, kRacePages * vm_mem::kDirtyPageBytes)
            .value();
    ram_ = manager_->add_ram(range, {.dirty_tracking = vm_mem::DirtyTracking::kOn}).value();
    map_ = manager_->map();
    client_ = manager_->add_dirty_client("race").value();
  }

  DirtyLog& log() const { return *section().dirty_log; }
  std::atomic_ref<std::uint64_t> word(std::uint64_t page) const {
    return std::atomic_ref(
        reinterpret_cast<std::uint64_t&>(section().host[page * vm_mem::kDirtyPageBytes]));
  }

  template <class Found>
  void harvest(const Found& found) {
    require(manager_->harvest_dirty(client_, ram_, pages_).ok(), "a harvest failed");
    for (const DirtyRun& run : pages_.runs()) {
      for (std::uint64_t page = run.first; page < run.end; ++page) found(page);
    }
  }

  template <class Found>
  void harvest_without_barrier(const Found& found) {
    std::array<std::uint64_t, vm_mem::internal::kWordGroup> words{};
    vm_mem::internal::active_dirty_kernels().collect(reinterpret_cast<std::byte*>(log().bytes()),
                                                     words.data(), words.size());
    for (std::uint64_t page = 0; page < kRacePages; ++page) {
      if ((words[0] >> page & 1) != 0) found(page);
    }
  }

 private:
  const vm_mem::MapSection& section() const { return map_->sections().front(); }

  std::unique_ptr<vm_mem::MemoryManager> manager_ = vm_mem::MemoryManager::create({}).value();
  std::shared_ptr<const vm_mem::MemoryMap> map_;
  vm_mem::RegionId ram_{};
  vm_mem::DirtyClient client_{};
  vm_mem::DirtyPages pages_;
};

// In a thread that may give up its CPU to the writer, which inherits it.
std::uint64_t race(RaceBarrier barrier) {
  Arena arena;
  bool apart = false;
  const auto write = [&arena, &log = arena.log()](std::uint64_t page, std::uint64_t value) {
    arena.word(page).store(value, std::memory_order_relaxed);
    log.mark_page(page);
  };
  RaceReader reader;
  reader.read = [&](std::uint64_t page) {
    return arena.word(page).load(std::memory_order_relaxed);
  };
  reader.harvest = [&](const auto& found) {
    apart = apart || leave_the_one_cpu();
    barrier == RaceBarrier::kHarvest ? arena.harvest(found) : arena.harvest_without_barrier(found);
  };
  return vm_test::run_race(write, reader, kLimits).lost;
}

bool has_two_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) >= 2;
}

}  // namespace

Regime lost_marks(std::string name, RaceBarrier barrier) {
  return {.name = std::move(name),
          .measure = {},
          .missing = has_two_cpus() ? "" : "a second CPU",
          .events = [barrier](Session&) {
            std::uint64_t lost = 0;
            std::thread([&] { lost = race(barrier); }).join();
            return lost;
          }};
}

}  // namespace vm_bench
