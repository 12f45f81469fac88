#include "vm_device/vhost_user.h"

#include <gtest/gtest.h>

#include <dirent.h>
#include <fcntl.h>

#include <fstream>
#include <string>

#include "tests/support/temporary_file.h"
#include "tests/vm_device/vhost_user_front_end.h"
#include "vm_device/raw_image.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kPlain = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush;

class VhostUserFormTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  std::uint64_t features() const { return kPlain | GetParam(); }
};

TEST_P(VhostUserFormTest, ReadsAndWritesAreThoseOfTheDisk) {
  VhostDisk disk;
  disk.start(features());
  ASSERT_EQ(disk.request(kIn, 3, 1024), kOk);
  const std::span content(disk.image.content);
  EXPECT_EQ(std::memcmp(disk.guest.bytes(VhostDisk::kData, 1024).data(), &content[3 * 512], 1024),
            0);
  disk.guest.put(VhostDisk::kData, std::uint64_t{0x1122'3344'5566'7788});
  ASSERT_EQ(disk.request(kOut, 9, 512), kOk);
  disk.join();
  std::uint64_t written = 0;
  std::memcpy(&written, &content[9 * 512], sizeof written);
  EXPECT_EQ(written, 0x1122'3344'5566'7788u);
}

TEST_P(VhostUserFormTest, AStoppedRingGoesOnWhereItSaysThatItStands) {
  VhostDisk disk;
  disk.start(features());
  for (std::uint64_t round = 0; round < 5; ++round) {
    for (int i = 0; i < 7; ++i) ASSERT_EQ(disk.request(kIn, 1, 512), kOk) << round;
    const auto base = disk.stop_ring(0);
    ASSERT_TRUE(base);
    ASSERT_TRUE(disk.ask(Request::kSetVringBase, {pair_of(0, *base)}));
    ASSERT_TRUE(disk.start_ring(0, disk.driver->config()));
  }
}

// Also where a packed ring is at 0 of its second lap, which User-mode Linux says of the first: with
// a request there already, after a chain that went on there.
TEST_P(VhostUserFormTest, ARingGoesOnWhereverItHasStopped) {
  VhostDisk disk;
  disk.start(features());
  for (int i = 0; i < 40; ++i) {
    const auto base = disk.stop_ring(0);
    ASSERT_TRUE(base);
    ASSERT_TRUE(disk.ask(Request::kSetVringBase, {pair_of(0, *base)}));
    disk.driver->want_interrupt();
    disk.offer(kIn, 1, 512);
    ASSERT_TRUE(disk.start_ring(0, disk.driver->config()));
    ASSERT_EQ(disk.wait_for_answer(), kOk) << i;
  }
}

TEST_P(VhostUserFormTest, ABackEndThatTakesOverGoesOnFromTheState) {
  VhostDisk disk;
  disk.start(features());
  for (int i = 0; i < 9; ++i) ASSERT_EQ(disk.request(kIn, 1, 512), kOk);
  const auto base = disk.stop_ring(0);
  ASSERT_TRUE(base);
  disk.disconnect();
  EXPECT_TRUE(disk.result.ok()) << disk.result;
  disk.connect();
  disk.negotiate(features());
  ASSERT_TRUE(disk.share_memory());
  ASSERT_TRUE(disk.ask(Request::kSetVringBase, {pair_of(0, *base)}));
  ASSERT_TRUE(disk.start_ring(0, disk.driver->config()));
  for (int i = 0; i < 9; ++i) ASSERT_EQ(disk.request(kOut, 1, 512), kOk);
}

TEST_P(VhostUserFormTest, AKickBeforeTheRingIsEnabledIsNotLost) {
  VhostDisk disk;
  disk.negotiate(features());
  ASSERT_TRUE(disk.share_memory());
  disk.driver.emplace(disk.guest, VhostDisk::kRing, VhostDisk::kSize, features());
  disk.driver->want_interrupt();
  disk.offer(kIn, 2, 512);
  ASSERT_TRUE(disk.place_ring(0, disk.driver->config()));
  ASSERT_TRUE(disk.ask(Request::kSetVringCall, {0}, {disk.call}));
  ASSERT_TRUE(disk.ask(Request::kSetVringKick, {0}, {disk.kick}));
  disk.kick_ring();
  for (int i = 0; i < 3; ++i) disk.join();
  EXPECT_FALSE(disk.driver->has_used());
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 1)}));
  EXPECT_EQ(disk.wait_for_answer(), kOk);
}

TEST_P(VhostUserFormTest, ADisabledRingIsLeftAloneUntilItIsEnabledAgain) {
  VhostDisk disk;
  disk.start(features());
  ASSERT_EQ(disk.request(kIn, 2, 512), kOk);
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 0)}));
  disk.driver->want_interrupt();
  disk.offer(kIn, 2, 512);
  disk.kick_ring();
  for (int i = 0; i < 3; ++i) disk.join();
  EXPECT_FALSE(disk.driver->has_used());
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 1)}));
  EXPECT_EQ(disk.wait_for_answer(), kOk);
}

// Also at the end of a lap, where a packed ring's position is 0.
TEST_P(VhostUserFormTest, WhatComesWhileARingIsDisabledIsServedAfterwards) {
  VhostDisk disk;
  disk.start(features());
  for (int i = 0; i < 40; ++i) {
    disk.driver->want_interrupt();
    ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 0)}));
    disk.offer_status_alone();
    ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 1)}));
    EXPECT_TRUE(disk.driver->has_used()) << i;
    ASSERT_EQ(disk.wait_for_answer(), kIoErr) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, VhostUserFormTest,
                         testing::Values(0, kFeatureRingEventIdx, kFeatureRingPacked,
                                         kFeatureRingPacked | kFeatureRingEventIdx));

// User-mode Linux says 0, which is the beginning of the second lap.
TEST(VhostUserTest, ANewPackedRingBeginsAtItsBeginningWhateverIsSaid) {
  constexpr std::uint64_t kFeatures = kPlain | kFeatureRingPacked;
  VhostDisk disk;
  disk.negotiate(kFeatures);
  ASSERT_TRUE(disk.share_memory());
  disk.driver.emplace(disk.guest, VhostDisk::kRing, VhostDisk::kSize, kFeatures);
  ASSERT_TRUE(disk.ask(Request::kSetVringBase, {pair_of(0, 0)}));
  ASSERT_TRUE(disk.start_ring(0, disk.driver->config()));
  EXPECT_EQ(disk.request(kIn, 0, 512), kOk);
}

TEST(VhostUserTest, ARingNeedsNoCallDescriptor) {
  VhostDisk disk;
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kSetVringCall, {internal::kVringNoFd}));
  disk.offer(kIn, 2, 512);
  disk.kick_ring();
  while (!disk.driver->has_used()) disk.join();
  EXPECT_EQ(disk.wait_for_answer(), kOk);
}

// A driver that may be owed an interrupt gets one: by a descriptor that comes late, and by a ring
// that starts.
TEST(VhostUserTest, ACallDescriptorIsCalledAtOnce) {
  VhostDisk disk;
  disk.start();
  EXPECT_EQ(take_event(disk.call), 1u);
  ASSERT_TRUE(disk.ask(Request::kSetVringCall, {internal::kVringNoFd}));
  disk.driver->want_interrupt();
  disk.offer(kIn, 2, 512);
  disk.kick_ring();
  while (!disk.driver->has_used()) disk.join();
  EXPECT_EQ(take_event(disk.call), 0u);
  ASSERT_TRUE(disk.ask(Request::kSetVringCall, {0}, {disk.call}));
  EXPECT_EQ(take_event(disk.call), 1u);
}

TEST(VhostUserTest, APipeThatNobodyReadsHarmsNobody) {
  VhostDisk disk;
  disk.start();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  ::close(ends[0]);
  ASSERT_TRUE(disk.ask(Request::kSetVringCall, {0}, {ends[1]}));
  ::close(ends[1]);
  disk.driver->want_interrupt();
  disk.offer(kIn, 2, 512);
  disk.kick_ring();
  while (!disk.driver->has_used()) disk.join();
}

TEST(VhostUserTest, ARingWithoutAKickIsPolled) {
  VhostDisk disk;
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kSetVringKick, {internal::kVringNoFd}));
  disk.driver->want_interrupt();
  disk.offer(kIn, 2, 512);
  EXPECT_EQ(disk.wait_for_answer(), kOk);
}

TEST(VhostUserTest, PollingFindsWhatNoKickTellsOf) {
  VhostDisk disk({.poll = std::chrono::seconds(10)});
  disk.start();
  ASSERT_EQ(disk.request(kIn, 2, 512), kOk);
  disk.driver->want_interrupt();
  disk.offer(kIn, 3, 512);
  EXPECT_EQ(disk.wait_for_answer(), kOk);
}

TEST(VhostUserTest, EachRingHasItsOwnRequests) {
  VhostDisk disk({}, {.num_queues = 2});
  disk.start();
  EXPECT_EQ(disk.get_word(Request::kGetQueueNum), 2u);
  ASSERT_EQ(disk.request(kIn, 2, 512), kOk);
  RingDriver second(disk.guest, kRamBase + 0x4'0000, VhostDisk::kSize, kPlain);
  const int call = make_event();
  ASSERT_TRUE(disk.place_ring(1, second.config()));
  ASSERT_TRUE(disk.ask(Request::kSetVringCall, {1}, {call}));
  ASSERT_TRUE(disk.ask(Request::kSetVringKick, {1}, {disk.kick}));
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(1, 1)}));
  second.want_interrupt();
  second.offer({{VhostDisk::kHeader, 16, 0, 0},
                {VhostDisk::kData, 512, kWrite, 0},
                {VhostDisk::kStatus, 1, kWrite, 0}});
  disk.kick_ring();
  while (!second.has_used()) {
    ASSERT_TRUE(wait_for(call));
    take_event(call);
  }
  EXPECT_TRUE(second.take_used());
  ::close(call);
}

TEST(VhostUserTest, TheConfigurationIsReadAndWritten) {
  VhostDisk disk;
  disk.start(kPlain | kFeatureConfigWce);
  std::vector<std::byte> asked(12 + 8);
  const std::uint32_t eight = 8;
  std::memcpy(&asked[4], &eight, sizeof eight);
  const auto answer = disk.get(Request::kGetConfig, asked);
  ASSERT_TRUE(answer && answer->size() == asked.size());
  EXPECT_EQ(std::to_integer<int>((*answer)[12]), 64);  // sectors
  std::vector<std::byte> write_through(12 + 1);
  const std::uint32_t at[] = {32, 1};  // the cache, one byte
  std::memcpy(write_through.data(), at, sizeof at);
  EXPECT_TRUE(disk.ask(Request::kSetConfig, write_through));
  disk.join();
  const int before = disk.image.flushes;
  disk.join();
  ASSERT_EQ(disk.request(kOut, 1, 512), kOk);
  disk.join();
  EXPECT_EQ(disk.image.flushes, before + 1);
}

TEST(VhostUserTest, TheFrontEndIsToldOfAChangeOfTheConfiguration) {
  VhostDisk disk;
  disk.start();
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  ASSERT_TRUE(disk.ask(Request::kSetBackendReqFd, {}, {ends[1]}));
  ::close(ends[1]);
  disk.image.resize(64);
  VhostSocket channel(ends[0]);
  const auto told = channel.receive(2);
  EXPECT_TRUE(told && told->empty());
}

// QEMU resets the status before it stops the rings and asks where they stand.
TEST(VhostUserTest, AStatusOfZeroLosesNoRing) {
  VhostDisk disk;
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kSetStatus, {15}));
  EXPECT_EQ(disk.get_word(Request::kGetStatus), 15u);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(disk.request(kIn, 2, 512), kOk);
  ASSERT_TRUE(disk.ask(Request::kSetStatus, {0}));
  EXPECT_EQ(disk.get_word(Request::kGetStatus), 0u);
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 0)}));
  EXPECT_EQ(disk.stop_ring(0), 3u);
}

TEST(VhostUserTest, AResetOfTheDeviceStopsItsRings) {
  VhostDisk disk;
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kSetStatus, {15}));
  ASSERT_TRUE(disk.ask(Request::kResetDevice, {}));
  EXPECT_EQ(disk.get_word(Request::kGetStatus), 0u);
  disk.offer(kIn, 2, 512);
  disk.kick_ring();
  for (int i = 0; i < 3; ++i) disk.join();
  EXPECT_FALSE(disk.driver->has_used());
}

TEST(VhostUserTest, ABadRequestStopsItsRingAloneAndAResetRevivesIt) {
  VhostDisk disk({}, {.num_queues = 2});
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kSetStatus, {15}));
  disk.offer(kIn, 2, 512);
  disk.guest.put(VhostDisk::kRing + 14, std::uint16_t{0});  // the chain's own head is next
  disk.kick_ring();
  EXPECT_TRUE(wait_for(disk.error));
  take_event(disk.error);
  EXPECT_EQ(disk.get_word(Request::kGetStatus), 15u | 64u);
  EXPECT_EQ(disk.backend->statistics().queue_errors, 1u);
  ASSERT_TRUE(disk.stop_ring(0));
  disk.driver->clear();
  ASSERT_TRUE(disk.start_ring(0, disk.driver->config()));
  EXPECT_EQ(disk.request(kIn, 2, 512), kOk);
  EXPECT_EQ(disk.get_word(Request::kGetStatus), 15u);
}

TEST(VhostUserTest, AResetKeepsTheErrorDescriptorAndTheStatusIsTheDrivers) {
  VhostDisk disk;
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kResetDevice, {}));
  disk.driver->clear();
  ASSERT_TRUE(disk.ask(Request::kSetFeatures, {kPlain | internal::kVhostFeatureProtocol}));
  ASSERT_TRUE(disk.place_ring(0, disk.driver->config()));
  ASSERT_TRUE(disk.ask(Request::kSetVringKick, {0}, {disk.kick}));
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(0, 1)}));
  disk.offer(kIn, 2, 512);
  disk.guest.put(VhostDisk::kRing + 14, std::uint16_t{0});
  disk.kick_ring();
  EXPECT_TRUE(wait_for(disk.error));
  ASSERT_TRUE(disk.stop_ring(0));
  ASSERT_TRUE(disk.ask(Request::kSetStatus, {15 | 64}));
  EXPECT_EQ(disk.get_word(Request::kGetStatus), 15u);
}

// Nothing of it is to be found until the front end stops the ring.
TEST(VhostUserTest, APolledRingInErrorIsNotLookedAt) {
  VhostDisk disk;
  disk.start();
  ASSERT_TRUE(disk.ask(Request::kSetVringKick, {internal::kVringNoFd}));
  disk.offer(kIn, 2, 512);
  disk.guest.put(VhostDisk::kRing + 14, std::uint16_t{0});
  disk.guest.put(disk.driver->driver_area() + 2, std::uint16_t{9});  // and more of them
  EXPECT_TRUE(wait_for(disk.error));
  disk.join();
  const auto before = disk.backend->statistics().notifications;
  for (int i = 0; i < 50; ++i) disk.join();
  EXPECT_EQ(disk.backend->statistics().notifications, before);
}

TEST(VhostUserTest, BitsOfOldDriversMeanNothing) {
  VhostDisk disk;
  disk.negotiate(kPlain);
  ASSERT_TRUE(disk.ask(Request::kSetFeatures,
                       {kPlain | internal::kVhostFeatureProtocol | 1 << 24 | 1 << 27}));
  ASSERT_TRUE(disk.share_memory());
  disk.driver.emplace(disk.guest, VhostDisk::kRing, VhostDisk::kSize, kPlain);
  ASSERT_TRUE(disk.start_ring(0, disk.driver->config()));
  EXPECT_EQ(disk.request(kIn, 2, 512), kOk);
}

// Many requests at a time, by a file: what was taken is complete when the ring has stopped.
TEST(VhostUserTest, StoppingWaitsForRequestsUnderWay) {
  vm_test::TemporaryFile file("image");
  ASSERT_EQ(::truncate(file.path().c_str(), 8 << 20), 0);
  auto image = RawImage::open(file.path(), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok()) << image.status();
  VhostFrontEnd front(
      VirtioBlk::create(*std::move(image), {.service = BlkService::kBeside}).value());
  front.negotiate(kPlain);
  ASSERT_TRUE(front.share_memory());
  RingDriver driver(front.guest, VhostDisk::kRing, VhostFrontEnd::kSize, kPlain);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(front.start_ring(0, driver.config()));
    for (std::uint64_t i = 0; i < 5; ++i) {
      const std::uint64_t header = VhostDisk::kHeader + 64 * i;
      front.guest.put(header, i % 2 == 0 ? kOut : kIn);
      front.guest.put(header + 8, 16 * i);
      driver.offer({{header, 16, 0, 0},
                    {VhostDisk::kData + 0x1'0000 * i, 0x1'0000,
                     static_cast<std::uint16_t>(i % 2 == 0 ? 0 : kWrite), 0},
                    {header + 32, 1, kWrite, 0}});
    }
    const auto before = front.backend->statistics().notifications;
    front.kick_ring();
    while (front.backend->statistics().notifications == before) front.join();
    const auto base = front.stop_ring(0);
    ASSERT_TRUE(base);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(driver.take_used()) << round;
    EXPECT_EQ(*base, 5u * static_cast<unsigned>(round + 1));
    ASSERT_TRUE(front.ask(Request::kSetVringBase, {pair_of(0, *base)}));
  }
}

TEST(VhostUserTest, FeaturesStayWhileARingRuns) {
  VhostDisk disk;
  disk.start();
  EXPECT_FALSE(
      disk.ask(Request::kSetFeatures, {kFeatureVersion1 | internal::kVhostFeatureProtocol}));
  EXPECT_FALSE(disk.ask(Request::kSetVringNum, {pair_of(0, 8)}));
  EXPECT_FALSE(disk.ask(Request::kSetVringBase, {pair_of(0, 3)}));
  EXPECT_EQ(disk.request(kIn, 2, 512), kOk);
}

TEST(VhostUserTest, StopCompletesAndEndsTheConnection) {
  VhostDisk disk;
  disk.start();
  ASSERT_EQ(disk.request(kOut, 2, 512), kOk);
  disk.backend->stop();
  disk.wait();
  EXPECT_TRUE(absl::IsCancelled(disk.result)) << disk.result;
}

std::size_t entries(const char* folder) {
  DIR* const open = ::opendir(folder);
  std::size_t count = 0;
  while (::readdir(open) != nullptr) ++count;
  ::closedir(open);
  return count;
}

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("memfd") != line.npos;
  return count;
}

TEST(VhostUserTest, AThousandConnectionsLeaveNothingBehind) {
  VhostDisk disk;
  disk.start();
  disk.disconnect();
  EXPECT_TRUE(disk.result.ok()) << disk.result;
  const auto fds = entries("/proc/self/fd");
  const auto threads = entries("/proc/self/task");
  const auto mapped = mappings();
  for (int i = 0; i < 1000; ++i) {
    disk.connect();
    if (i % 50 == 0) disk.start();
    disk.disconnect();
  }
  EXPECT_EQ(entries("/proc/self/fd"), fds);
  EXPECT_EQ(entries("/proc/self/task"), threads);
  EXPECT_EQ(mappings(), mapped);
  EXPECT_EQ(disk.backend->statistics().connections, 1001u);
}

TEST(VhostUserTest, NeedsADevice) {
  EXPECT_EQ(VhostUserBackend::create(nullptr).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vm_device
