// Several changes as one, changes under readers, and waiting for the end of both.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/support/host_probes.h"
#include "tests/support/sanitizers.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/memory_listener.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using std::chrono::milliseconds;
using vm_test::range;

class Recorder : public MemoryListener {
 public:
  void begin() override { events_ += "("; }
  void region_added(const MapSection& section) override { note("+", section); }
  void region_removed(const MapSection& section) override { note("-", section); }
  void dirty_log_started(const MapSection& section) override { note("d", section); }
  void dirty_log_stopped(const MapSection& section) override { note("n", section); }
  void commit() override { events_ += ")"; }
  std::string take() { return std::exchange(events_, {}); }

 private:
  void note(const char* what, const MapSection& section) {
    events_ += what + std::to_string(section.range.begin().value >> 12) + "-" +
               std::to_string(section.range.end().value >> 12);
  }
  std::string events_;
};

class MapChangeTest : public testing::Test {
 protected:
  MapChangeTest() { memory_->add_listener(&recorder_); }

  MemoryManager& mm() { return *memory_; }
  Recorder& recorder() { return recorder_; }
  std::size_t sections() { return mm().map()->sections().size(); }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  Recorder recorder_;
};

TEST_F(MapChangeTest, PrefaultProgressCannotChangeTheMap) {
  absl::Status inside;
  RamOptions options;
  options.host.prefault_threads = 1;
  options.host.prefault_progress = [&](std::uint64_t, std::uint64_t) {
    inside = mm().add_ram(range(0x1000, 0x1000)).status();
    return PrefaultStep::kContinue;
  };
  EXPECT_TRUE(mm().add_ram(range(0x1000, 0x1000), options).ok());
  EXPECT_EQ(inside.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sections(), 1u);
  EXPECT_TRUE(mm().add_ram(range(0x2000, 0x1000)).ok());
}

TEST_F(MapChangeTest, SeveralCallsArePublishedAsOne) {
  const RegionId old = mm().add_ram(range(0x1000, 0x1000)).value();
  recorder().take();
  const std::uint64_t before = mm().generation();
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    EXPECT_TRUE(mm().remove_region(old, RemovePolicy::kWait).ok());
                    EXPECT_TRUE(mm().add_ram(range(0x1000, 0x2000)).ok());
                    EXPECT_TRUE(mm().add_ram(range(0x8000, 0x1000)).ok());
                    EXPECT_EQ(mm().generation(), before);
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(mm().generation(), before + 1);
  EXPECT_EQ(recorder().take(), "(-1-2+1-3+8-9)");
}

TEST_F(MapChangeTest, CallsInsideSeeEachOtherAndAccessesDoNot) {
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    const RegionId added = mm().add_ram(range(0x1000, 0x1000)).value();
                    EXPECT_EQ(mm().region_info(added)->range, range(0x1000, 0x1000));
                    EXPECT_EQ(mm().store(GuestAddress{0x1000}, 1u).fault, AccessFault::kUnmapped);
                    EXPECT_EQ(mm().map()->sections().size(), 0u);
                    EXPECT_EQ(mm().add_ram(range(0x1000, 0x1000)).status().code(),
                              absl::StatusCode::kAlreadyExists);
                    return mm().move_region(added, GuestAddress{0x5000});
                  })
                  .ok());
  EXPECT_TRUE(mm().store(GuestAddress{0x5000}, 1u).ok());
}

TEST_F(MapChangeTest, AnErrorUndoesAllOfIt) {
  const RegionId kept = mm().add_ram(range(0x1000, 0x1000)).value();
  recorder().take();
  const auto map = mm().map();
  const absl::Status status = mm().change([&]() -> absl::Status {
    EXPECT_TRUE(mm().add_ram(range(0x8000, 0x1000)).ok());
    EXPECT_TRUE(mm().remove_region(kept, RemovePolicy::kWait).ok());
    EXPECT_EQ(mm().region_info(kept).status().code(), absl::StatusCode::kNotFound);
    return absl::AbortedError("no");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(mm().map(), map);
  EXPECT_EQ(recorder().take(), "");
  EXPECT_TRUE(mm().region_info(kept).ok());
  EXPECT_TRUE(mm().add_ram(range(0x8000, 0x1000)).ok());
}

TEST_F(MapChangeTest, AnExceptionUndoesAllOfItAndGoesOn) {
  const auto throws = [&]() -> absl::Status {
    EXPECT_TRUE(mm().add_ram(range(0x8000, 0x1000)).ok());
    throw std::runtime_error("mine");
  };
  EXPECT_THROW(mm().change(throws).IgnoreError(), std::runtime_error);
  EXPECT_EQ(sections(), 0u);
  EXPECT_TRUE(mm().add_ram(range(0x8000, 0x1000)).ok());
}

TEST_F(MapChangeTest, AChangeInsideAChangeUndoesItsOwnPartAlone) {
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    EXPECT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
                    const absl::Status inner = mm().change([&]() -> absl::Status {
                      EXPECT_TRUE(mm().add_ram(range(0x2000, 0x1000)).ok());
                      return mm().add_ram(range(0x1000, 0x1000)).status();
                    });
                    EXPECT_EQ(inner.code(), absl::StatusCode::kAlreadyExists);
                    return mm().change(
                        [&] { return mm().add_ram(range(0x3000, 0x1000)).status(); });
                  })
                  .ok());
  EXPECT_EQ(recorder().take(), "()(+1-2+3-4)");
}

TEST_F(MapChangeTest, WhatItAmountsToMayBeRefused) {
  const auto memory = MemoryManager::create({.max_sections = 3}).value();
  const absl::Status status = memory->change([&]() -> absl::Status {
    for (std::uint64_t i = 0; i < 4; ++i) {
      const auto added = memory->add_ram(range(i * 0x2000, 0x1000));
      if (!added.ok()) return added.status();
    }
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the regions would show as more than 0x3 sections");
  EXPECT_EQ(memory->generation(), 0u);
  EXPECT_TRUE(memory->map()->sections().empty());
}

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

// The host's limits are hit in the middle: what was mapped before goes again.
TEST_F(MapChangeTest, WhatTheHostRefusesHalfWayIsUndone) {
  if (vm_test::kWithAsan) GTEST_SKIP() << "UBSan needs descriptors itself, for its type checks";
  const std::ptrdiff_t before = open_descriptors();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low{static_cast<rlim_t>(before) + 8, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::uint64_t added = 0;
  const absl::Status status = mm().change([&]() -> absl::Status {
    for (;; ++added) {
      const auto ram = mm().add_ram(range(added << 12, 0x1000), {.backing = Backing::kMemfd});
      if (!ram.ok()) return ram.status();
    }
  });
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("errno 24"), absl::string_view::npos) << status;
  EXPECT_GT(added, 0u);
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(mm().generation(), 0u);
}

TEST_F(MapChangeTest, AChangeOfNothingPublishesNothing) {
  recorder().take();
  ASSERT_TRUE(mm().change([] { return absl::OkStatus(); }).ok());
  EXPECT_EQ(mm().generation(), 0u);
  EXPECT_EQ(recorder().take(), "");
}

TEST_F(MapChangeTest, OnlyWhatDiffersIsTold) {
  ASSERT_TRUE(mm().add_ram(range(0x0000, 0x8000)).ok());
  recorder().take();
  const RegionId over = mm().add_ram(range(0x2000, 0x1000), {.priority = 1}).value();
  EXPECT_EQ(recorder().take(), "(-0-8+0-2+2-3+3-8)");
  const RegionId apart = mm().add_ram(range(0x10000, 0x1000)).value();
  EXPECT_EQ(recorder().take(), "(+16-17)");
  ASSERT_TRUE(mm().set_protection(apart, Protection::kRead).ok());
  EXPECT_EQ(recorder().take(), "(-16-17+16-17)");
  ASSERT_TRUE(mm().set_enabled(over, Enabled::kNo).ok());
  EXPECT_EQ(recorder().take(), "(-0-2-2-3-3-8+0-8)");
}

TEST_F(MapChangeTest, TrackingIsToldWithoutARemoval) {
  const RegionId memory = mm().add_ram(range(0x1000, 0x1000)).value();
  recorder().take();
  ASSERT_TRUE(mm().set_dirty_tracking(memory, DirtyTracking::kOn).ok());
  EXPECT_EQ(recorder().take(), "(d1-2)");
  ASSERT_TRUE(mm().store(GuestAddress{0x1000}, 1u).ok());
  EXPECT_EQ(mm().dirty_page_count(memory).value(), 1u);
  ASSERT_TRUE(mm().set_dirty_tracking(memory, DirtyTracking::kOff).ok());
  EXPECT_EQ(recorder().take(), "(n1-2)");
  EXPECT_EQ(mm().dirty_page_count(memory).status().message(),
            "writes to region 0x1 are not tracked");
  EXPECT_EQ(mm().region_info(memory)->dirty_tracking, DirtyTracking::kOff);
}

class Meddler : public MemoryListener {
 public:
  explicit Meddler(MemoryManager& memory) : memory_(&memory) {}
  void region_added(const MapSection&) override {
    answers_.push_back(memory_->add_ram(range(0x80000, 0x1000)).status());
    answers_.push_back(memory_->change([] { return absl::OkStatus(); }));
    answers_.push_back(memory_->wait_for_readers(milliseconds(1)));
    answers_.push_back(memory_->wait_until_unused(RegionId{1}, milliseconds(1)));
  }
  void region_removed(const MapSection&) override {}
  const std::vector<absl::Status>& answers() const { return answers_; }

 private:
  MemoryManager* memory_;
  std::vector<absl::Status> answers_;
};

TEST_F(MapChangeTest, AListenerCannotChangeTheMap) {
  Meddler meddler(mm());
  mm().add_listener(&meddler);
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  ASSERT_EQ(meddler.answers().size(), 4u);
  for (const absl::Status& status : meddler.answers()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(meddler.answers()[0].message(), "a listener may not change the map");
  EXPECT_EQ(sections(), 1u);
}

TEST_F(MapChangeTest, WaitingIsRefusedInsideAChange) {
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    EXPECT_EQ(mm().wait_for_readers(milliseconds(1)).code(),
                              absl::StatusCode::kFailedPrecondition);
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(MapChangeTest, WaitsUntilARemovedRegionIsUnused) {
  const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
  EXPECT_EQ(mm().wait_until_unused(id, milliseconds(1)).message(),
            "region 0x1 has not been removed");
  auto held = mm().map();
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
  const absl::Status late = mm().wait_until_unused(id, milliseconds(1));
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  std::thread dropper([&] { held.reset(); });
  EXPECT_TRUE(mm().wait_until_unused(id, std::chrono::nanoseconds::max()).ok());
  dropper.join();
  EXPECT_TRUE(mm().wait_until_unused(id, milliseconds(0)).ok());
  EXPECT_EQ(mm().wait_until_unused(RegionId{2}, milliseconds(0)).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(mm().wait_until_unused(kRootContainer, milliseconds(0)).code(),
            absl::StatusCode::kNotFound);
}

// The last reference goes first, and then the memory: much of it, so that it takes a while.
TEST_F(MapChangeTest, TheMemoryOfAnUnusedRegionHasGone) {
  constexpr std::uint64_t kBytes = 8 << 20;
  for (int round = 0; round < 10; ++round) {
    const RamOptions options{.host = {.prefault_threads = 1, .guards = GuardPages::kBothSides}};
    const RegionId id = mm().add_ram(range(0, kBytes), options).value();
    auto held = mm().map();
    const std::byte* const last = held->find(GuestAddress{0})->host + kBytes - 1;
    ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
    ASSERT_TRUE(vm_test::is_mapped(last));
    std::thread dropper([&] { held.reset(); });
    while (!mm().wait_until_unused(id, milliseconds(0)).ok()) std::this_thread::yield();
    EXPECT_FALSE(vm_test::is_mapped(last));
    dropper.join();
  }
}

// Holds an access inside a device until it is told to go on.
class Gate : public ScriptedDevice {
 public:
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    inside_.store(true);
    while (!open_.load()) std::this_thread::yield();
    return AccessFault::kNone;
  }
  void await_entry() const {
    while (!inside_.load()) std::this_thread::yield();
  }
  void open() { open_.store(true); }

 private:
  std::atomic<bool> inside_{false};
  std::atomic<bool> open_{false};
};

TEST_F(MapChangeTest, WaitsForTheAccessesThatBeganBefore) {
  Gate gate;
  ASSERT_TRUE(mm().add_mmio(range(0x1000, 0x1000), &gate).ok());
  const RegionId memory = mm().add_ram(range(0x2000, 0x1000)).value();
  std::thread access([&] { EXPECT_TRUE(mm().store(GuestAddress{0x1000}, 1u).ok()); });
  gate.await_entry();
  ASSERT_TRUE(mm().set_protection(memory, Protection::kRead).ok());
  EXPECT_EQ(mm().wait_for_readers(milliseconds(1)).code(), absl::StatusCode::kDeadlineExceeded);
  gate.open();
  EXPECT_TRUE(mm().wait_for_readers(std::chrono::hours(1)).ok());
  access.join();
}

TEST_F(MapChangeTest, WaitingForReadersTellsListenersNothing) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  recorder().take();
  EXPECT_TRUE(mm().wait_for_readers(std::chrono::hours(1)).ok());
  EXPECT_EQ(recorder().take(), "");
  EXPECT_TRUE(mm().store(GuestAddress{0x1000}, 1u).ok());
}

TEST_F(MapChangeTest, AnotherThreadsChangeWaits) {
  std::atomic<bool> added{false};
  std::thread other;
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    other = std::thread([&] {
                      EXPECT_TRUE(mm().add_ram(range(0x2000, 0x1000)).ok());
                      added.store(true);
                    });
                    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
                    EXPECT_FALSE(added.load());
                    return mm().add_ram(range(0x1000, 0x1000)).status();
                  })
                  .ok());
  other.join();
  EXPECT_EQ(recorder().take(), "()(+1-2)(+2-3)");
}

}  // namespace
}  // namespace vm_mem
