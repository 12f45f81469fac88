// AsyncDma on both back ends: fences, cancelling, depth, what tells of completions, and
// what goes away meanwhile.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/vm_device/async_machine.h"

namespace vm_device {
namespace {

class AsyncDmaOrderTest : public AsyncMachine {};

TEST_P(AsyncDmaOrderTest, NothingBehindAFenceStartsBeforeItCompletes) {
  make({.max_requests = 64, .threads = 3});
  if (async == nullptr) return;
  // Each round writes a file, copies what comes of it on, and reads it back.
  const File file;
  for (std::uint64_t round = 1; round <= 20; ++round) {
    const std::array<DmaSegment, 1> from{{{kRamBase + round * 100, 3 * kPage}}};
    const std::array<DmaSegment, 1> to{{{kTracked, 3 * kPage}}};
    ASSERT_EQ(async->write_file(dma, from, {file.get(), 0}, {1}), AsyncAdmission::kAccepted);
    ASSERT_EQ(async->fence({2}), AsyncAdmission::kAccepted);
    ASSERT_EQ(async->read_file(dma, to, {file.get(), 0}, {3}), AsyncAdmission::kAccepted);
    ASSERT_EQ(async->fence({4}), AsyncAdmission::kAccepted);
    ASSERT_EQ(async->copy(dma, kRamBase + 64 * kPage, kTracked, 3 * kPage, {5}),
              AsyncAdmission::kAccepted);
    for (std::uint64_t tag = 1; tag <= 5; ++tag) EXPECT_EQ(take().tag, AsyncTag{tag});
    EXPECT_EQ(ram(kRamBase + 64 * kPage, 3 * kPage), ram(kRamBase + round * 100, 3 * kPage));
  }
}

TEST_P(AsyncDmaOrderTest, AFenceWaitsForWhatIsUnderWay) {
  hold_a_worker();
  const File file(noise(kPage));
  ASSERT_EQ(async->fence({1}), AsyncAdmission::kAccepted);
  ASSERT_EQ(async->sync_file(file.get(), AsyncSync::kData, {2}), AsyncAdmission::kAccepted);
  AsyncCompletion completion;
  EXPECT_EQ(async->poll(std::span(&completion, 1)), 0u);
  EXPECT_EQ(async->outstanding(), 3u);
  gate.open();
  EXPECT_EQ(take().tag, AsyncTag{99});
  EXPECT_EQ(take().tag, AsyncTag{1});
  EXPECT_EQ(take().tag, AsyncTag{2});
  EXPECT_EQ(async->wait(std::span(&completion, 1), kLong), 0u);
}

TEST_P(AsyncDmaOrderTest, WhatHasNotStartedIsCancelledAndMovesNothing) {
  make({.threads = 1});
  if (async == nullptr) return;
  hold_a_worker();
  const auto before = ram(kTracked, kPage);
  const std::array<DmaSegment, 1> list{{{kTracked, kPage}}};
  const File file(noise(kPage));
  ASSERT_EQ(async->fill(dma, list, std::byte{1}, {5}), AsyncAdmission::kAccepted);
  ASSERT_EQ(async->fill(dma, {}, std::byte{1}, {6}), AsyncAdmission::kAccepted);
  ASSERT_EQ(async->fence({5}), AsyncAdmission::kAccepted);
  ASSERT_EQ(async->read_file(dma, list, {file.get(), 0}, {5}), AsyncAdmission::kAccepted);
  EXPECT_EQ(async->cancel({99}), 0u);
  EXPECT_EQ(async->cancel({5}), 2u);
  const AsyncCompletion cancelled{{5}, AsyncOutcome::kCancelled, {.at = kTracked}, 0};
  EXPECT_EQ(take(), cancelled);
  EXPECT_EQ(take(), cancelled);
  gate.open();
  EXPECT_EQ(take().tag, AsyncTag{99});
  EXPECT_EQ(take().tag, AsyncTag{6});
  EXPECT_EQ(take(), done(5, 0));  // the fence
  EXPECT_EQ(ram(kTracked, kPage), before);
  EXPECT_EQ(dirty_pages(), 0u);
}

TEST_P(AsyncDmaOrderTest, AFenceDoesNotWaitForWhatIsCancelled) {
  const File file(noise(kPage));
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(async->fill(dma, {}, std::byte{1}, {1}), AsyncAdmission::kAccepted);
    ASSERT_EQ(async->fence({2}), AsyncAdmission::kAccepted);
    ASSERT_EQ(async->sync_file(file.get(), AsyncSync::kData, {3}), AsyncAdmission::kAccepted);
    async->cancel({1});
    EXPECT_EQ(take().tag, AsyncTag{1});
    EXPECT_EQ(take().tag, AsyncTag{2});
    EXPECT_EQ(take(), done(3, 0));
  }
}

class OpeningSignal : public AsyncSignal {
 public:
  explicit OpeningSignal(Gate& gate) : gate_(gate) {}
  void completions_wait() override { gate_.open(); }

 private:
  Gate& gate_;
};

TEST_P(AsyncDmaOrderTest, TheEndCancelsWhatWaitsAndWaitsForTheRest) {
  OpeningSignal after_cancelling(gate);
  make({.threads = 1, .signal = &after_cancelling});
  if (async == nullptr) return;
  hold_a_worker();
  for (std::uint64_t i = 0; i < 10; ++i) {
    ASSERT_EQ(
        async->fill(dma, std::array<DmaSegment, 1>{{{kTracked, 8 * kPage}}}, std::byte{1}, {i}),
        AsyncAdmission::kAccepted);
    ASSERT_EQ(async->fence({i}), AsyncAdmission::kAccepted);
  }
  async.reset();
  EXPECT_EQ(held_bytes[0], std::byte{1});
  EXPECT_EQ(dirty_pages(), 0u);
}

TEST_P(AsyncDmaOrderTest, MoreThanItsDepthIsRefusedUntilCompletionsAreTaken) {
  make({.max_requests = 2, .max_segments = 3});
  if (async == nullptr) return;
  const std::array<DmaSegment, 4> list{};
  EXPECT_EQ(async->fill(dma, list, std::byte{}, {1}), AsyncAdmission::kTooLong);
  EXPECT_EQ(async->fence({1}), AsyncAdmission::kAccepted);
  EXPECT_EQ(async->fence({2}), AsyncAdmission::kAccepted);
  EXPECT_EQ(async->fence({3}), AsyncAdmission::kBusy);
  std::array<AsyncCompletion, 4> out;
  EXPECT_EQ(async->poll(out), 2u);
  EXPECT_EQ(async->fence({3}), AsyncAdmission::kAccepted);
  EXPECT_EQ(async->poll(out), 1u);
  EXPECT_EQ(out[0].tag, AsyncTag{3});
}

TEST_P(AsyncDmaOrderTest, TheDescriptorIsReadableWhileCompletionsWait) {
  const auto readable = [&] {
    pollfd entry{async->completion_fd(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
  };
  std::array<AsyncCompletion, 1> out;
  ASSERT_EQ(async->fence({1}), AsyncAdmission::kAccepted);
  EXPECT_TRUE(readable());
  ASSERT_EQ(async->fence({2}), AsyncAdmission::kAccepted);
  EXPECT_EQ(async->poll(out), 1u);
  EXPECT_TRUE(readable());
  EXPECT_EQ(async->poll(out), 1u);
  EXPECT_FALSE(readable());
  const File file(noise(kPage));
  ASSERT_EQ(async->sync_file(file.get(), AsyncSync::kData, {3}), AsyncAdmission::kAccepted);
  pollfd entry{async->completion_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 60'000), 1);
  EXPECT_EQ(async->poll(out), 1u);
}

class CountingSignal : public AsyncSignal {
 public:
  void completions_wait() override { ++calls; }
  std::atomic<int> calls{0};
};

TEST_P(AsyncDmaOrderTest, TheSignalComesOncePerRowOfCompletions) {
  CountingSignal signal;
  make({.signal = &signal});
  if (async == nullptr) return;
  std::array<AsyncCompletion, 8> out;
  ASSERT_EQ(async->fence({1}), AsyncAdmission::kAccepted);
  ASSERT_EQ(async->fence({2}), AsyncAdmission::kAccepted);
  EXPECT_EQ(signal.calls.load(), 1);
  EXPECT_EQ(async->poll(out), 2u);
  ASSERT_EQ(async->fence({3}), AsyncAdmission::kAccepted);
  EXPECT_EQ(signal.calls.load(), 2);
  async.reset();
}

TEST_P(AsyncDmaOrderTest, ManyThreadsSubmitAndTakeAndNothingIsLost) {
  make({.max_requests = 16, .threads = 2});
  if (async == nullptr) return;
  constexpr int kThreads = 4;
  constexpr std::uint64_t kEach = 150;
  const auto content = noise(64 * kPage, 2);
  const File file(content);
  std::array<std::atomic<int>, kThreads * kEach> completions{};
  std::atomic<std::uint64_t> taken{0};
  const auto take_some = [&] {
    std::array<AsyncCompletion, 4> out;
    const std::size_t count = async->poll(out);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(out[i].ok()) << async_outcome_name(out[i].outcome);
      ++completions[out[i].tag.value];
    }
    taken += count;
  };
  const auto submit = [&](std::uint64_t tag) {
    // Bytes of its own: system calls on the same bytes are a race, for a race detector.
    const std::array<DmaSegment, 2> list{
        {{kRamBase + tag % 16 * 4 * kPage + tag, 1}, {kTracked + tag * 16, 9}}};
    switch (tag % 4) {
      case 0: return async->read_file(dma, list, {file.get(), tag * 8}, {tag});
      case 1: return async->fill(dma, list, std::byte{1}, {tag});
      case 2: return async->sync_file(file.get(), AsyncSync::kData, {tag});
      default: return async->fence({tag});
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        const std::uint64_t tag = static_cast<std::uint64_t>(thread) * kEach + i;
        while (submit(tag) == AsyncAdmission::kBusy) take_some();
      }
      while (taken.load() < kThreads * kEach) take_some();
    });
  }
  for (std::thread& it : threads) it.join();
  EXPECT_TRUE(std::ranges::all_of(completions, [](const auto& it) { return it.load() == 1; }));
  EXPECT_EQ(async->outstanding(), 0u);
}

// --- What goes away meanwhile. A request is held in its window by registers in its list.

TEST_P(AsyncDmaOrderTest, MemoryUnderARequestIsNotRemoved) {
  registers.gate = &gate;
  const File to;
  std::thread submitter([&] {
    EXPECT_EQ(
        async->write_file(dma, std::array<DmaSegment, 2>{{{kTracked, kPage}, {kDeviceBase, 8}}},
                          {to.get(), 0}, {1}),
        AsyncAdmission::kAccepted);
  });
  gate.wait_for(1);
  EXPECT_EQ(guest.memory->remove_region(tracked, vm_mem::RemovePolicy::kRefuse).code(),
            absl::StatusCode::kUnavailable);
  std::thread remover(
      [&] { EXPECT_TRUE(guest.memory->remove_region(tracked, vm_mem::RemovePolicy::kWait).ok()); });
  gate.open();
  submitter.join();
  remover.join();
  EXPECT_EQ(take(), done(1, kPage + 8));
}

TEST_P(AsyncDmaOrderTest, TheIommuWaitsForARequest) {
  map_iova(0, kRamBase);
  map_iova(kPage, kDeviceBase);
  registers.gate = &gate;
  const File to;
  std::thread submitter([&] {
    EXPECT_EQ(
        async->write_file(behind, std::array<DmaSegment, 1>{{{0, kPage + 8}}}, {to.get(), 0}, {1}),
        AsyncAdmission::kAccepted);
  });
  gate.wait_for(1);
  ASSERT_TRUE(iommu->unmap(domain, {0, kPage}).ok());
  EXPECT_EQ(iommu->wait_for_dma(milliseconds(0)).code(), absl::StatusCode::kDeadlineExceeded);
  gate.open();
  submitter.join();
  EXPECT_EQ(take(), done(1, kPage + 8));
  EXPECT_TRUE(iommu->wait_for_dma(kLong).ok());
}

INSTANTIATE_TEST_SUITE_P(Backends, AsyncDmaOrderTest,
                         testing::Values(AsyncBackend::kIoUring, AsyncBackend::kThreads),
                         backend_name);

}  // namespace
}  // namespace vm_device
