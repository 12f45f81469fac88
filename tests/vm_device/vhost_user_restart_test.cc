// What is noted of a ring, and who finds it: the same driver again, or another one.

#include <sys/mman.h>

#include "tests/vm_device/vhost_user_inflight.h"

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
