// Marks are gone after one harvest, and setting them again takes longer than the harvest:
// so every harvest is timed by itself, and a round compares the medians of several.

#include "bench/vm_mem/suite/dirty_harvest.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "bench/harness/statistics.h"
#include "bench/peers/vm_memory.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kPage = vm_mem::kDirtyPageBytes;
constexpr std::uint64_t kPages = kBytes / kPage;
constexpr int kHarvestsARound = 9;

template <class Work>
double time_of(Work work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

// Both sides, with the same pages dirty.
class Harvests {
 public:
  Harvests(int percent, PeerWalk walk, std::uint64_t seed)
      : walk_(walk), bits_(kPages / 64), peer_(kPages) {
    std::mt19937_64 random(seed);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      if (random() % 100 >= static_cast<std::uint64_t>(percent)) continue;
      bits_[page / 64] |= std::uint64_t{1} << page % 64;
      offsets_.push_back(page * kPage);
    }
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{0}, kBytes).value();
    ram_ = manager_->add_ram(range, {.dirty_tracking = vm_mem::DirtyTracking::kOn}).value();
    map_ = manager_->map();
    client_ = manager_->add_dirty_client("bench").value();
    check();
  }

  double ours() {
    map_->find(vm_mem::GuestAddress{0})->dirty_log->merge_bitmap(bits_);
    return time_of([this] {
      require(manager_->harvest_dirty(client_, ram_, pages_).ok(), "a harvest failed");
    });
  }
  double peer() {
    peer_.mark(offsets_, 1);
    return time_of([this] {
      found_ = walk_ == PeerWalk::kByPage ? peer_.harvest_by_page() : peer_.harvest();
    });
  }

 private:
  void check() {
    ours();
    peer();
    require(pages_.page_count() == offsets_.size() && found_.pages == offsets_.size() &&
                pages_.runs().size() == found_.runs,
            "the harvested pages are not the same");
  }

  PeerWalk walk_;
  std::vector<std::uint64_t> bits_;
  std::vector<std::uint64_t> offsets_;
  VmMemoryBitmap peer_;
  VmMemoryBitmap::Harvest found_;
  std::unique_ptr<vm_mem::MemoryManager> manager_ = vm_mem::MemoryManager::create({}).value();
  std::shared_ptr<const vm_mem::MemoryMap> map_;
  vm_mem::RegionId ram_{};
  vm_mem::DirtyClient client_{};
  vm_mem::DirtyPages pages_;
};

Outcome measure(Harvests& harvests, std::size_t rounds) {
  Outcome outcome;
  std::vector<double> all_ours;
  std::vector<double> all_theirs;
  for (std::size_t round = 0; round < rounds; ++round) {
    std::vector<double> ours;
    std::vector<double> theirs;
    for (int i = 0; i < kHarvestsARound; ++i) {
      ours.push_back(harvests.ours());
      theirs.push_back(harvests.peer());
    }
    all_ours.push_back(summarize(ours).median);
    all_theirs.push_back(summarize(theirs).median);
    outcome.ratios.push_back(all_theirs.back() / all_ours.back());
  }
  outcome.ours_ns = summarize(all_ours).median;
  outcome.peer_ns = summarize(all_theirs).median;
  return outcome;
}

}  // namespace

Regime harvests(std::string name, int percent, PeerWalk walk) {
  return {.name = std::move(name),
          .measure =
              [percent, walk](Session& session) {
                Harvests sides(percent, walk, session.seed());
                Ratio ratio{.outcome = measure(sides, session.effort().rounds), .peer = kVmMemory};
                ratio.remark =
                    fmt::format(": 1 GiB, ours {:.1f} us, theirs {:.1f} us",
                                ratio.outcome.ours_ns / 1e3, ratio.outcome.peer_ns / 1e3);
                return ratio;
              },
          .missing = std::string(vm_memory_missing())};
}

}  // namespace vm_bench
