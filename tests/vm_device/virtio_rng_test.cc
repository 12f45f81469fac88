#include "vm_device/virtio_rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/vm_device/virtio_machine.h"

namespace vm_device {
namespace {

using Machine = VirtioMachine<VirtioRng>;
constexpr std::uint64_t kData = Machine::kData;

// 1, 2, 3, ... as far as the test has allowed it.
class CountingSource final : public EntropySource {
 public:
  std::size_t take(std::span<std::byte> to) override {
    const std::size_t count = std::min(to.size(), left);
    for (std::byte& it : to.first(count)) it = static_cast<std::byte>(++given);
    left -= count;
    return count;
  }
  std::size_t left = SIZE_MAX;
  std::size_t given = 0;
};

class VirtioRngTest : public testing::Test {
 protected:
  VirtioRngTest() { machine.start(); }
  static RawDescriptor room(std::uint32_t bytes) { return {kData, bytes, kWrite, 0}; }

  CountingSource* source = new CountingSource;  // owned by machine
  Machine machine{std::make_unique<VirtioRng>(std::unique_ptr<EntropySource>(source))};
};

TEST_F(VirtioRngTest, FillsTheWholeBuffer) {
  machine.request(0, {room(1000)});
  EXPECT_EQ(machine.written(0), 1000u);
  const auto got = machine.guest.bytes(kData, 1001);
  EXPECT_EQ(got[1000], std::byte{0});
  EXPECT_EQ(machine.line.rises(), 1);
  // Every byte of the source's is given once, or kept for the next request.
  machine.request(0, {room(1000)});
  auto both = machine.guest.bytes(kData, 1000);
  both.insert(both.end(), got.begin(), got.begin() + 1000);
  const std::set<std::byte> kinds(both.begin(), both.end());
  EXPECT_EQ(kinds.size(), 256u);
  EXPECT_LT(source->given, 2000u + 256);
}

TEST_F(VirtioRngTest, ARequestInPiecesIsFilledInOrder) {
  machine.request(0,
                  {{kData, 3, kWrite, 0}, {kData + 100, 0, kWrite, 0}, {kData + 8, 5, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 8u);
  EXPECT_NE(machine.guest.get<std::uint8_t>(kData + 12), 0);
  EXPECT_EQ(machine.guest.get<std::uint8_t>(kData + 3), 0);
}

TEST_F(VirtioRngTest, ARequestOfGigabytesIsGivenAPart) {
  machine.request(0, {{kRamBase + 0x8'0000, UINT32_MAX, kWrite, 0}});
  EXPECT_EQ(machine.written(0), VirtioRng::kMaxRequestBytes);
  EXPECT_LE(source->given, VirtioRng::kMaxRequestBytes + 256);
}

TEST_F(VirtioRngTest, RequestsWithoutRoomAreGivenBack) {
  machine.request(0, {room(0)});
  EXPECT_EQ(machine.written(0), 0u);
  machine.request(0, {{kData, 16, 0, 0}});
  EXPECT_EQ(machine.used(0), 2);
  EXPECT_EQ(machine.written(0), 0u);
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(VirtioRngTest, BuffersOutsideOfRamGetWhatLiesBeforeThem) {
  machine.request(0, {{Machine::kHole, 16, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 0u);
  machine.request(0, {{kRamEnd - 10, 20, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 10u);
  machine.request(0, {room(16)});
  EXPECT_EQ(machine.written(0), 16u);
}

TEST_F(VirtioRngTest, RequestsWaitForASourceThatIsDry) {
  source->left = 0;
  machine.request(0, {room(16)});
  EXPECT_EQ(machine.used(0), 0);
  EXPECT_TRUE(machine.device->is_waiting());
  EXPECT_EQ(machine.line.rises(), 0);
  source->left = 4;
  machine.device->more_entropy();
  EXPECT_EQ(machine.written(0), 4u);
  EXPECT_EQ(machine.line.rises(), 1);
}

TEST_F(VirtioRngTest, AResetForgetsRequestsThatWait) {
  source->left = 0;
  machine.request(0, {room(16)});
  machine.start();
  source->left = SIZE_MAX;
  machine.device->more_entropy();
  EXPECT_EQ(machine.used(0), 0);
  machine.request(0, {room(16)});
  EXPECT_EQ(machine.written(0), 16u);
}

TEST_F(VirtioRngTest, AMalformedRingStopsTheQueueUntilReset) {
  machine.rings[0].offer(99);
  machine.kick(0);
  EXPECT_TRUE(machine.needs_reset());
  machine.start();
  machine.request(0, {room(16)});
  EXPECT_EQ(machine.written(0), 16u);
}

TEST_F(VirtioRngTest, ADriverThatAsksForeverIsServedInTurns) {
  machine.rings[0].describe(0, {kData, VirtioRng::kMaxRequestBytes, kWrite, 0});
  for (int i = 0; i < 16; ++i) machine.rings[0].offer(0);
  machine.kick(0);
  EXPECT_EQ(machine.used(0), 16);
  for (int i = 0; i < 16; ++i) machine.rings[0].offer(0);
  machine.kick(0);
  EXPECT_EQ(machine.used(0), 32);
  EXPECT_GE(source->given, 32 * VirtioRng::kMaxRequestBytes);
}

TEST_F(VirtioRngTest, HasNoConfigurationAndNoFeatures) {
  EXPECT_EQ(machine.config<std::uint64_t>(0), 0u);
  EXPECT_EQ(machine.reg(0x08), 4u);
  EXPECT_EQ(machine.device->device_features(), 0u);
}

TEST(HostEntropyTest, TheHostsBytesDiffer) {
  std::array<std::byte, 64> a{};
  std::array<std::byte, 64> b{};
  HostEntropy source;
  if (source.take(a) != a.size()) GTEST_SKIP() << "the host's generator is not seeded";
  EXPECT_EQ(source.take(b), b.size());
  EXPECT_NE(a, b);
}

TEST(HostEntropyTest, IsTheDefault) {
  Machine machine(std::make_unique<VirtioRng>());
  machine.start();
  machine.request(0, {{kData, 64, kWrite, 0}});
  if (machine.device->is_waiting()) GTEST_SKIP() << "the host's generator is not seeded";
  EXPECT_EQ(machine.written(0), 64u);
  EXPECT_NE(machine.guest.bytes(kData, 64), std::vector<std::byte>(64));
}

class RateLimitedEntropyTest : public testing::Test {
 protected:
  std::size_t take(std::size_t bytes) {
    std::vector<std::byte> to(bytes);
    return limited.take(to);
  }
  RateLimitedEntropy::Clock::time_point now;
  RateLimitedEntropy limited{std::make_unique<CountingSource>(), 1000, [this] { return now; }};
};

TEST_F(RateLimitedEntropyTest, ASecondsWorthCanBeTakenAtOnce) {
  EXPECT_EQ(take(600), 600u);
  EXPECT_EQ(take(600), 400u);
  EXPECT_EQ(take(600), 0u);
}

TEST_F(RateLimitedEntropyTest, TimeBringsItBackByteByByte) {
  take(1000);
  for (int i = 0; i < 25; ++i) {
    now += std::chrono::microseconds(100);
    EXPECT_EQ(take(600), i % 10 == 9 ? 1u : 0u) << i;
  }
  now += std::chrono::microseconds(500);
  EXPECT_EQ(take(600), 1u);
}

TEST_F(RateLimitedEntropyTest, WhatIsNotTakenAddsUpToOneSecond) {
  now += std::chrono::hours(24);
  EXPECT_EQ(take(5000), 1000u);
  now -= std::chrono::hours(1);
  EXPECT_EQ(take(5000), 0u);
}

TEST_F(RateLimitedEntropyTest, ARateOfZeroGivesNothing) {
  RateLimitedEntropy none(std::make_unique<CountingSource>(), 0, [this] { return now; });
  now += std::chrono::hours(1);
  std::array<std::byte, 8> to{};
  EXPECT_EQ(none.take(to), 0u);
}

}  // namespace
}  // namespace vm_device
