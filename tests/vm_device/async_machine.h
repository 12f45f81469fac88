// What the tests of AsyncDma share: a guest with RAM, ROM, registers and an IOMMU, and the
// back end that is the test's parameter.
#ifndef TESTS_VM_DEVICE_ASYNC_MACHINE_H_
#define TESTS_VM_DEVICE_ASYNC_MACHINE_H_

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/vm_device/dma_guest.h"
#include "tests/vm_device/gate.h"
#include "vm_device/async_dma.h"

namespace vm_device {

using std::chrono::milliseconds;
using std::chrono::seconds;
using vm_mem::AccessFault;
using vm_mem::GuestAddress;

inline constexpr seconds kLong{60};  // the end of a test that hangs

// A file without a name.
class File {
 public:
  explicit File(std::span<const std::byte> content = {}) : descriptor_(::memfd_create("test", 0)) {
    EXPECT_EQ(::pwrite(descriptor_, content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(descriptor_); }
  int get() const { return descriptor_; }
  std::vector<std::byte> content() const {
    std::vector<std::byte> out(static_cast<std::size_t>(::lseek(descriptor_, 0, SEEK_END)));
    EXPECT_EQ(::pread(descriptor_, out.data(), out.size(), 0), static_cast<ssize_t>(out.size()));
    return out;
  }

 private:
  int descriptor_;
};

// A file on a disk; `path` is where.
inline int open_file(std::string& path) {
  path = testing::TempDir() + "async_dma_XXXXXX";
  const int file = ::mkstemp(path.data());
  EXPECT_GE(file, 0);
  return file;
}

// Registers that can hold up who reads them.
class Registers : public vm_mem::MmioHandler {
 public:
  AccessFault mmio_read(std::uint64_t offset, unsigned, std::uint64_t& value) override {
    if (gate != nullptr) gate->pass();
    value = 0x0101010101010101 * (offset / 8 + 1);
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t) override {
    if (offset >= refuse_from) return AccessFault::kDevice;
    written += size;
    return AccessFault::kNone;
  }
  Gate* gate = nullptr;
  std::uint64_t refuse_from = kPage;
  std::uint64_t written = 0;
};

class AsyncMachine : public testing::TestWithParam<AsyncBackend>, protected DmaGuest<Registers> {
 protected:
  void SetUp() override { make({}); }
  void make(AsyncDmaOptions options) {
    async.reset();
    options.backend = GetParam();
    auto made = AsyncDma::create(options);
    if (GetParam() == AsyncBackend::kIoUring && absl::IsUnimplemented(made.status())) {
      GTEST_SKIP() << made.status();
    }
    ASSERT_TRUE(made.ok()) << made.status();
    async = std::move(*made);
    EXPECT_EQ(async->backend(), GetParam());
  }
  void TearDown() override {
    async.reset();
    EXPECT_EQ(guest.memory->leases(), 0u);
    EXPECT_TRUE(iommu->wait_for_dma(milliseconds(0)).ok());
  }
  AsyncCompletion take() {
    AsyncCompletion completion;
    EXPECT_EQ(async->wait(std::span(&completion, 1), kLong), 1u);
    return completion;
  }
  AsyncCompletion read_file(const File& file, std::vector<DmaSegment> list, DmaSpace& space,
                            std::uint64_t offset = 0) {
    EXPECT_EQ(async->read_file(space, list, {file.get(), offset}, {1}), AsyncAdmission::kAccepted);
    return take();
  }
  AsyncCompletion write_file(int descriptor, std::vector<DmaSegment> list, DmaSpace& space,
                             std::uint64_t offset = 0) {
    EXPECT_EQ(async->write_file(space, list, {descriptor, offset}, {2}), AsyncAdmission::kAccepted);
    return take();
  }
  std::vector<std::byte> ram(std::uint64_t address, std::size_t bytes) {
    return guest.bytes(address, bytes);
  }
  // A worker is kept busy by a request with tag 99 until the gate opens.
  void hold_a_worker() {
    registers.gate = &gate;
    ASSERT_EQ(async->read(dma, std::array<DmaSegment, 1>{{{kDeviceBase, 8}}}, held_bytes, {99}),
              AsyncAdmission::kAccepted);
    gate.wait_for(1);
  }

  Gate gate;
  std::array<std::byte, 8> held_bytes{};
  std::unique_ptr<AsyncDma> async;
};

inline AsyncCompletion done(std::uint64_t tag, std::uint64_t bytes) {
  return {{tag}, AsyncOutcome::kDone, {.done = bytes}, 0};
}

inline std::string backend_name(const testing::TestParamInfo<AsyncBackend>& backend) {
  return backend.param == AsyncBackend::kIoUring ? "io_uring" : "threads";
}

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_ASYNC_MACHINE_H_
