// A driver with a second vCPU that changes rings, descriptors, headers and mappings while the
// device is at work on them. Whatever the device sees, it ends, it stays within RAM, and
// after a reset it serves the next good request.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/vm_device/hostile_machine.h"

namespace vm_device {
namespace {

class HostileRaceTest : public testing::TestWithParam<HostileSetting> {
 protected:
  HostileRaceTest() : machine(GetParam().form, GetParam().place) {}

  // `change(random)` again and again in another thread, while this one asks for requests.
  template <typename Change>
  void race(Change change) {
    std::atomic<bool> stop{false};
    std::atomic<int> changes{0};
    std::thread other([&] {
      for (std::uint64_t seed = 1; !stop.load(std::memory_order_relaxed);) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        change(seed >> 16);
        changes.fetch_add(1, std::memory_order_relaxed);
      }
    });
    for (int round = 0; round < kRounds || changes.load() < kRounds; ++round) {
      if (round % 4 == 0 || machine.blk.needs_reset()) machine.start();
      machine.offer_read(BlkMachine::header(), BlkMachine::data(4096, kWrite),
                         BlkMachine::status());
      machine.kick();
    }
    stop = true;
    other.join();
    EXPECT_TRUE(machine.guards_stand());
    EXPECT_EQ(machine.leases(), 0u);
    EXPECT_TRUE(machine.serves_after_reset());
  }

  static constexpr int kRounds = 400;

  HostileMachine machine;
};

TEST_P(HostileRaceTest, WordsThatChangeUnderTheDeviceBreakNoMoreThanTheQueue) {
  vm_mem::MemoryManager& memory = *machine.guest().memory;
  race([&memory](std::uint64_t random) {
    // The table, the rings, and the header.
    constexpr std::uint64_t kPlaces[] = {BlkMachine::kRing, BlkMachine::kRing + 0x4000,
                                         BlkMachine::kRing + 0x6000, BlkMachine::kHeader};
    const vm_mem::GuestAddress at{kPlaces[random % 4] + 8 * (random / 4 % 16)};
    const std::uint64_t values[] = {random, random % 64, random << 48, kRamEnd - random % 4096};
    EXPECT_TRUE(memory.store(at, values[random / 64 % 4]).ok());
  });
}

class MappingRaceTest : public HostileRaceTest {};

TEST_P(MappingRaceTest, MappingsThatComeAndGoUnderTheDeviceBreakNoMoreThanTheQueue) {
  race([this](std::uint64_t random) {
    constexpr std::uint64_t kPages[] = {BlkMachine::kRing, BlkMachine::kHeader, BlkMachine::kStatus,
                                        BlkMachine::kData};
    const std::uint64_t page = kPages[random % 4];
    machine.unmap(page, 4096);
    machine.map(page, 4096, DmaAccess::kReadWrite);
  });
}

INSTANTIATE_TEST_SUITE_P(PerSetting, HostileRaceTest, testing::ValuesIn(kHostileSettings),
                         hostile_setting_name);

INSTANTIATE_TEST_SUITE_P(PerSetting, MappingRaceTest,
                         testing::Values(kHostileSettings[2], kHostileSettings[3]),
                         hostile_setting_name);

}  // namespace
}  // namespace vm_device
