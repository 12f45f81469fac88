// Requests that a back end has when it ends are found by the next one.

#include <algorithm>
#include <random>

#include "tests/vm_device/vhost_user_inflight.h"

namespace vm_device {
namespace {

class VhostUserInflightTest : public VhostUserInflight {};

TEST_P(VhostUserInflightTest, WhatWasTakenIsTakenAgainInItsOrder) {
  start();
  const std::vector<Held> all = offer_some(6);
  EXPECT_EQ(wait_for_taken(6), all);
  give_back({all[4], all[1]});
  come_back();
  const std::vector<Held> left{all[0], all[2], all[3], all[5]};
  EXPECT_EQ(wait_for_taken(4), left);
  const Held late = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{late});
  give_back({all[5], late, all[0], all[3], all[2]});
  come_back();
  EXPECT_TRUE(taken().empty());
}

// QEMU makes room for the queues that it offers; a driver may use less.
TEST_P(VhostUserInflightTest, AJournalMayBeLargerThanItsRing) {
  size_ = 32;
  ::close(file_);
  file_ = ask_for_file();
  start();
  const std::vector<Held> all = offer_some(2);
  EXPECT_EQ(wait_for_taken(2), all);
  give_back({all[1]});
  come_back();
  EXPECT_EQ(wait_for_taken(1), std::vector{all[0]});
}

TEST_P(VhostUserInflightTest, AFullRingIsTakenAgain) {
  start();
  for (int round = 0; round < 3; ++round) {
    std::vector<Held> all;
    while (driver_.free_descriptors() != 0) {
      all.push_back(driver_.free_descriptors() < 4 ? offer_one() : offer());
    }
    EXPECT_EQ(wait_for_taken(all.size()), all);
    come_back();
    EXPECT_EQ(wait_for_taken(all.size()), all);
    std::reverse(all.begin(), all.end());
    give_back(all);
  }
}

// The same again and again, so that indices wrap and heads are used again.
TEST_P(VhostUserInflightTest, EveryRequestIsAnsweredOnceHoweverOftenTheBackEndEnds) {
  start();
  std::vector<Held> out;
  std::uint32_t random = 1;
  for (int round = 0; round < 200 && !HasFailure(); ++round) {
    const auto next = [&random](std::uint32_t end) {
      random = random * 1664525 + 1013904223;
      return (random >> 16) % end;
    };
    std::vector<Held> offered;
    while (driver_.free_descriptors() > 4 && next(3) != 0) offered.push_back(offer());
    EXPECT_EQ(wait_for_taken(offered.size()), offered) << round;
    out.insert(out.end(), offered.begin(), offered.end());
    std::vector<Held> done;
    while (!out.empty() && next(4) != 0) {
      const auto it = out.begin() + static_cast<std::ptrdiff_t>(next(std::uint32_t(out.size())));
      done.push_back(*it);
      out.erase(it);
    }
    orders_.stage = next(2) != 0;
    give_back(done);
    if (next(4) != 0) continue;
    says_base_ = next(2) != 0;
    come_back();
    EXPECT_EQ(wait_for_taken(out.size()), out) << round;
  }
}

TEST_P(VhostUserInflightTest, WhatIsTakenAgainInterruptsAsItWouldHave) {
  start();
  const std::vector<Held> all = offer_some(3);
  EXPECT_EQ(wait_for_taken(3), all);
  come_back();
  EXPECT_EQ(wait_for_taken(3), all);
  take_event(front_.call);  // that of the start
  driver_.want_interrupt(is_packed() ? 3 : 2);
  order({all[0]});  // of one descriptor
  take_used({all[0]});
  front_.join();
  const bool by_event = (features() & kFeatureRingEventIdx) != 0;
  EXPECT_EQ(take_event(front_.call), by_event ? 0u : 1u);
  order({all[1]});  // of two
  take_used({all[1]});
  front_.join();
  EXPECT_EQ(take_event(front_.call), 1u);
}

TEST_P(VhostUserInflightTest, ADriverThatResetsTheDeviceIsGivenNothingBack) {
  start();
  offer();
  wait_for_taken(1);
  ASSERT_TRUE(front_.ask(Request::kResetDevice, {}));
  driver_.clear();
  ASSERT_TRUE(front_.ask(Request::kSetFeatures, {features() | internal::kVhostFeatureProtocol}));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_TRUE(taken().empty());
  const Held fresh = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{fresh});
}

// A front end that has stopped a ring knows where it stands.
TEST_P(VhostUserInflightTest, ARingThatWasStoppedBeginsWhereTheFrontEndSays) {
  start();
  const std::vector<Held> all = offer_some(5);
  EXPECT_EQ(wait_for_taken(5), all);
  give_back(all);
  auto base = front_.stop_ring(0);
  ASSERT_TRUE(base);
  ASSERT_TRUE(front_.ask(Request::kSetVringBase, {pair_of(0, *base)}));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  const Held next = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{next});
  give_back({next});
  ASSERT_TRUE(front_.stop_ring(0));
  driver_.clear();
  ASSERT_TRUE(front_.ask(Request::kSetVringBase, {pair_of(0, is_packed() ? 0x8000'8000 : 0)}));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  const Held first = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{first});
  come_back();
  EXPECT_EQ(wait_for_taken(1), std::vector{first});
  give_back({first});
}

TEST_P(VhostUserInflightTest, JournalsFullOfRubbishAreSurvived) {
  start();
  for (int fill = 0; fill < 256; fill += 15) {
    front_.disconnect();
    std::vector<std::byte> rubbish(bytes_, static_cast<std::byte>(fill));
    const std::array<std::uint16_t, 2> head{1, 16};  // known, all the same
    std::memcpy(&rubbish[8], head.data(), sizeof head);
    put_journal(rubbish);
    driver_.clear();
    connect();
    EXPECT_TRUE(taken().empty()) << fill;  // its driver has offered nothing
  }
  front_.disconnect();
  put_journal(std::vector<std::byte>(bytes_));
  driver_.clear();
  connect();
  taken();
  const Held it = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{it});
}

TEST_P(VhostUserInflightTest, BadJournalsAreRefused) {
  const int event = make_event();
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 0), {file_}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 64, 16), {file_}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_ + 4096, 1, 16), {file_}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 16), {event}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 16)));
  start();
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 16), {file_}));
  ::close(event);
}

INSTANTIATE_TEST_SUITE_P(Forms, VhostUserInflightTest,
                         testing::Values(0, kFeatureRingEventIdx, kFeatureRingPacked,
                                         kFeatureRingPacked | kFeatureRingEventIdx));

class VhostUserInflightInOrderTest : public VhostUserInflight {};

TEST_P(VhostUserInflightInOrderTest, WhatCameBackTooEarlyIsTakenAgain) {
  start();
  const std::vector<Held> all = offer_some(5);
  EXPECT_EQ(wait_for_taken(5), all);
  order({all[3], all[1], all[0]});
  take_used({all[0], all[1]});
  come_back();
  const std::vector<Held> left{all[2], all[3], all[4]};
  EXPECT_EQ(wait_for_taken(3), left);
  order({all[4], all[3], all[2]});
  take_used(left);
  come_back();
  EXPECT_TRUE(taken().empty());
}

TEST_P(VhostUserInflightInOrderTest, EveryRequestIsAnsweredOnceHoweverOftenTheBackEndEnds) {
  start();
  std::vector<Held> out;
  std::minstd_rand random(7);
  const auto next = [&random](std::size_t end) { return (random() >> 8) % end; };
  for (int round = 0; round < 100 && !HasFailure(); ++round) {
    std::vector<Held> offered;
    while (driver_.free_descriptors() > 4 && next(3) != 0) offered.push_back(offer());
    EXPECT_EQ(wait_for_taken(offered.size()), offered) << round;
    out.insert(out.end(), offered.begin(), offered.end());
    const auto end = out.begin() + static_cast<std::ptrdiff_t>(next(out.size() + 1));
    const std::vector<Held> done(out.begin(), end);
    out.erase(out.begin(), end);
    std::vector<Held> mixed = done;
    std::shuffle(mixed.begin(), mixed.end(), random);
    orders_.stage = next(2) != 0;
    driver_.want_interrupt();
    order(mixed);
    take_used(done);
    if (next(3) == 0) continue;
    says_base_ = next(2) != 0;
    come_back();
    EXPECT_EQ(wait_for_taken(out.size()), out) << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, VhostUserInflightInOrderTest,
                         testing::Values(kFeatureInOrder, kFeatureInOrder | kFeatureRingPacked,
                                         kFeatureInOrder | kFeatureRingPacked |
                                             kFeatureRingEventIdx));

// As where the back end ends between the driver's index and the note of it.
using VhostUserInflightSplitTest = VhostUserInflight;

TEST_P(VhostUserInflightSplitTest, WhatTheDriverSeesUsedIsNotTakenAgain) {
  start();
  const std::vector<Held> all = offer_some(3);
  EXPECT_EQ(wait_for_taken(3), all);
  const std::vector<std::byte> before = journal();
  give_back({all[2], all[0]});
  front_.disconnect();
  std::vector<std::byte> now = journal();
  std::copy_n(before.begin() + 14, 2, now.begin() + 14);  // the index
  for (std::size_t at = 16; at < now.size(); at += 16) now[at] = before[at];
  put_journal(now);
  connect();
  EXPECT_EQ(wait_for_taken(1), std::vector{all[1]});
}

INSTANTIATE_TEST_SUITE_P(Split, VhostUserInflightSplitTest, testing::Values(0));

}  // namespace
}  // namespace vm_device
