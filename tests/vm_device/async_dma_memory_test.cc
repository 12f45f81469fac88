// AsyncDma where the host has no memory left, and what a request keeps of the one before.
#include <dirent.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "tests/support/failing_allocations.h"
#include "tests/vm_device/guest.h"
#include "vm_device/internal/async_request.h"

namespace vm_device {
namespace {

int open_descriptors() {
  int count = 0;
  DIR* const directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

class AsyncDmaMemoryTest : public testing::TestWithParam<AsyncBackend> {};

TEST_P(AsyncDmaMemoryTest, CreateFailsWithAStatusAndLeavesNothingOpen) {
  const AsyncDmaOptions options{.backend = GetParam(), .max_requests = 2, .max_segments = 2};
  if (absl::IsUnimplemented(AsyncDma::create(options).status())) GTEST_SKIP() << "no io_uring";
  const int before = open_descriptors();
  absl::Status status;
  int failures = -1;
  do {
    status = vm_test::with_failing_allocation(++failures,
                                              [&] { return AsyncDma::create(options).status(); });
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
    EXPECT_EQ(open_descriptors(), before) << failures;
  } while (!status.ok());
  EXPECT_GT(failures, 5);
}

INSTANTIATE_TEST_SUITE_P(Backends, AsyncDmaMemoryTest,
                         testing::Values(AsyncBackend::kIoUring, AsyncBackend::kThreads),
                         [](const testing::TestParamInfo<AsyncBackend>& backend) {
                           return backend.param == AsyncBackend::kIoUring ? "io_uring" : "threads";
                         });

TEST(AsyncPiecesMemoryTest, RamThatCannotBeHeldIsBusyAndNotUnmapped) {
  Guest guest;
  DmaSpace dma(*guest.memory);
  const std::array<DmaSegment, 1> list{{{kRamBase, 100}}};
  internal::DmaPieces pieces;
  const auto map = [&] {
    return pieces.map(dma, SegmentCursor(list), UINT64_MAX, DmaAccess::kWrite);
  };
  for (int successes = 0; successes < 2; ++successes) {
    EXPECT_EQ(vm_test::with_failing_allocation(successes, map),
              (DmaResult{DmaFault::kBusy, 0, kRamBase}));
  }
  EXPECT_EQ(map(), (DmaResult{.done = 100}));
}

class Device : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t&) override {
    return vm_mem::AccessFault::kDevice;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return vm_mem::AccessFault::kDevice;
  }
};

TEST(AsyncRequestTest, NothingOfARequestIsLeftForTheNext) {
  Guest guest;
  std::array<std::byte, 4> buffer{};
  Device device;
  internal::AsyncRequest request(4);
  request.tag = {7};
  request.kind = internal::AsyncKind::kCopy;
  request.space.emplace(*guest.memory);
  request.list = {{kRamBase, 4}};
  request.file = {3, 4};
  request.to = buffer;
  request.from = buffer;
  request.source = kRamBase;
  request.value = std::byte{9};
  request.chain.add(&device);
  request.run();
  request.clear();
  const internal::AsyncRequest made(4);
  EXPECT_EQ(request.tag, made.tag);
  EXPECT_EQ(request.kind, made.kind);
  EXPECT_FALSE(request.space.has_value());
  EXPECT_TRUE(request.list.empty() && request.to.empty() && request.from.empty());
  EXPECT_EQ(request.file.descriptor, made.file.descriptor);
  EXPECT_EQ(request.source, made.source);
  EXPECT_EQ(request.value, made.value);
  EXPECT_TRUE(request.chain.devices().empty());
  EXPECT_EQ(request.completion, made.completion);
}

}  // namespace
}  // namespace vm_device
