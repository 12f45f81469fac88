// Every allocation of attach() fails once; and what a bus keeps of devices that left it.
#include <gtest/gtest.h>

#include "tests/support/failing_allocations.h"
#include "tests/vm_device/guest.h"

namespace vm_device {
namespace {

using vm_mem::AccessFault;
using vm_mem::GuestAddress;
using vm_test::allocations_left;
using vm_test::living_allocations;

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
  const int before = living_allocations;
  come_and_go(200);
  EXPECT_LT(living_allocations - before, 20);
}

}  // namespace
}  // namespace vm_device
