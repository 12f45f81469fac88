// Drivers whose addresses the front end translates: what is asked for, and what waits for it.

#include <gtest/gtest.h>

#include "tests/vm_device/vhost_user_translator.h"
#include "vm_device/internal/owned_fd.h"

namespace vm_device {
namespace {

using Pages = std::map<std::uint64_t, std::uint64_t>;

constexpr std::uint64_t kFeatures = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush;
constexpr std::uint64_t kPage = Translator::kPage;
constexpr std::uint64_t kRead = Translator::kRead;
constexpr std::uint64_t kWritten = Translator::kWrite;
constexpr std::uint64_t kBoth = Translator::kBoth;
constexpr std::uint64_t kData = VhostDisk::kData;
constexpr std::uint64_t kHeader = VhostDisk::kHeader;
constexpr std::uint64_t kStatus = VhostDisk::kStatus;
constexpr std::uint64_t kRing = VhostDisk::kRing;
constexpr std::uint64_t kDriver = kRing + 0x4000;
constexpr std::uint64_t kDevice = kRing + 0x6000;
const Pages kRequest{{kHeader, kRead}, {kStatus, kWritten}, {kData, kWritten}};

class VhostUserIotlbFormTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  VhostUserIotlbFormTest() { disk_.start(kFeatures | GetParam()); }
  bool is_packed() const { return (GetParam() & kFeatureRingPacked) != 0; }
  void offer_bytes(std::uint32_t bytes) {
    constexpr std::uint64_t kFar = std::uint64_t{1} << 40;
    disk_.driver->offer(
        {{kHeader, 16, 0, 0}, {kFar, bytes - 17, kWrite, 0}, {kStatus, 1, kWrite, 0}});
    disk_.kick_ring();
  }

  TranslatedDisk disk_;
};

TEST_P(VhostUserIotlbFormTest, ARingWaitsForItsAddressesAndARequestForIts) {
  const Pages ring = disk_.bus.misses();
  const Pages wanted = is_packed() ? Pages{{kRing, kBoth}, {kDriver, kRead}, {kDevice, kWritten}}
                                   : Pages{{kRing, kRead}, {kDriver, kRead}, {kDevice, kBoth}};
  EXPECT_EQ(ring, wanted);
  disk_.offer_and_kick();
  EXPECT_TRUE(disk_.bus.map(kRing));
  EXPECT_TRUE(disk_.bus.map(kDriver));
  EXPECT_EQ(disk_.bus.misses(), Pages{});
  EXPECT_TRUE(disk_.bus.map(kDevice));
  EXPECT_EQ(disk_.bus.misses(), kRequest);
  EXPECT_TRUE(disk_.bus.map(kHeader));
  EXPECT_TRUE(disk_.bus.map(kStatus));
  EXPECT_FALSE(disk_.is_answered());
  EXPECT_TRUE(disk_.bus.map(kData));
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_TRUE(disk_.has_sector(kData, 1));
  const VhostUserStatistics seen = disk_.backend->statistics();
  EXPECT_EQ(seen.iotlb_misses, 6u);
  EXPECT_EQ(seen.iotlb_updates, 6u);
  EXPECT_EQ(seen.queue_errors, 0u);
}

TEST_P(VhostUserIotlbFormTest, AnIndirectTableIsAskedForBeforeItsBuffers) {
  disk_.bus.answer();
  disk_.guest.put(kHeader, kIn);
  disk_.guest.put(kHeader + 8, std::uint64_t{3});
  disk_.driver->want_interrupt();
  disk_.driver->offer({{kHeader, 16, 0, 0}, {kData, 512, kWrite, 0}, {kStatus, 1, kWrite, 0}},
                      Layout::kInTable);
  disk_.kick_ring();
  const Pages table = disk_.bus.misses();
  ASSERT_EQ(table.size(), 1u);
  EXPECT_EQ(table.begin()->first, kRing + RingDriver::kTables);
  EXPECT_EQ(table.begin()->second, kRead);
  ASSERT_TRUE(disk_.bus.map(table.begin()->first));
  EXPECT_EQ(disk_.bus.misses(), kRequest);
  for (const auto& [page, access] : kRequest) ASSERT_TRUE(disk_.bus.map(page));
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_TRUE(disk_.has_sector(kData, 3));
}

TEST_P(VhostUserIotlbFormTest, WhatIsAskedForIsAskedForOnceHoweverOftenTheRingIsKicked) {
  disk_.bus.answer();
  disk_.offer_and_kick();
  EXPECT_EQ(disk_.bus.misses(), kRequest);
  for (int i = 0; i < 20; ++i) {
    disk_.kick_ring();
    disk_.join();
  }
  EXPECT_EQ(disk_.bus.misses(), Pages{});
  EXPECT_FALSE(disk_.driver->has_used());
}

// Waiting for nothing but messages.
TEST_P(VhostUserIotlbFormTest, ARequestThatWaitsKeepsNobodyBusy) {
  disk_.bus.answer();
  disk_.offer_and_kick();
  EXPECT_EQ(disk_.bus.misses(), kRequest);
  disk_.bus.settle();
  const auto before = disk_.backend->statistics().notifications;
  disk_.bus.settle();
  EXPECT_EQ(disk_.backend->statistics().notifications, before);
}

TEST_P(VhostUserIotlbFormTest, ARequestThatWaitsIsNotTaken) {
  disk_.bus.answer();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(disk_.translated_request(), kOk);
  ASSERT_TRUE(disk_.bus.unmap(kData));
  disk_.offer_and_kick();
  EXPECT_EQ(disk_.bus.misses(), (Pages{{kData, kWritten}}));
  const auto base = disk_.stop_ring(0);
  ASSERT_TRUE(base);
  EXPECT_EQ(*base & 0xff, is_packed() ? 9u : 3u);
  ASSERT_TRUE(disk_.ask(Request::kSetVringBase, {pair_of(0, *base)}));
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  disk_.bus.answer();
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_EQ(disk_.translated_request(), kOk);
}

// The journal of requests under way has those that were taken, for the next back end.
TEST_P(VhostUserIotlbFormTest, ABackEndThatEndsLeavesARequestThatWaitsToTheNext) {
  const auto shape = bytes_of({0, 0, 1 | std::uint64_t{VhostDisk::kSize} << 16});
  const auto described = disk_.get(Request::kGetInflightFd, shape);
  ASSERT_TRUE(described);
  const std::uint64_t bytes = VhostDisk::word(*described);
  const internal::OwnedFd journal(::memfd_create("journal", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(journal.get(), static_cast<off_t>(bytes)), 0);
  const auto use_journal = [&] {
    return disk_.ask(Request::kSetInflightFd, {bytes, 0, 1 | std::uint64_t{VhostDisk::kSize} << 16},
                     {journal.get()});
  };
  ASSERT_TRUE(use_journal());
  for (int i = 0; i < 3; ++i) ASSERT_EQ(disk_.translated_request(), kOk);
  ASSERT_TRUE(disk_.bus.unmap(kData));
  disk_.offer_and_kick(2);
  EXPECT_EQ(disk_.bus.misses(), (Pages{{kData, kWritten}}));
  disk_.disconnect();
  disk_.connect();
  disk_.bus.start(kFeatures | GetParam());
  ASSERT_TRUE(use_journal());
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  disk_.bus.answer();
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_TRUE(disk_.has_sector(kData, 2));
  for (int i = 0; i < 9; ++i) ASSERT_EQ(disk_.translated_request(3), kOk);
  EXPECT_EQ(disk_.driver->outstanding(), 0u);
  EXPECT_EQ(disk_.backend->statistics().queue_errors, 0u);
}

TEST_P(VhostUserIotlbFormTest, APageThatIsTakenAwayIsAskedForAgain) {
  ASSERT_EQ(disk_.translated_request(1), kOk);
  ASSERT_TRUE(disk_.bus.unmap(kData));
  disk_.offer_and_kick(2);
  EXPECT_EQ(disk_.bus.misses(), (Pages{{kData, kWritten}}));
  constexpr std::uint64_t kElsewhere = kData + 8 * kPage;
  ASSERT_TRUE(disk_.bus.send(Translator::kUpdate, kData, kPage, VhostDisk::user(kElsewhere), 3));
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_TRUE(disk_.has_sector(kData, 1));
  EXPECT_TRUE(disk_.has_sector(kElsewhere, 2));
}

TEST_P(VhostUserIotlbFormTest, ARingWhoseAddressesAreTakenAwayWaitsForThem) {
  for (const std::uint64_t part : {kRing, kDriver, kDevice}) {
    ASSERT_EQ(disk_.translated_request(), kOk);
    ASSERT_TRUE(disk_.bus.unmap(part + 0x10, 0x20));
    const Pages asked = disk_.bus.misses();
    ASSERT_EQ(asked.size(), 1u);
    EXPECT_EQ(asked.begin()->first, part);
    disk_.offer_and_kick();
    EXPECT_FALSE(disk_.is_answered());
    ASSERT_TRUE(disk_.bus.map(part));
    EXPECT_EQ(disk_.wait_for_answer(), kOk);
  }
  EXPECT_EQ(disk_.backend->statistics().queue_errors, 0u);
}

TEST_P(VhostUserIotlbFormTest, ARequestOf64MiBIsWaitedFor) {
  disk_.bus.answer();
  offer_bytes(64 << 20);
  EXPECT_EQ(disk_.bus.misses().size(), 256u);
  EXPECT_EQ(take_event(disk_.error), 0u);
}

// Which might never have all of its translations at a time.
TEST_P(VhostUserIotlbFormTest, ALongerOneIsAnErrorOfTheRing) {
  disk_.bus.answer();
  offer_bytes((64 << 20) + 1);
  EXPECT_EQ(disk_.bus.misses(), Pages{});
  EXPECT_EQ(take_event(disk_.error), 1u);
  EXPECT_EQ(disk_.backend->statistics().queue_errors, 1u);
}

INSTANTIATE_TEST_SUITE_P(Forms, VhostUserIotlbFormTest,
                         testing::Values(0, kFeatureRingEventIdx, kFeatureRingPacked,
                                         kFeatureRingPacked | kFeatureRingEventIdx));

class VhostUserIotlbTest : public testing::Test {
 protected:
  VhostUserIotlbTest() { disk_.start(kFeatures); }

  TranslatedDisk disk_{{.num_queues = 2}};
};

TEST_F(VhostUserIotlbTest, AnotherRingGoesOnMeanwhile) {
  RingDriver second(disk_.guest, kRamBase + 0x4'0000, VhostDisk::kSize, kFeatures);
  ASSERT_TRUE(disk_.start_ring(1, second.config()));
  disk_.bus.answer();
  disk_.offer_and_kick();
  EXPECT_EQ(disk_.bus.misses(), kRequest);
  constexpr std::uint64_t kOthers = kRamBase + 0x5'0000;
  ASSERT_TRUE(disk_.bus.map(kOthers));
  for (int i = 0; i < 5; ++i) {
    second.offer(
        {{kOthers, 16, 0, 0}, {kOthers + 512, 512, kWrite, 0}, {kOthers + 16, 1, kWrite, 0}});
    disk_.kick_ring();
    while (!second.has_used()) disk_.join();
    EXPECT_TRUE(second.take_used());
  }
  EXPECT_FALSE(disk_.driver->has_used());
  for (const auto& [page, access] : kRequest) ASSERT_TRUE(disk_.bus.map(page));
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
}

TEST_F(VhostUserIotlbTest, AMissingPermissionIsAskedForOnce) {
  disk_.bus.answer();
  ASSERT_TRUE(disk_.bus.map(kData, kPage, kRead));
  disk_.offer_and_kick();
  EXPECT_EQ(disk_.bus.misses(), kRequest);
  ASSERT_TRUE(disk_.bus.map(kData));
  ASSERT_TRUE(disk_.bus.map(kHeader));
  ASSERT_TRUE(disk_.bus.map(kStatus));
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_TRUE(disk_.has_sector(kData, 1));
}

TEST_F(VhostUserIotlbTest, APermissionThatIsNotGivenIsAnErrorOfTheRequest) {
  ASSERT_EQ(disk_.translated_request(), kOk);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(disk_.bus.unmap(kData));
    disk_.offer_and_kick();
    EXPECT_EQ(disk_.bus.misses(), (Pages{{kData, kWritten}}));
    ASSERT_TRUE(disk_.bus.map(kData, kPage, kRead));
    EXPECT_EQ(disk_.wait_for_answer(), kIoErr);
    disk_.offer_and_kick();
    EXPECT_EQ(disk_.wait_for_answer(), kIoErr);  // the last word
    EXPECT_EQ(disk_.bus.misses(), Pages{});
  }
  ASSERT_TRUE(disk_.bus.map(kData));
  EXPECT_EQ(disk_.translated_request(), kOk);
}

TEST_F(VhostUserIotlbTest, ATableThatMayNotBeReadIsAnErrorOfTheRing) {
  disk_.bus.answer();
  disk_.driver->offer({{kHeader, 16, 0, 0}, {kStatus, 1, kWrite, 0}}, Layout::kInTable);
  disk_.kick_ring();
  const Pages table = disk_.bus.misses();
  ASSERT_EQ(table.size(), 1u);
  ASSERT_TRUE(disk_.bus.map(table.begin()->first, kPage, kWritten));
  EXPECT_TRUE(wait_for(disk_.error));
  take_event(disk_.error);
  ASSERT_TRUE(disk_.bus.unmap(0, 0));  // revives nothing
  EXPECT_EQ(disk_.bus.misses(), Pages{});
  EXPECT_EQ(take_event(disk_.error), 0u);
  EXPECT_EQ(disk_.get_word(Request::kGetStatus), 64u);
}

TEST_F(VhostUserIotlbTest, AnUpdateThatReplacesRevivesNoFailedRing) {
  ASSERT_EQ(disk_.translated_request(), kOk);
  disk_.driver->offer({{kHeader, 16, 0, 0}, {kStatus, 1, kWrite, 0}}, Layout::kInTable);
  disk_.kick_ring();
  const Pages table = disk_.bus.misses();
  ASSERT_EQ(table.size(), 1u);
  ASSERT_TRUE(disk_.bus.map(table.begin()->first, kPage, kWritten));
  ASSERT_TRUE(wait_for(disk_.error));
  take_event(disk_.error);
  constexpr std::uint64_t kElsewhere = kData + 8 * kPage;
  ASSERT_TRUE(
      disk_.bus.send(Translator::kUpdate, kData, kPage, VhostDisk::user(kElsewhere), kBoth));
  disk_.bus.settle();
  EXPECT_EQ(disk_.backend->statistics().queue_errors, 1u);
  EXPECT_EQ(take_event(disk_.error), 0u);
  EXPECT_EQ(disk_.get_word(Request::kGetStatus), 64u);
}

TEST_F(VhostUserIotlbTest, EveryWayToTakeAwayTheWholeTakesIt) {
  struct {
    std::uint64_t iova;
    std::uint64_t bytes;
  } constexpr kWhole[] = {
      {0, 0}, {0, UINT64_MAX}, {0, UINT64_MAX - 4095}, {4096, UINT64_MAX - 4095}, {1, UINT64_MAX}};
  for (const auto& [iova, bytes] : kWhole) {
    ASSERT_EQ(disk_.translated_request(), kOk);
    ASSERT_TRUE(disk_.bus.unmap(iova, bytes));
    EXPECT_EQ(disk_.bus.misses().size(), 3u) << std::hex << iova << " " << bytes;
    for (const std::uint64_t part : {kRing, kDriver, kDevice}) ASSERT_TRUE(disk_.bus.map(part));
    disk_.offer_and_kick();
    EXPECT_EQ(disk_.bus.misses(), kRequest);
    for (const auto& [page, access] : kRequest) ASSERT_TRUE(disk_.bus.map(page));
    EXPECT_EQ(disk_.wait_for_answer(), kOk);
  }
}

// No more than a few are under way at a time.
TEST_F(VhostUserIotlbTest, ARequestOfManyPagesIsAskedForInParts) {
  disk_.bus.answer();
  constexpr std::uint64_t kFar = std::uint64_t{1} << 40;
  disk_.guest.put(kHeader, kIn);
  disk_.driver->want_interrupt();
  disk_.driver->offer(
      {{kHeader, 16, 0, 0}, {kFar, 700 * 4096, kWrite, 0}, {kStatus, 1, kWrite, 0}});
  disk_.kick_ring();
  std::size_t pages = 0;
  for (Pages asked = disk_.bus.misses(); !asked.empty(); asked = disk_.bus.misses()) {
    EXPECT_LE(asked.size(), 256u);
    pages += asked.size();
    for (const auto& [page, access] : asked) {
      const std::uint64_t to = VhostDisk::user(page < kFar ? page : kData);
      ASSERT_TRUE(disk_.bus.send(Translator::kUpdate, page, kPage, to, kBoth));
    }
  }
  EXPECT_EQ(pages, 702u);
  EXPECT_EQ(disk_.wait_for_answer(), kIoErr);  // the disk is shorter
}

// As QEMU for pages that the guest has not mapped.
TEST_F(VhostUserIotlbTest, ARingWhoseBuffersNobodyAnswersForHindersNoOtherNorItself) {
  RingDriver second(disk_.guest, kRamBase + 0x4'0000, VhostDisk::kSize, kFeatures);
  ASSERT_TRUE(disk_.start_ring(1, second.config()));
  disk_.bus.answer();
  constexpr std::uint64_t kFar = std::uint64_t{1} << 40;
  constexpr std::uint64_t kAll = 256;
  disk_.driver->offer({{kFar, kAll * kPage, 0, 0}, {kStatus, 1, kWrite, 0}});
  disk_.kick_ring();
  EXPECT_EQ(disk_.bus.misses().size(), kAll);
  constexpr std::uint64_t kOthers = kRamBase + 0x5'0000;
  second.offer({{kFar, kPage, 0, 0}, {kOthers, 1, kWrite, 0}});
  disk_.kick_ring();
  EXPECT_EQ(disk_.bus.misses(), (Pages{{kOthers, kWritten}}));
  ASSERT_TRUE(disk_.bus.unmap(kRing));
  EXPECT_EQ(disk_.bus.misses(), (Pages{{kRing, kRead}}));
  ASSERT_TRUE(disk_.bus.map(kRing));
  ASSERT_TRUE(disk_.stop_ring(0));
  EXPECT_EQ(disk_.bus.misses(), (Pages{{kFar, kRead}}));  // the other one's, too
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  const Pages again = disk_.bus.misses();  // but the one that is asked for
  EXPECT_EQ(again.size(), kAll);
  EXPECT_EQ(again.count(kFar), 0u);
  EXPECT_EQ(again.count(kStatus), 1u);
}

TEST_F(VhostUserIotlbTest, WithoutAChannelNothingIsAskedForUntilThereIsOne) {
  disk_.disconnect();
  disk_.connect();
  disk_.negotiate(kFeatures | kFeatureAccessPlatform);
  ASSERT_TRUE(disk_.bus.share_memory());
  disk_.driver->clear();
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  disk_.offer_and_kick();
  EXPECT_FALSE(disk_.is_answered());
  disk_.bus.open_channel();
  disk_.bus.answer();
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
}

}  // namespace
}  // namespace vm_device
