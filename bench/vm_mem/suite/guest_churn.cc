#include "bench/vm_mem/suite/guest_churn.h"

#include <fmt/core.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "bench/harness/lower.h"
#include "bench/harness/machine.h"
#include "bench/vm_mem/suite/guest_loops.h"
#include "bench/vm_mem/suite/guest_memory.h"

namespace vm_bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kPeriodNs = 1'000'000;  // between two changes
// Long enough for dozens of changes.
constexpr std::chrono::milliseconds kSample{50};
constexpr std::size_t kAddresses = std::size_t{1} << 16;
constexpr PeerRange kRegion = {std::uint64_t{8} << 30, 64 << 10};  // that comes and goes

void sleep_until(const timespec& when) {
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr) != 0) {
  }
}

// A thread that adds and removes a region, one change each period, while it is switched on.
class Changer {
 public:
  explicit Changer(vm_mem::MemoryManager& manager)
      : manager_(manager), thread_([this](std::stop_token stop) { run(stop); }) {}

  void switch_on() {
    since_ = Clock::now();
    on_.store(true);
  }
  void switch_off() {
    on_.store(false);
    on_time_ += Clock::now() - since_;
  }

  double changes_per_second() const {
    return static_cast<double>(changes_.load()) / std::chrono::duration<double>(on_time_).count();
  }

 private:
  void run(const std::stop_token& stop) {
    leave_the_one_cpu();
    timespec next{};
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (!stop.stop_requested()) {
      next.tv_nsec += kPeriodNs;
      next.tv_sec += next.tv_nsec / 1'000'000'000;
      next.tv_nsec %= 1'000'000'000;
      sleep_until(next);
      if (on_.load()) change();
    }
  }

  void change() {
    region_.has_value() ? remove() : add();
    changes_.fetch_add(1);
  }

  // One page of it exists in the host, so that its removal takes one away.
  void add() {
    const vm_mem::GuestAddress begin{kRegion.base};
    const auto region = manager_.add_ram(*vm_mem::GuestRange::make(begin, kRegion.bytes),
                                         {.dirty_tracking = vm_mem::DirtyTracking::kOn});
    require(region.ok() && manager_.store(begin, std::uint64_t{1}).ok(),
            "a region could not be added");
    region_ = *region;
  }

  void remove() {
    const auto region = std::exchange(region_, std::nullopt);
    require(manager_.remove_region(*region, vm_mem::RemovePolicy::kRefuse).ok(),
            "a region could not be removed");
  }

  vm_mem::MemoryManager& manager_;
  std::optional<vm_mem::RegionId> region_;
  std::atomic<bool> on_{false};
  std::atomic<std::uint64_t> changes_{0};
  Clock::time_point since_;
  Clock::duration on_time_{};
  std::jthread thread_;  // last: it uses the others
};

struct Churned {
  explicit Churned(std::uint64_t seed)
      : addresses(random_addresses(two_regions(), kAddresses, 8, 8, seed)) {}

  void read() {
    LoadWord access;
    walk(reader, addresses, access);
    forget(access.sum);
  }
  void write() {
    StoreWord access;
    walk(reader, addresses, access);
  }

  std::vector<std::uint64_t> addresses;
  std::unique_ptr<vm_mem::MemoryManager> manager = make_manager(two_regions(), Tracked::kYes);
  vm_mem::MemoryReader reader{*manager};
  Changer changer{*manager};
};

using Work = void (Churned::*)();

Contest contest_of(const std::shared_ptr<Churned>& churned, Work work) {
  const auto still = [churned, work](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) ((*churned).*work)();
  };
  const auto changing = [churned, still](std::size_t count) {
    churned->changer.switch_on();
    still(count);
    churned->changer.switch_off();
  };
  return {.ours = changing, .peer = still, .operations = kAddresses, .warmth = Warmth::kCold};
}

Outcome compare_long(const Contest& contest, const Effort& effort) {
  Effort longer = effort;
  longer.cold_sample = std::max<std::chrono::nanoseconds>(kSample, effort.cold_sample);
  return compare(contest, longer);
}

}  // namespace

Regime churn(std::string name) {
  return {name, [name](Session& session) {
            const auto churned = std::make_shared<Churned>(session.seed());
            Ratio ratio = lower_of(session, name, "unchanging",
                                   {{"read", contest_of(churned, &Churned::read)},
                                    {"write", contest_of(churned, &Churned::write)}},
                                   compare_long);
            ratio.remark +=
                fmt::format("; {:.0f} changes a second", churned->changer.changes_per_second());
            return ratio;
          }};
}

}  // namespace vm_bench
