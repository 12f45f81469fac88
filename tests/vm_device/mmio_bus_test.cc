#include "vm_device/mmio_bus.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "tests/vm_device/guest.h"
#include "vm_device/dma.h"

namespace vm_device {
namespace {

using vm_mem::AccessFault;
using vm_mem::GuestAddress;

constexpr std::uint64_t kDeviceBase = 0x1000'0000;
constexpr std::uint64_t kPage = 0x1000;

// A device with one register: a write starts `on_write`, in which the test does DMA.
class Engine : public vm_mem::MmioHandler {
 public:
  explicit Engine(vm_mem::MemoryManager& memory) : dma(memory, this) {}

  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    ++entries;
    value = 0x1122334455667788;
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    ++entries;
    return on_write ? on_write() : AccessFault::kNone;
  }

  DmaSpace dma;
  std::atomic<int> entries{0};
  std::function<AccessFault()> on_write;
};

class MmioBusTest : public testing::Test {
 protected:
  Engine& add_device() {
    devices_.push_back(std::make_unique<Engine>(*guest.memory));
    Engine& device = *devices_.back();
    EXPECT_TRUE(guest.bus.attach(range_of(devices_.size() - 1), &device, "engine").ok());
    return device;
  }
  static vm_mem::GuestRange range_of(std::size_t index) {
    return guest_range(address_of(index), kPage);
  }
  static std::uint64_t address_of(std::size_t index) { return kDeviceBase + index * kPage; }
  AccessFault poke(std::size_t index) {
    return guest.memory->store(GuestAddress{address_of(index)}, std::uint32_t{1}).fault;
  }

  Guest guest;

 private:
  std::vector<std::unique_ptr<Engine>> devices_;
};

TEST_F(MmioBusTest, AnAttachedDeviceIsReached) {
  Engine& device = add_device();
  EXPECT_EQ(guest.get<std::uint64_t>(address_of(0)), 0x1122334455667788u);
  EXPECT_EQ(poke(0), AccessFault::kNone);
  EXPECT_EQ(device.entries, 2);
}

TEST_F(MmioBusTest, DmaIntoTheDevicesOwnRegistersIsRefusedBeforeItSeesIt) {
  Engine& device = add_device();
  DmaResult result;
  device.on_write = [&] {
    std::array<std::byte, 8> bytes{};
    result = device.dma.write(address_of(0), bytes);
    return AccessFault::kNone;
  };
  EXPECT_EQ(poke(0), AccessFault::kNone);
  EXPECT_EQ(result, (DmaResult{DmaFault::kReentrant, 0, address_of(0)}));
  EXPECT_EQ(device.entries, 1);
}

TEST_F(MmioBusTest, DmaThatRunsIntoTheDevicesOwnRegistersSaysHowFarItCame) {
  Engine& device = add_device();
  DmaResult result;
  device.on_write = [&] {
    std::array<std::byte, 100> bytes{};
    const std::array<DmaSegment, 3> list{{{kRamBase, 40}, {address_of(0), 8}, {kRamBase, 40}}};
    result = device.dma.read(list, bytes);
    return AccessFault::kNone;
  };
  poke(0);
  EXPECT_EQ(result, (DmaResult{DmaFault::kReentrant, 40, address_of(0)}));
}

TEST_F(MmioBusTest, CopyIntoTheDevicesOwnRegistersIsRefused) {
  Engine& device = add_device();
  DmaResult copied, loaded;
  device.on_write = [&] {
    copied = device.dma.copy(address_of(0), kRamBase, 64);
    std::uint32_t value = 0;
    loaded = device.dma.load(address_of(0) + 4, value);
    return AccessFault::kNone;
  };
  poke(0);
  EXPECT_EQ(copied, (DmaResult{DmaFault::kReentrant, 0, address_of(0)}));
  EXPECT_EQ(loaded, (DmaResult{DmaFault::kReentrant, 0, address_of(0) + 4}));
}

TEST_F(MmioBusTest, AfterARefusalTheDeviceWorks) {
  Engine& device = add_device();
  device.on_write = [&] {
    std::array<std::byte, 8> bytes{};
    device.dma.write(address_of(0), bytes);
    return AccessFault::kDevice;
  };
  EXPECT_EQ(poke(0), AccessFault::kDevice);
  EXPECT_EQ(guest.get<std::uint64_t>(address_of(0)), 0x1122334455667788u);
  DmaSpace outside(*guest.memory);
  std::uint64_t value = 0;
  EXPECT_TRUE(outside.load(address_of(0), value).ok());
}

TEST_F(MmioBusTest, AnExceptionOfADeviceLeavesTheGuardOpen) {
  Engine& device = add_device();
  device.on_write = []() -> AccessFault { throw 1; };
  EXPECT_THROW(poke(0), int);
  device.on_write = nullptr;
  EXPECT_EQ(poke(0), AccessFault::kNone);
}

TEST_F(MmioBusTest, DmaIntoAnotherDeviceArrives) {
  Engine& first = add_device();
  Engine& second = add_device();
  DmaResult result;
  first.on_write = [&] {
    result = first.dma.store(address_of(1), std::uint32_t{5});
    return AccessFault::kNone;
  };
  poke(0);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(second.entries, 1);
}

TEST_F(MmioBusTest, ADeviceIsNotReachedThroughAnother) {
  Engine& first = add_device();
  Engine& second = add_device();
  DmaResult inner, outer;
  first.on_write = [&] {
    outer = first.dma.store(address_of(1), std::uint32_t{5});
    return AccessFault::kNone;
  };
  second.on_write = [&] {
    inner = second.dma.store(address_of(0), std::uint32_t{6});
    return AccessFault::kNone;
  };
  poke(0);
  EXPECT_EQ(inner, (DmaResult{DmaFault::kReentrant, 0, address_of(0)}));
  EXPECT_TRUE(outer.ok());
  EXPECT_EQ(first.entries, 1);
  EXPECT_EQ(second.entries, 1);
}

TEST_F(MmioBusTest, ARefusalFurtherInIsNotTheOutersReentrance) {
  Engine& first = add_device();
  Engine& second = add_device();
  DmaResult outer;
  first.on_write = [&] {
    outer = first.dma.store(address_of(1), std::uint32_t{5});
    return AccessFault::kNone;
  };
  second.on_write = [&] {
    second.dma.store(address_of(0), std::uint32_t{6});
    return AccessFault::kBusy;
  };
  poke(0);
  EXPECT_EQ(outer, (DmaResult{DmaFault::kBusy, 0, address_of(1)}));
}

TEST_F(MmioBusTest, TheInitiatorOfDmaOutsideAnAccessIsGuardedToo) {
  Engine& device = add_device();
  EXPECT_EQ(device.dma.store(address_of(0), std::uint32_t{1}),
            (DmaResult{DmaFault::kReentrant, 0, address_of(0)}));
  EXPECT_EQ(device.entries, 0);
  EXPECT_EQ(poke(0), AccessFault::kNone);
}

TEST_F(MmioBusTest, AChainOfManyDevicesEndsBeforeTheStackDoes) {
  constexpr std::size_t kDevices = 200;
  int reached = 0;
  DmaFault last = DmaFault::kNone;
  for (std::size_t i = 0; i < kDevices; ++i) {
    Engine& device = add_device();
    device.on_write = [&, i] {
      ++reached;
      const DmaResult result = device.dma.store(address_of(i + 1), std::uint32_t{1});
      if (last == DmaFault::kNone) last = result.fault;
      return AccessFault::kNone;
    };
  }
  EXPECT_EQ(poke(0), AccessFault::kNone);
  EXPECT_EQ(reached, 16);
  EXPECT_EQ(last, DmaFault::kBusy);
}

TEST_F(MmioBusTest, AnotherThreadMayEnterTheSameDevice) {
  Engine& device = add_device();
  std::atomic<bool> first{true};
  AccessFault from_other = AccessFault::kBusy;
  DmaResult own;
  device.on_write = [&] {
    if (!first.exchange(false)) return AccessFault::kNone;
    std::thread other([&] { from_other = poke(0); });
    other.join();
    own = device.dma.store(address_of(0), std::uint32_t{1});
    return AccessFault::kNone;
  };
  EXPECT_EQ(poke(0), AccessFault::kNone);
  EXPECT_EQ(from_other, AccessFault::kNone);
  EXPECT_EQ(own.fault, DmaFault::kReentrant);
  EXPECT_EQ(device.entries, 2);
}

TEST_F(MmioBusTest, ThreadsKeepTheirOwnChains) {
  constexpr int kRounds = 500;
  std::atomic<int> refused{0};
  for (std::size_t i = 0; i < 2; ++i) {
    Engine& device = add_device();
    device.on_write = [&, i] {
      if (device.dma.store(address_of(i), std::uint32_t{1}).fault == DmaFault::kReentrant) {
        ++refused;
      }
      return AccessFault::kNone;
    };
  }
  const auto run = [&](std::size_t index) {
    for (int i = 0; i < kRounds; ++i) EXPECT_EQ(poke(index), AccessFault::kNone);
  };
  std::thread first(run, 0), second(run, 1);
  first.join();
  second.join();
  EXPECT_EQ(refused, 2 * kRounds);
}

TEST_F(MmioBusTest, AttachRefusesADeviceTwice) {
  Engine& device = add_device();
  const absl::Status again = guest.bus.attach(range_of(7), &device, "uart");
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(again.message(), "uart: the device is attached already");
}

TEST_F(MmioBusTest, AttachNamesTheDeviceWhoseRangeIsTaken) {
  add_device();
  Engine other(*guest.memory);
  const absl::Status status = guest.bus.attach(range_of(0), &other, "uart");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(status.message().substr(0, 6), "uart: ");
  EXPECT_EQ(guest.bus.attach(range_of(7), nullptr, "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(guest.bus.attach(range_of(7), &other, "uart").ok());
}

TEST_F(MmioBusTest, ADetachedDeviceIsGoneAndMayComeBack) {
  Engine& device = add_device();
  EXPECT_TRUE(guest.bus.detach(&device).ok());
  EXPECT_EQ(poke(0), AccessFault::kUnmapped);
  EXPECT_EQ(guest.bus.detach(&device).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(guest.bus.attach(range_of(0), &device, "engine").ok());
  EXPECT_EQ(poke(0), AccessFault::kNone);
}

TEST_F(MmioBusTest, ADeviceCannotDetachItselfFromInside) {
  Engine& device = add_device();
  absl::StatusCode code = absl::StatusCode::kOk;
  device.on_write = [&] {
    code = guest.bus.detach(&device).code();
    return AccessFault::kNone;
  };
  poke(0);
  EXPECT_EQ(code, absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(poke(0), AccessFault::kNone);
}

TEST_F(MmioBusTest, AfterDetachNoThreadIsInTheDevice) {
  auto device = std::make_unique<Engine>(*guest.memory);
  ASSERT_TRUE(guest.bus.attach(range_of(0), device.get(), "engine").ok());
  std::atomic<bool> stop{false};
  std::thread cpu([&] {
    while (!stop) poke(0);
  });
  while (device->entries < 100) std::this_thread::yield();
  EXPECT_TRUE(guest.bus.detach(device.get()).ok());
  device.reset();  // a late access would be a use after free
  stop = true;
  cpu.join();
}

TEST_F(MmioBusTest, TheBusRemovesItsRegions) {
  auto memory = std::move(vm_mem::MemoryManager::create({}).value());
  Engine device(*memory);
  {
    MmioBus bus(*memory);
    ASSERT_TRUE(bus.attach(range_of(0), &device, "engine").ok());
  }
  EXPECT_EQ(memory->store(GuestAddress{address_of(0)}, 1).fault, AccessFault::kUnmapped);
}

TEST(MmioBusAliasTest, WhatAnAliasShowsOfABusThatHasGoneRefusesAccesses) {
  auto memory = std::move(vm_mem::MemoryManager::create({}).value());
  const GuestAddress shown{kDeviceBase + 16 * kPage};
  Engine device(*memory);
  {
    MmioBus bus(*memory);
    ASSERT_TRUE(bus.attach(guest_range(kDeviceBase, kPage), &device, "engine").ok());
    const vm_mem::RegionId region = memory->map()->find(GuestAddress{kDeviceBase})->region;
    ASSERT_TRUE(memory->add_alias(guest_range(shown.value, kPage), region, 0).ok());
    EXPECT_EQ(bus.detach(&device).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(memory->store(shown, 1).fault, AccessFault::kNone);
  }
  EXPECT_EQ(memory->store(shown, 1).fault, AccessFault::kDevice);
  EXPECT_EQ(memory->store(GuestAddress{kDeviceBase}, 1).fault, AccessFault::kDevice);
  EXPECT_EQ(device.entries, 1);
}

}  // namespace
}  // namespace vm_device
