#include "vm_device/virtio_balloon.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/vm_device/virtio_machine.h"

namespace vm_device {
namespace {

using Machine = VirtioMachine<VirtioBalloon>;
constexpr std::uint16_t kInflate = 0;
constexpr std::uint16_t kDeflate = 1;
constexpr std::uint16_t kStatistics = 2;
constexpr std::uint64_t kMustTellHost = 1 << 0;
constexpr std::uint64_t kStatisticsQueue = 1 << 1;
constexpr std::uint64_t kDeflateOnOom = 1 << 2;
constexpr std::uint64_t kReporting = 1 << 5;
constexpr std::uint64_t kPage = VirtioBalloon::kPageBytes;

constexpr std::uint64_t kList = Machine::kData;         // of page numbers
constexpr std::uint64_t kVictim = kRamBase + 0x8'0000;  // pages to give away
constexpr std::byte kFull{0xa5};

class VirtioBalloonTest : public testing::Test {
 protected:
  VirtioBalloonTest() {
    fill(kVictim, 0x8'0000);
    machine.start();
  }
  VirtioBalloon& balloon() { return *machine.device; }
  void fill(std::uint64_t at, std::size_t bytes) {
    machine.guest.put_bytes(at, std::vector<std::byte>(bytes, kFull));
  }
  // Of `pages` from `at` on: 0 discarded, 1 as before.
  std::vector<int> kept(std::uint64_t at, std::size_t pages) {
    std::vector<int> out;
    for (std::size_t i = 0; i < pages; ++i) {
      const auto bytes = machine.guest.bytes(at + i * kPage, kPage);
      if (bytes == std::vector<std::byte>(kPage, kFull)) out.push_back(1);
      if (bytes == std::vector<std::byte>(kPage)) out.push_back(0);
    }
    return out;
  }
  static std::uint32_t number(std::uint64_t address) {
    return static_cast<std::uint32_t>(address / kPage);
  }
  void inflate(const std::vector<std::uint32_t>& pages, std::uint16_t queue = kInflate) {
    machine.guest.put_bytes(kList, std::as_bytes(std::span(pages)));
    machine.request(queue, {{kList, static_cast<std::uint32_t>(4 * pages.size()), 0, 0}});
  }

  Machine machine{[](Guest& guest) { return std::make_unique<VirtioBalloon>(*guest.memory); }};
};

TEST_F(VirtioBalloonTest, InflatedPagesAreGivenBack) {
  const std::uint32_t first = number(kVictim);
  inflate({first + 1, first + 2, first + 5, first + 4, first + 7});
  EXPECT_EQ(kept(kVictim, 9), (std::vector{1, 0, 0, 1, 0, 0, 1, 0, 1}));
  EXPECT_EQ(balloon().discarded_bytes(), 5 * kPage);
  EXPECT_EQ(balloon().refused_bytes(), 0u);
  EXPECT_EQ(machine.used(kInflate), 1);
  EXPECT_EQ(machine.line.rises(), 1);
}

TEST_F(VirtioBalloonTest, PageZeroIsAPageLikeOthers) {
  ASSERT_TRUE(machine.guest.memory->add_ram(guest_range(0, 0x2000)).ok());
  fill(0, 0x2000);
  inflate({0, 1});
  EXPECT_EQ(kept(0, 2), (std::vector{0, 0}));
  fill(0, 0x2000);
  inflate({1, 0});
  EXPECT_EQ(kept(0, 2), (std::vector{0, 0}));
}

TEST_F(VirtioBalloonTest, DiscardedPagesAreDirty) {
  ASSERT_TRUE(machine.guest.memory
                  ->add_ram(guest_range(0x1'0000'0000, 0x4000),
                            {.dirty_tracking = vm_mem::DirtyTracking::kOn})
                  .ok());
  const auto client = machine.guest.memory->add_dirty_client("test");
  ASSERT_TRUE(client.ok());
  inflate({0x10'0002});
  std::vector<vm_mem::DirtyRegion> dirty;
  ASSERT_TRUE(machine.guest.memory->harvest_dirty(*client, dirty).ok());
  ASSERT_EQ(dirty.size(), 1u);
  EXPECT_EQ(dirty[0].pages.page_count(), 1u);
}

TEST_F(VirtioBalloonTest, DeflatedPagesAreUsableAtOnce) {
  inflate({number(kVictim)});
  inflate({number(kVictim)}, kDeflate);
  EXPECT_EQ(machine.used(kDeflate), 1);
  fill(kVictim, kPage);
  EXPECT_EQ(kept(kVictim, 1), std::vector{1});
}

TEST_F(VirtioBalloonTest, PagesThatAreNoRamAreRefused) {
  inflate({number(Machine::kHole), UINT32_MAX, number(kRamEnd), number(kSlot), number(kVictim)});
  EXPECT_EQ(balloon().discarded_bytes(), kPage);
  EXPECT_EQ(balloon().refused_bytes(), 4 * kPage);
  EXPECT_EQ(kept(kVictim, 1), std::vector{0});
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(VirtioBalloonTest, LeasedMemoryIsNotGivenAway) {
  auto lease =
      machine.guest.memory->lease(guest_range(kVictim, kPage), vm_mem::LeaseAccess::kReadWrite);
  ASSERT_TRUE(lease.ok());
  inflate({number(kVictim)});
  EXPECT_EQ(kept(kVictim, 1), std::vector{1});
  EXPECT_EQ(balloon().refused_bytes(), kPage);
  lease->release();
  inflate({number(kVictim)});
  EXPECT_EQ(kept(kVictim, 1), std::vector{0});
}

TEST_F(VirtioBalloonTest, ADiskThatHoldsOtherPagesDoesNotStopIt) {
  const auto lease = machine.guest.memory->lease(guest_range(kVictim + kPage, kPage),
                                                 vm_mem::LeaseAccess::kReadWrite);
  ASSERT_TRUE(lease.ok());
  inflate({number(kVictim)});
  EXPECT_EQ(kept(kVictim, 1), std::vector{0});
  EXPECT_EQ(balloon().refused_bytes(), 0u);
}

TEST_F(VirtioBalloonTest, ListsThatAreShortOddOrOutOfReachAreAnswered) {
  machine.guest.put(kList, number(kVictim));
  machine.request(kInflate, {{kList, 0, 0, 0}});
  machine.request(kInflate, {{kList, 3, 0, 0}});
  machine.request(kInflate, {{Machine::kHole, 64, 0, 0}});
  machine.request(kInflate, {{kList, 4, kWrite, 0}});
  EXPECT_EQ(machine.used(kInflate), 4);
  EXPECT_EQ(balloon().discarded_bytes(), 0u);
  machine.request(kInflate, {{kList, 2, 0, 0}, {kList + 2, 2, 0, 0}, {Machine::kHole, 4, 0, 0}});
  EXPECT_EQ(balloon().discarded_bytes(), kPage);
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(VirtioBalloonTest, OfAnEndlessListTheFirstPagesCount) {
  machine.guest.put_bytes(kList, std::vector<std::byte>(0x1'0000, std::byte{0xff}));
  constexpr std::uint64_t kTable = kRamBase + 0x5'0000;
  constexpr std::uint16_t kPieces = 200;
  for (std::uint16_t i = 0; i < kPieces; ++i) {
    const auto next = static_cast<std::uint16_t>(i + 1);
    machine.rings[kInflate].describe_at(
        kTable + 16 * std::uint64_t{i},
        {kList, 0x1'0000, static_cast<std::uint16_t>(next == kPieces ? 0 : kNext), next});
  }
  machine.rings[kInflate].describe(0, {kTable, 16 * kPieces, kIndirect, 0});
  machine.rings[kInflate].offer(0);
  machine.kick(kInflate);
  EXPECT_EQ(machine.used(kInflate), 1);
  EXPECT_EQ(balloon().refused_bytes(), kPieces * 0x1'0000 / 4 * kPage);
}

TEST_F(VirtioBalloonTest, TheTargetIsConfiguration) {
  EXPECT_EQ(machine.config<std::uint64_t>(0), 0u);
  balloon().set_target(0x1234);
  EXPECT_TRUE(machine.config_interrupt());
  EXPECT_EQ(machine.config<std::uint32_t>(0), 0x1234u);
  machine.guest.put(Machine::kConfig, std::uint32_t{7});
  EXPECT_EQ(balloon().target(), 0x1234u);
}

TEST_F(VirtioBalloonTest, TheDriverSaysHowFarItIs) {
  machine.guest.put(Machine::kConfig + 4, std::uint32_t{77});
  EXPECT_EQ(balloon().actual(), 77u);
  EXPECT_EQ(machine.config<std::uint32_t>(4), 77u);
  machine.guest.put(Machine::kConfig + 4, std::uint16_t{1});
  machine.guest.put(Machine::kConfig + 8, std::uint32_t{1});
  EXPECT_EQ(balloon().actual(), 77u);
  machine.start();
  EXPECT_EQ(balloon().actual(), 0u);
}

TEST_F(VirtioBalloonTest, FreePagesThatAreReportedAreGivenBack) {
  machine.start(kStatisticsQueue | kReporting);
  machine.request(3, {{kVictim, 0x2000, kWrite, 0}, {kVictim + 0x4000, 0x1000, kWrite, 0}});
  EXPECT_EQ(kept(kVictim, 6), (std::vector{0, 0, 1, 1, 0, 1}));
  EXPECT_EQ(machine.used(3), 1);
  EXPECT_EQ(balloon().discarded_bytes(), 3 * kPage);
}

// With and without gaps for the queues that are not used.
TEST_F(VirtioBalloonTest, TheReportingQueueIsFoundWhereverTheDriverHasIt) {
  for (const auto& [features, queue] : {std::pair{kReporting, 2},
                                        {kReporting, 4},
                                        {kReporting | kStatisticsQueue, 3},
                                        {kReporting | kStatisticsQueue, 4}}) {
    fill(kVictim, kPage);
    machine.start(features);
    machine.request(static_cast<std::uint16_t>(queue), {{kVictim, 0x1000, kWrite, 0}});
    EXPECT_EQ(kept(kVictim, 1), std::vector{0}) << queue;
  }
}

TEST_F(VirtioBalloonTest, NothingIsReportedWhereThatIsNotAgreed) {
  machine.start(kStatisticsQueue);
  machine.request(3, {{kVictim, 0x1000, kWrite, 0}});
  EXPECT_EQ(machine.used(3), 1);
  EXPECT_EQ(kept(kVictim, 1), std::vector{1});
}

TEST_F(VirtioBalloonTest, ReportsGiveBackWholePagesAlone) {
  machine.start(kReporting);
  machine.request(2, {{kVictim + 1, 0x2ffe, kWrite, 0}, {kVictim + 0x4000, 0xfff, kWrite, 0}});
  EXPECT_EQ(kept(kVictim, 5), (std::vector{1, 0, 1, 1, 1}));
  machine.request(2, {{UINT64_MAX - 10, 10, kWrite, 0}});
  machine.request(2, {{Machine::kHole, 0x2000, kWrite, 0}});
  machine.request(2, {{kRamEnd - 0x1000, 0x2000, kWrite, 0}});
  machine.request(2, {{kVictim + 0x4000, 0x1000, 0, 0}});
  EXPECT_EQ(balloon().discarded_bytes(), kPage);
  EXPECT_EQ(balloon().refused_bytes(), 4 * kPage);
  EXPECT_FALSE(machine.needs_reset());
}

class BalloonStatisticsTest : public VirtioBalloonTest {
 protected:
  BalloonStatisticsTest() { machine.start(kStatisticsQueue); }
  void give(std::initializer_list<std::pair<std::uint16_t, std::uint64_t>> statistics) {
    std::uint64_t at = kList;
    for (const auto& [tag, value] : statistics) {
      machine.guest.put(at, tag);
      machine.guest.put_bytes(at + 2, std::as_bytes(std::span(&value, 1)));
      at += 10;
    }
    machine.request(kStatistics, {{kList, static_cast<std::uint32_t>(at - kList), 0, 0}});
  }
};

TEST_F(BalloonStatisticsTest, TheBufferIsKeptUntilTheHostAsks) {
  give({{4, 1000}, {5, 5000}});
  EXPECT_EQ(machine.used(kStatistics), 0);
  EXPECT_EQ(balloon().statistics(), (BalloonStatistics{.free_bytes = 1000, .total_bytes = 5000}));
  balloon().request_statistics();
  EXPECT_EQ(machine.used(kStatistics), 1);
  EXPECT_EQ(machine.line.level(), Level::kHigh);
  give({{4, 900}, {99, 1}, {9, 3}});
  EXPECT_EQ(balloon().statistics(),
            (BalloonStatistics{.free_bytes = 900, .huge_page_failures = 3}));
  EXPECT_EQ(balloon().statistics_received(), 2u);
}

TEST_F(BalloonStatisticsTest, AskedBeforeTheDriverIsThereItAnswersOnce) {
  balloon().request_statistics();
  give({{0, 1}});
  EXPECT_EQ(machine.used(kStatistics), 0);
  EXPECT_EQ(balloon().statistics_received(), 1u);
}

TEST_F(BalloonStatisticsTest, BuffersThatSayNothingAreTaken) {
  machine.request(kStatistics, {{kList, 0, 0, 0}});
  EXPECT_EQ(balloon().statistics(), BalloonStatistics{});
  machine.request(kStatistics, {{Machine::kHole, 100, 0, 0}});
  EXPECT_EQ(machine.used(kStatistics), 1);
  give({{0, 5}});
  EXPECT_EQ(machine.used(kStatistics), 2);
  EXPECT_EQ(balloon().statistics().swap_in_bytes, 5u);
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(BalloonStatisticsTest, AResetForgetsTheBuffer) {
  give({{0, 1}});
  machine.start(kStatisticsQueue);
  balloon().request_statistics();
  EXPECT_EQ(machine.used(kStatistics), 0);
  give({{0, 2}});
  EXPECT_EQ(balloon().statistics().swap_in_bytes, 2u);
}

TEST_F(BalloonStatisticsTest, TheBufferGoesWithItsQueue) {
  machine.start(kStatisticsQueue | kFeatureRingReset);
  give({{0, 1}});
  machine.set_reg(0x30, kStatistics);
  machine.set_reg(0xc0, 1);
  EXPECT_EQ(machine.reg(0xc0), 0u);
  machine.set_up_queue(kStatistics);
  balloon().request_statistics();
  EXPECT_EQ(machine.used(kStatistics), 0);
  give({{0, 2}});
  balloon().request_statistics();
  EXPECT_EQ(machine.used(kStatistics), 1);
}

TEST_F(VirtioBalloonTest, AMalformedRingStopsOneQueueUntilReset) {
  machine.rings[kInflate].offer(99);
  machine.kick(kInflate);
  EXPECT_TRUE(machine.needs_reset());
  inflate({number(kVictim)}, kDeflate);
  EXPECT_EQ(machine.used(kDeflate), 1);
  machine.start();
  inflate({number(kVictim)});
  EXPECT_EQ(kept(kVictim, 1), std::vector{0});
}

TEST_F(VirtioBalloonTest, OffersWhatItServes) {
  EXPECT_EQ(machine.reg(0x08), 5u);
  EXPECT_EQ(balloon().device_features(), kStatisticsQueue | kDeflateOnOom | kReporting);
  const VirtioBalloon strict(*machine.guest.memory, {.deflate = BalloonDeflate::kTellFirst});
  EXPECT_EQ(strict.device_features() & kMustTellHost, kMustTellHost);
}

TEST_F(VirtioBalloonTest, HostThreadsAskWhileTheDriverInflates) {
  machine.start(kStatisticsQueue);
  std::thread host([&] {
    for (std::uint32_t i = 1; i <= 500; ++i) {
      balloon().set_target(i);
      balloon().request_statistics();
    }
  });
  for (int i = 0; i < 500; ++i) {
    inflate({number(kVictim)});
    machine.request(kStatistics, {{kList, 10, 0, 0}});
  }
  host.join();
  EXPECT_EQ(balloon().statistics_received(), 500u);
  EXPECT_EQ(machine.config<std::uint32_t>(0), 500u);
}

}  // namespace
}  // namespace vm_device
