// Every way in which a device writes tells of watched code, and of nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "tests/vm_device/ring_driver.h"
#include "tests/vm_device/ring_path.h"
#include "vm_device/async_dma.h"
#include "vm_device/dma.h"
#include "vm_mem/code_watch.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {
namespace {

using vm_mem::CodeWrite;
using vm_mem::WriteCause;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kCode = 9 * kPage + 1024;  // in the RAM
constexpr std::uint64_t kAddress = kRamBase + kCode;
constexpr std::uint64_t kChunk = vm_mem::kCodeChunkBytes;

// Holds what it is told against what may be told: some of one range.
class Listener : public vm_mem::CodeWatcher {
 public:
  explicit Listener(std::uint64_t offset = kCode, std::uint64_t bytes = kChunk)
      : begin_(offset), end_(offset + bytes) {}

  void code_written(std::span<const CodeWrite> writes) noexcept override {
    for (const CodeWrite& write : writes) {
      EXPECT_GE(write.offset, begin_);
      EXPECT_LE(write.offset + write.bytes, end_);
      causes_.push_back(write.cause);
    }
  }
  std::vector<WriteCause> take() { return std::exchange(causes_, {}); }

 private:
  std::uint64_t begin_;
  std::uint64_t end_;
  std::vector<WriteCause> causes_;
};

class CodeWritesTest : public testing::TestWithParam<RingPath> {
 protected:
  CodeWritesTest() : reader(*guest.memory, vm_mem::Route::kDma) {
    EXPECT_EQ(watch().add_watcher(&listener), absl::OkStatus());
    EXPECT_TRUE(watch().watch(guest.ram, kCode, kChunk).ok());
  }
  ~CodeWritesTest() override { watch().remove_watcher(&listener); }

  vm_mem::CodeWatch& watch() { return guest.memory->code_watch(); }
  // As DMA. Who marks what was leased may do it twice.
  void expect_told(DmaResult result) {
    EXPECT_TRUE(result.ok());
    std::vector<WriteCause> told = listener.take();
    told.erase(std::unique(told.begin(), told.end()), told.end());
    EXPECT_EQ(told, std::vector{WriteCause::kDma});
  }
  void expect_untold(DmaResult result) {
    EXPECT_TRUE(result.ok());
    EXPECT_EQ(listener.take(), std::vector<WriteCause>{});
  }

  Guest guest{{.code_watch = vm_mem::CodeWatching::kOn}};
  vm_mem::MemoryReader reader;
  DmaSpace dma = dma_by(GetParam(), guest, reader);
  Listener listener;
};

INSTANTIATE_TEST_SUITE_P(EachPath, CodeWritesTest,
                         testing::Values(RingPath::kDma, RingPath::kDirect), ring_path_name);

TEST_P(CodeWritesTest, BulkDmaTells) {
  const std::vector<std::byte> bytes(3 * kPage);
  const std::array<DmaSegment, 2> beside{{{kAddress - 10, 10}, {kAddress + kChunk, 10}}};
  const std::array<DmaSegment, 2> across{{{kRamBase, 8}, {kAddress + 8, 8}}};
  for (int repeat = 0; repeat < 2; ++repeat) {
    expect_told(dma.write(kAddress, std::span(bytes).first(1)));
    expect_told(dma.write(kAddress - kPage, bytes));
    expect_untold(dma.write(beside, std::span(bytes).first(20)));
    expect_told(dma.write(across, std::span(bytes).first(16)));
    expect_told(dma.fill(kAddress - 1, std::byte{1}, 2));
    expect_told(dma.copy(kAddress - kPage, kRamBase, 3 * kPage));
    expect_untold(dma.copy(kRamBase, kAddress - kPage, 3 * kPage));
  }
}

// Through a manager they are stores like any other.
TEST_P(CodeWritesTest, WordsTell) {
  std::uint32_t old = 0;
  bool exchanged = false;
  const auto told = [this](DmaResult result) {
    EXPECT_TRUE(result.ok());
    return listener.take().size() == 1;
  };
  EXPECT_TRUE(told(dma.store(kAddress, std::uint32_t{1})));
  EXPECT_TRUE(told(dma.exchange(kAddress, std::uint32_t{2}, old)));
  EXPECT_TRUE(told(dma.fetch_add(kAddress, std::uint32_t{1}, old)));
  old = 3;
  EXPECT_TRUE(told(dma.compare_exchange(kAddress, old, std::uint32_t{1}, exchanged)));
  expect_untold(dma.compare_exchange(kAddress, old, std::uint32_t{1}, exchanged));
  expect_untold(dma.store(kAddress - 4, std::uint32_t{1}));
}

TEST_P(CodeWritesTest, UnmappingTells) {
  const auto mapping = dma.map(kAddress - 100, 200, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  EXPECT_TRUE(mapping->is_zero_copy());
  mapping->bytes()[100] = std::byte{1};
  expect_told(dma.unmap(*mapping));
  const auto unused = dma.map(kAddress - 100, 200, DmaDirection::kToDevice);
  ASSERT_TRUE(unused.ok());
  expect_untold(dma.unmap(*unused));
}

TEST_P(CodeWritesTest, AsynchronousDmaTells) {
  for (const AsyncBackend backend : {AsyncBackend::kThreads, AsyncBackend::kIoUring}) {
    const auto async = AsyncDma::create({.backend = backend});
    if (!async.ok()) continue;
    const std::vector<std::byte> bytes(kPage, std::byte{1});
    const std::array<DmaSegment, 1> list{{{kAddress - 8, 16}}};
    const std::array<DmaSegment, 1> beside{{{kAddress - 8, 8}}};
    const auto finish = [&](AsyncAdmission admission) {
      EXPECT_EQ(admission, AsyncAdmission::kAccepted);
      std::array<AsyncCompletion, 1> done;
      EXPECT_EQ((*async)->wait(done, std::chrono::seconds(60)), 1u);
      return done[0].dma;
    };
    expect_told(finish((*async)->write(dma, list, std::span(bytes).first(16), {1})));
    expect_told(finish((*async)->fill(dma, list, std::byte{2}, {2})));
    expect_told(finish((*async)->copy(dma, kAddress, kRamBase, 8, {3})));
    expect_untold(finish((*async)->fill(dma, beside, std::byte{2}, {4})));
  }
}

// The used ring, or the packed ring's descriptors, lie in the watched chunk.
class CodeOfRingsTest : public testing::TestWithParam<std::tuple<RingPath, std::uint64_t>> {};

TEST_P(CodeOfRingsTest, WhatADeviceWritesToItsRingTells) {
  const auto [path, features] = GetParam();
  Guest guest({.code_watch = vm_mem::CodeWatching::kOn});
  vm_mem::MemoryReader reader(*guest.memory, vm_mem::Route::kDma);
  DmaSpace dma = dma_by(path, guest, reader);
  RingDriver driver(guest, kRamBase, 8, features);
  Virtqueue queue(dma, 8);
  ASSERT_EQ(queue.enable(driver.config()), VirtqueueError::kNone);
  const std::uint64_t ring = (driver.is_packed() ? kRamBase : driver.device_area()) - kRamBase;
  Listener listener(ring, 8 * 16);
  vm_mem::CodeWatch& watch = guest.memory->code_watch();
  ASSERT_EQ(watch.add_watcher(&listener), absl::OkStatus());
  DescriptorChain chain;
  for (int repeat = 0; repeat < 3; ++repeat) {
    driver.offer({{kRamBase + 0x1'0000, 16, kWrite, 0}});
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    ASSERT_TRUE(watch.watch(guest.ram, ring, 8 * 16).ok());
    EXPECT_EQ(queue.push(chain, 16), VirtqueueError::kNone);
    EXPECT_GE(listener.take().size(), 1u);
    ASSERT_EQ(watch.release(guest.ram, ring, 8 * 16), absl::OkStatus());
    EXPECT_TRUE(driver.take_used().has_value());
  }
  watch.remove_watcher(&listener);
}

INSTANTIATE_TEST_SUITE_P(EachForm, CodeOfRingsTest,
                         testing::Combine(testing::Values(RingPath::kDma, RingPath::kDirect),
                                          testing::Values(0, kFeatureRingPacked)));

}  // namespace
}  // namespace vm_device
