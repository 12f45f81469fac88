// Every allocation of attach() fails once; and what a bus keeps of devices that left it.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "tests/vm_device/guest.h"

namespace {

// How many allocations of this thread succeed before the next one fails; below 0: all do.
thread_local int allocations_left = -1;
std::atomic<int> living{0};

bool fails_now() { return allocations_left >= 0 && allocations_left-- == 0; }

void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  ++living;
  return memory;
}
void release(void* memory) {
  if (memory != nullptr) --living;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(fails_now() ? nullptr : std::malloc(bytes));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const auto aligned = static_cast<std::size_t>(alignment);
  return counted(fails_now() ? nullptr
                             : std::aligned_alloc(aligned, (bytes + aligned - 1) & ~(aligned - 1)));
}
// Out of line: in line g++ takes them for frees of what another function allocated.
[[gnu::noinline]] void operator delete(void* memory) noexcept { release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace vm_device {
namespace {

using vm_mem::AccessFault;
using vm_mem::GuestAddress;

constexpr std::uint64_t kBase = 0x1000'0000;

struct Silent final : vm_mem::MmioHandler {
  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t&) override {
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return AccessFault::kNone;
  }
};

AccessFault poke(Guest& guest) {
  return guest.memory->store(GuestAddress{kBase}, std::uint32_t{1}).fault;
}

TEST(MmioBusMemoryTest, AnAttachThatFailsLeavesNothingInTheMap) {
  Guest guest;
  Silent device;
  int failures = 0;
  for (;; ++failures) {
    allocations_left = failures;
    const absl::Status status = guest.bus.attach(guest_range(kBase, 4096), &device, "engine");
    allocations_left = -1;
    if (status.ok()) break;
    ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << failures << status;
    ASSERT_EQ(poke(guest), AccessFault::kUnmapped) << failures;
    ASSERT_EQ(guest.bus.detach(&device).code(), absl::StatusCode::kNotFound) << failures;
  }
  EXPECT_GT(failures, 3);
  EXPECT_EQ(poke(guest), AccessFault::kNone);
}

TEST(MmioBusMemoryTest, ADetachNeedsNoMemoryOfItsOwn) {
  Guest guest;
  Silent device;
  for (int failures = 0;; ++failures) {
    ASSERT_TRUE(guest.bus.attach(guest_range(kBase, 4096), &device, "engine").ok());
    allocations_left = failures;
    const absl::Status status = guest.bus.detach(&device);
    allocations_left = -1;
    if (status.ok()) break;
    ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << failures << status;
    ASSERT_EQ(poke(guest), AccessFault::kNone) << failures;
    ASSERT_TRUE(guest.bus.detach(&device).ok());
  }
  EXPECT_EQ(poke(guest), AccessFault::kUnmapped);
}

TEST(MmioBusMemoryTest, DevicesThatHaveLeftAreForgotten) {
  Guest guest;
  Silent device;
  const auto come_and_go = [&](int times) {
    for (int i = 0; i < times; ++i) {
      ASSERT_TRUE(guest.bus.attach(guest_range(kBase, 4096), &device, "engine").ok());
      ASSERT_TRUE(guest.bus.detach(&device).ok());
    }
  };
  come_and_go(20);
  const int before = living;
  come_and_go(200);
  EXPECT_LT(living - before, 20);
}

}  // namespace
}  // namespace vm_device
