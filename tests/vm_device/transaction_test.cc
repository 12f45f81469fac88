#include "vm_device/internal/transaction.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "tests/vm_device/scripted_slot.h"

namespace vm_device {
namespace {

using internal::EntryKind;
using internal::kMaxDeviceDepth;
using internal::ResumedTransaction;
using internal::TransactionChain;
using internal::TransactionEntry;
using vm_mem::AccessFault;

struct Silent final : vm_mem::MmioHandler {
  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t&) override {
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return AccessFault::kNone;
  }
};

class TransactionChainTest : public testing::Test {
 protected:
  std::array<Silent, kMaxDeviceDepth + 1> devices;
};

TEST_F(TransactionChainTest, HoldsTheDevicesOfThisThread) {
  EXPECT_TRUE(TransactionChain::current().devices().empty());
  const TransactionEntry first(EntryKind::kMmio, &devices[0]);
  const TransactionEntry again(EntryKind::kDma, &devices[0]);
  const TransactionEntry none(EntryKind::kDma, nullptr);
  const TransactionEntry second(EntryKind::kDma, &devices[1]);
  const TransactionChain chain = TransactionChain::current();
  EXPECT_EQ(chain.devices().size(), 2u);
  EXPECT_TRUE(chain.holds(&devices[0]) && chain.holds(&devices[1]));
  EXPECT_FALSE(chain.holds(&devices[2]));
}

TEST_F(TransactionChainTest, OfAnotherThreadIsItsOwn) {
  const TransactionEntry entry(EntryKind::kMmio, &devices[0]);
  std::thread([] { EXPECT_TRUE(TransactionChain::current().devices().empty()); }).join();
}

TEST_F(TransactionChainTest, GoesOnOnAnotherThreadAndEndsThere) {
  TransactionChain chain;
  chain.add(&devices[0]);
  chain.add(&devices[1]);
  std::thread([&] {
    const TransactionEntry own(EntryKind::kMmio, &devices[1]);
    {
      const ResumedTransaction resumed(chain);
      EXPECT_TRUE(TransactionEntry::holds(&devices[0]));
      EXPECT_FALSE(TransactionEntry::is_inside(&devices[0]));
      EXPECT_EQ(TransactionEntry::device_depth(), 2);
      const TransactionEntry further(EntryKind::kMmio, &devices[2]);
      EXPECT_EQ(TransactionChain::current().devices().size(), 3u);
    }
    EXPECT_FALSE(TransactionEntry::holds(&devices[0]));
    EXPECT_EQ(TransactionEntry::device_depth(), 1);
  }).join();
}

TEST_F(TransactionChainTest, WhatIsInDmaIsWhatThisThreadDoesItself) {
  TransactionChain chain;
  chain.add(&devices[0]);
  const ResumedTransaction resumed(chain);
  EXPECT_FALSE(TransactionEntry::in_dma_of_other_than(&devices[1]));
  EXPECT_FALSE(TransactionEntry::is_inside_other_than(&devices[1]));
}

TEST_F(TransactionChainTest, AFullChainLetsNothingBeEntered) {
  TransactionChain chain;
  for (const Silent& device : devices) chain.add(&device);
  EXPECT_EQ(chain.devices().size(), devices.size() - 1);
  const TransactionEntry own(EntryKind::kDma, &devices[0]);
  const ResumedTransaction resumed(chain);
  EXPECT_GE(TransactionEntry::device_depth(), kMaxDeviceDepth);
}

// Slots whose devices, when notified, ring the bell of another by DMA and keep the result.
class ReentrancyTest : public testing::Test {
 protected:
  ReentrancyTest() {
    EXPECT_TRUE(guest.memory->add_ram(guest_range(kRamEnd, 2 * kRamBytes)).ok());
  }
  ScriptedSlot& add(std::uint64_t index) {
    ScriptedSlot& slot = slots.emplace_back(guest, index);
    slot.start();
    results.emplace_back();
    return slot;
  }
  void add_all(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) add(i);
  }
  // On its notification `from` rings the bell of `to`.
  void link(std::size_t from, std::size_t to) {
    slots[from].device->on_notify = [this, from, to](std::uint16_t) {
      results[from].push_back(ring(from, to));
    };
  }
  DmaFault ring(std::size_t from, std::size_t to) {
    DmaSpace& dma = slots[from].device->transport->dma();
    return dma.store(ScriptedSlot::bell_of(to), std::uint32_t{0}).fault;
  }
  int notified(std::size_t index) const { return slots[index].device->notifications[0]; }
  // What a guest does that answers interrupts: an access to every device.
  void touch_all() {
    for (ScriptedSlot& slot : slots) slot.touch();
  }

  using Faults = std::vector<DmaFault>;
  Guest guest;
  std::deque<ScriptedSlot> slots;
  std::deque<Faults> results;
};

TEST_F(ReentrancyTest, ADeviceDoesNotRingItsOwnBell) {
  add_all(1);
  link(0, 0);
  slots[0].ring_bell();
  touch_all();
  EXPECT_EQ(results[0], Faults{DmaFault::kReentrant});
  EXPECT_EQ(notified(0), 1);
}

TEST_F(ReentrancyTest, ABellThatWasPutOffDoesNotLeadBack) {
  add_all(2);
  link(0, 1);
  link(1, 0);
  slots[0].ring_bell();
  EXPECT_EQ(notified(1), 0);
  for (int i = 0; i < 5; ++i) touch_all();
  EXPECT_EQ(results[0], Faults{DmaFault::kNone});
  EXPECT_EQ(results[1], Faults{DmaFault::kReentrant});
  EXPECT_EQ(notified(0), 1);
  EXPECT_EQ(notified(1), 1);
}

TEST_F(ReentrancyTest, NorDoesItByWayOfAThird) {
  add_all(3);
  link(0, 1);
  link(1, 2);
  link(2, 0);
  slots[0].ring_bell();
  for (int i = 0; i < 5; ++i) touch_all();
  EXPECT_EQ(results[1], Faults{DmaFault::kNone});
  EXPECT_EQ(results[2], Faults{DmaFault::kReentrant});
  EXPECT_EQ(notified(0), 1);
}

TEST_F(ReentrancyTest, NorOnAnotherThread) {
  add_all(2);
  link(0, 1);
  link(1, 0);
  slots[0].ring_bell();
  std::thread([this] { slots[1].touch(); }).join();
  EXPECT_EQ(results[1], Faults{DmaFault::kReentrant});
}

TEST_F(ReentrancyTest, NorWhereAHostThreadWakesIt) {
  add_all(2);
  link(1, 0);
  TransactionChain chain;
  slots[0].device->on_notify = [&](std::uint16_t) { chain = TransactionChain::current(); };
  slots[0].ring_bell();
  std::thread([&] {  // what the device had a thread do for it
    const ResumedTransaction resumed(chain);
    slots[1].device->transport->wake(0);
  })
      .join();
  EXPECT_EQ(results[1], Faults{DmaFault::kReentrant});
  slots[1].device->transport->wake(0);
  EXPECT_EQ(results[1], (Faults{DmaFault::kReentrant, DmaFault::kNone}));
}

TEST_F(ReentrancyTest, NorWhereItIsWokenInsideAnother) {
  add_all(2);
  link(1, 0);
  slots[0].device->on_notify = [this](std::uint16_t) { slots[1].device->transport->wake(0); };
  slots[0].ring_bell();
  EXPECT_EQ(results[1], Faults{DmaFault::kReentrant});
}

TEST_F(ReentrancyTest, AChainThatIsPutOffAtEachDeviceEndsToo) {
  constexpr std::size_t kDevices = 24;
  for (std::size_t i = 0; i < kDevices; ++i) {
    add(i);
    link(i, (i + 1) % kDevices);
  }
  slots[0].ring_bell();
  for (int i = 0; i < 3; ++i) touch_all();
  for (std::size_t i = 0; i < kDevices; ++i) {
    const bool reached = i < kMaxDeviceDepth;
    const bool last = i + 1 == kMaxDeviceDepth;
    EXPECT_EQ(results[i], reached ? Faults{last ? DmaFault::kBusy : DmaFault::kNone} : Faults{})
        << i;
  }
}

TEST_F(ReentrancyTest, TheDriversOwnBellStartsAFreshChain) {
  add_all(2);
  link(0, 1);
  link(1, 0);
  slots[0].ring_bell();
  slots[1].ring_bell();  // what was put off is the driver's then
  EXPECT_EQ(results[1], Faults{DmaFault::kNone});
  EXPECT_EQ(notified(1), 1);
  touch_all();
  EXPECT_EQ(results[0], (Faults{DmaFault::kNone, DmaFault::kReentrant}));
}

TEST_F(ReentrancyTest, DevicesThatDidNotLeadThereAreReached) {
  add_all(3);
  link(0, 1);
  link(1, 2);
  slots[0].ring_bell();
  slots[1].touch();
  EXPECT_EQ(results[1], Faults{DmaFault::kNone});
  slots[2].touch();
  EXPECT_EQ(notified(2), 1);
  slots[0].ring_bell();  // and again, from the start
  touch_all();
  EXPECT_EQ(results[1], (Faults{DmaFault::kNone, DmaFault::kNone}));
}

TEST_F(ReentrancyTest, TwoWaysToOneBellAreBothRemembered) {
  add_all(3);
  link(0, 2);
  link(1, 2);
  Faults both;
  slots[2].device->on_notify = [&](std::uint16_t) { both = {ring(2, 0), ring(2, 1)}; };
  slots[0].ring_bell();
  slots[1].ring_bell();
  slots[2].touch();
  EXPECT_EQ(both, (Faults{DmaFault::kReentrant, DmaFault::kReentrant}));
  EXPECT_EQ(notified(2), 1);
}

TEST_F(ReentrancyTest, AnAccessByAThirdDeviceNeitherDoesTheWorkNorJoinsTheChain) {
  add_all(3);
  link(0, 1);
  Faults later;
  slots[1].device->on_notify = [&](std::uint16_t) { later = {ring(1, 0), ring(1, 2)}; };
  slots[0].ring_bell();
  slots[2].device->on_notify = [&](std::uint16_t) {
    std::uint32_t status = 0;
    slots[2].device->transport->dma().load(ScriptedSlot::address_of(1) + 0x60, status);
    EXPECT_EQ(notified(1), 0);
  };
  slots[2].ring_bell();
  slots[1].touch();
  EXPECT_EQ(later, (Faults{DmaFault::kReentrant, DmaFault::kNone}));
}

TEST_F(ReentrancyTest, AResetForgetsWhatWasPutOff) {
  add_all(2);
  link(0, 1);
  slots[0].ring_bell();
  slots[1].start();
  const int before = notified(1);
  slots[1].touch();
  EXPECT_EQ(notified(1), before);
}

// Two rings of two devices, driven by a thread each: every round ends at its second device.
TEST_F(ReentrancyTest, ThreadsHaveTransactionsOfTheirOwn) {
  constexpr int kRounds = 300;
  add_all(4);
  for (std::size_t i = 0; i < 4; ++i) link(i, i ^ 1);
  const auto drive = [&](std::size_t first) {
    for (int n = 0; n < kRounds; ++n) {
      slots[first].ring_bell();
      slots[first ^ 1].touch();
      slots[first].touch();
    }
  };
  std::thread other([&] { drive(2); });
  drive(0);
  other.join();
  for (const std::size_t first : {0u, 2u}) {
    EXPECT_EQ(results[first], Faults(kRounds, DmaFault::kNone));
    EXPECT_EQ(results[first ^ 1], Faults(kRounds, DmaFault::kReentrant));
  }
}

}  // namespace
}  // namespace vm_device
