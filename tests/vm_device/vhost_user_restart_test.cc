// What is noted of a ring, and who finds it: the same driver again, or another one.

#include <sys/mman.h>

#include "tests/vm_device/vhost_user_inflight.h"
#include "vm_device/internal/packed_journal.h"
#include "vm_device/internal/request_journal.h"

namespace vm_device {
namespace {

class VhostUserRestartTest : public VhostUserInflight {
 protected:
  std::uint64_t other_form() const { return features() ^ kFeatureRingPacked; }
  static std::uint32_t first(std::uint64_t features) {
    return (features & kFeatureRingPacked) != 0 ? 0x8000'8000 : 0;
  }
  bool say_base(std::uint32_t base) {
    return front_.ask(Request::kSetVringBase, {pair_of(0, base)});
  }
  bool accept(std::uint64_t features) {
    return front_.ask(Request::kSetFeatures, {features | internal::kVhostFeatureProtocol});
  }
  // What a driver does that finds a failed device, where the front end knows no RESET_DEVICE.
  void begin_anew() {
    ASSERT_TRUE(front_.ask(Request::kSetStatus, {0}));
    ASSERT_TRUE(front_.stop_ring(0));
    driver_.clear();
    ASSERT_TRUE(say_base(first(features())));
    ASSERT_TRUE(front_.start_ring(0, driver_.config()));
    expect_a_new_driver();
  }
  void expect_a_new_driver() {
    EXPECT_TRUE(taken().empty());
    for (int i = 0; i < 3; ++i) {
      const Held fresh = offer();
      EXPECT_EQ(wait_for_taken(1), std::vector{fresh});
      give_back({fresh});
    }
  }
  void come_back_anew() {
    front_.disconnect();
    driver_.clear();
    says_base_ = true;
    connect();
    expect_a_new_driver();
    EXPECT_NE(front_.backend->statistics().refused, 0u);  // it is told
  }
  // A driver that uses the other form finds the disk as new.
  void use_other_form() {
    ASSERT_TRUE(accept(other_form()));
    RingDriver driver(front_.guest, kRing, VhostFrontEnd::kSize, other_form());
    take_event(front_.error);
    ASSERT_TRUE(say_base(first(other_form())));
    ASSERT_TRUE(front_.start_ring(0, driver.config()));
    EXPECT_TRUE(taken().empty());
    EXPECT_EQ(take_event(front_.error), 0u);
    driver.offer({{kBuffers, 16, kWrite, 0}});
    EXPECT_EQ(wait_for_taken(1).size(), 1u);
  }
};

TEST_P(VhostUserRestartTest, WhatAStoppedRingHadIsNotTheNextDriversAtItsBeginning) {
  start();
  const std::vector<Held> all = offer_some(2);
  EXPECT_EQ(wait_for_taken(2), all);
  begin_anew();
}

TEST_P(VhostUserRestartTest, WhatAStoppedRingHadIsNotTheNextDriversLater) {
  start();
  const std::vector<Held> all = offer_some(3);
  EXPECT_EQ(wait_for_taken(3), all);
  give_back({all[0]});
  begin_anew();
}

TEST_P(VhostUserRestartTest, WhatAFailedRingHadIsNotTheNextDrivers) {
  start();
  const Held held = offer_one();
  EXPECT_EQ(wait_for_taken(1), std::vector{held});
  driver_.offer({{kBuffers, 16, kWrite, 0}, {kBuffers, 16, 0, 0}});  // readable after writable
  taken();
  EXPECT_TRUE(wait_for(front_.error));
  begin_anew();
}

TEST_P(VhostUserRestartTest, WhatAStoppedRingHadIsTakenAgainWhereItStopped) {
  start();
  for (int round = 0; round < 3; ++round) {  // in the first one nothing was ever given back
    const std::vector<Held> all = offer_some(4);
    EXPECT_EQ(wait_for_taken(4), all);
    if (round > 0) give_back({all[0], all[1]});
    const std::vector<Held> left(all.begin() + (round > 0 ? 2 : 0), all.end());
    ASSERT_TRUE(front_.share_memory());
    EXPECT_EQ(wait_for_taken(left.size()), left);
    ASSERT_TRUE(front_.ask(Request::kSetVringEnable, {pair_of(0, 0)}));
    ASSERT_TRUE(front_.ask(Request::kSetVringEnable, {pair_of(0, 1)}));
    EXPECT_EQ(wait_for_taken(left.size()), left);
    const auto at = front_.stop_ring(0);
    ASSERT_TRUE(at);
    ASSERT_TRUE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, size_), {file_}));
    ASSERT_TRUE(say_base(*at));
    ASSERT_TRUE(front_.start_ring(0, driver_.config()));
    EXPECT_EQ(wait_for_taken(left.size()), left);
    give_back(left);
  }
}

// Another back end may have had more at a time than this device takes.
TEST_P(VhostUserRestartTest, WhatIsToBeTakenAgainIsCompletedBeforeARingStops) {
  start();
  std::vector<Held> all;
  while (driver_.free_descriptors() != 0) all.push_back(offer_one());
  EXPECT_EQ(wait_for_taken(all.size()), all);
  front_.disconnect();
  orders_.most = 1;
  orders_.answers = true;
  connect();
  const auto at = front_.stop_ring(0);
  ASSERT_TRUE(at);
  take_used(all);
  EXPECT_FALSE(driver_.has_used());
  ASSERT_TRUE(say_base(*at));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_EQ(taken(), all);
}

// The front end's file of the ring is cut off while requests are given back, and filled again.
TEST_P(VhostUserRestartTest, WhatCouldNotBeGivenBackIsTakenAgain) {
  const int file = ::memfd_create("ring", MFD_CLOEXEC);
  const auto put_ring = [&](const std::vector<std::byte>& bytes) {
    ASSERT_EQ(::ftruncate(file, kRamBytes), 0);
    ASSERT_EQ(::pwrite(file, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  };
  const auto ring = [&] { return front_.guest.bytes(kRing, kRingBytes); };
  start();
  const Held first = offer_one();
  EXPECT_EQ(wait_for_taken(1), std::vector{first});
  give_back({first});
  std::vector<Held> all;
  for (std::uint32_t i = 0; i < 4; ++i) all.push_back(offer(i % 2 + 1, Layout::kInRing));
  put_ring(ring());
  ASSERT_TRUE(
      front_.ask(Request::kSetMemTable, {1, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}, {file}));
  EXPECT_EQ(wait_for_taken(4), all);
  ASSERT_EQ(::ftruncate(file, 0), 0);
  orders_.stage = true;
  orders_.most = 4;  // it does not look for more first
  take_event(front_.error);
  order({all[0], all[1]});
  EXPECT_TRUE(wait_for(front_.error));
  put_ring(ring());
  const auto at = front_.stop_ring(0);
  ASSERT_TRUE(at);
  EXPECT_EQ(*at, is_packed() ? 0x8001'8001 : 1);
  ASSERT_TRUE(say_base(*at));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_EQ(wait_for_taken(4), all);
  ::close(file);
}

// A driver begins anew while nobody serves it, at a front end that keeps the journals.
TEST_P(VhostUserRestartTest, AnIdleJournalIsNotTheNextDrivers) {
  start();
  const std::vector<Held> all = offer_some(3);
  EXPECT_EQ(wait_for_taken(3), all);
  give_back(all);
  come_back_anew();
}

TEST_P(VhostUserRestartTest, WhatWasNotedIsNotTheNextDrivers) {
  start();
  const std::vector<Held> all = offer_some(4);
  EXPECT_EQ(wait_for_taken(4), all);
  give_back({all[0], all[1], all[2]});
  come_back_anew();
}

TEST_P(VhostUserRestartTest, WhatWasNotedAtTheBeginningIsNotTheNextDrivers) {
  start();
  const std::vector<Held> all = offer_some(4);
  EXPECT_EQ(wait_for_taken(4), all);
  front_.disconnect();
  driver_.clear();
  const Held fresh = offer();
  says_base_ = true;
  connect();
  EXPECT_EQ(wait_for_taken(1), std::vector{fresh});
  give_back({fresh});
  EXPECT_NE(front_.backend->statistics().refused, 0u);
}

TEST_P(VhostUserRestartTest, AJournalThatCannotBeReadIsAnErrorOfItsRing) {
  constexpr std::size_t kVersion = 8;
  constexpr std::size_t kCount = 10;
  start();
  const Held held = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{held});
  for (const std::size_t at : {kVersion, kCount}) {
    front_.disconnect();
    const std::vector<std::byte> good = journal();
    std::vector<std::byte> bytes = good;
    bytes[at] = std::byte{8};
    put_journal(bytes);
    take_event(front_.error);
    connect();
    EXPECT_TRUE(taken().empty());
    EXPECT_TRUE(wait_for(front_.error));
    EXPECT_EQ(journal(), bytes);
    front_.disconnect();
    put_journal(good);
    connect();
    EXPECT_EQ(wait_for_taken(1), std::vector{held});
  }
}

TEST_P(VhostUserRestartTest, AJournalIsAsLargeAsItsForm) {
  const std::uint64_t least = is_packed() ? internal::PackedJournal::bytes_for(size_)
                                          : internal::RequestJournal::bytes_for(size_);
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(least - 64, 1, size_), {file_}));
  EXPECT_TRUE(front_.ask(Request::kSetInflightFd, question(least, 1, size_), {file_}));
  // Of a ring that is larger nothing could be noted.
  ASSERT_TRUE(front_.ask(Request::kSetInflightFd, question(least, 1, 8), {file_}));
  ASSERT_TRUE(front_.share_memory());
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_TRUE(wait_for(front_.error));
}

// A front end that starts a ring before it shares its memory loses nothing.
TEST_P(VhostUserRestartTest, ARingThatIsNotThereLeavesItsJournalAlone) {
  start();
  const std::vector<Held> all = offer_some(4);
  EXPECT_EQ(wait_for_taken(4), all);
  give_back({all[0], all[1]});
  front_.disconnect();
  const std::vector<std::byte> before = journal();
  front_.connect();
  front_.negotiate(features());
  ASSERT_TRUE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, size_), {file_}));
  ASSERT_TRUE(say_base(first(features())));
  take_event(front_.error);
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_TRUE(wait_for(front_.error));
  EXPECT_EQ(journal(), before);
  come_back();
  EXPECT_EQ(wait_for_taken(2), (std::vector{all[2], all[3]}));
}

TEST_P(VhostUserRestartTest, ADriverOfTheOtherFormBeginsAnew) {
  start();
  const std::vector<Held> all = offer_some(3);
  EXPECT_EQ(wait_for_taken(3), all);
  give_back({all[0], all[1]});
  ASSERT_TRUE(front_.stop_ring(0));
  use_other_form();
}

TEST_P(VhostUserRestartTest, ADriverOfTheOtherFormBeginsAnewAfterAReset) {
  start();
  const std::vector<Held> all = offer_some(3);
  EXPECT_EQ(wait_for_taken(3), all);
  give_back(all);
  ASSERT_TRUE(front_.stop_ring(0));
  ASSERT_TRUE(front_.ask(Request::kResetDevice, {}));
  use_other_form();
}

// The journals may come before the features that say their form.
TEST_P(VhostUserRestartTest, TheFirstFeaturesForgetNothing) {
  start();
  const std::vector<Held> all = offer_some(2);
  EXPECT_EQ(wait_for_taken(2), all);
  front_.disconnect();
  front_.connect();
  const std::uint64_t offered = front_.get_word(Request::kGetProtocolFeatures);
  front_.socket->send(static_cast<std::uint32_t>(Request::kSetProtocolFeatures),
                      internal::kVhostUserVersion, bytes_of({offered}));
  ASSERT_TRUE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, size_), {file_}));
  ASSERT_TRUE(accept(features()));
  ASSERT_TRUE(front_.share_memory());
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_EQ(wait_for_taken(2), all);
}

INSTANTIATE_TEST_SUITE_P(Forms, VhostUserRestartTest,
                         testing::Values(0, kFeatureRingPacked, kFeatureInOrder,
                                         kFeatureInOrder | kFeatureRingPacked));

// In order the first request would hold the others.
using VhostUserRestartLaterTest = VhostUserRestartTest;

// Two laps, or 65536 requests, later: what is held is not what lies at the beginning.
TEST_P(VhostUserRestartLaterTest, TheBeginningIsNoneForARingThatHasGivenBack) {
  start();
  const Held held = offer_one();
  EXPECT_EQ(wait_for_taken(1), std::vector{held});
  const int count = is_packed() ? 2 * VhostFrontEnd::kSize : 0x1'0000;
  driver_.want_interrupt();
  for (int left = count; left > 0 && !HasFailure();) {
    std::vector<Held> some;
    for (; left > 0 && driver_.free_descriptors() != 0; --left) some.push_back(offer_one());
    EXPECT_EQ(wait_for_taken(some.size()), some);
    give_back(some);
  }
  const auto at = front_.stop_ring(0);
  ASSERT_EQ(at, first(features()));
  ASSERT_TRUE(say_base(*at));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_EQ(wait_for_taken(1), std::vector{held});
}

INSTANTIATE_TEST_SUITE_P(Forms, VhostUserRestartLaterTest, testing::Values(0, kFeatureRingPacked));

}  // namespace
}  // namespace vm_device
