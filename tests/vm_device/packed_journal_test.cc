// The journal of a packed ring: states in which a back end may leave it, and rubbish. The states
// are made here, in the order of the protocol; what order the stores are in is not seen.

#include <sys/mman.h>

#include <random>

#include "tests/vm_device/vhost_user_inflight.h"
#include "vm_device/internal/packed_journal.h"

namespace vm_device {
namespace {

using internal::Descriptor;
using internal::ForeignBytes;
using internal::OwnedFd;
using internal::PackedJournal;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kHeads = 12;  // of free entries: as it is, as it was
constexpr std::size_t kUsed = 16;   // as it is, as it was, 2 bytes each; then both wrap counters
constexpr std::size_t kEntries = 32;
constexpr std::size_t kEntryBytes = 32;

// A journal on its way from one state to another.
class Between {
 public:
  Between(const Bytes& from, const Bytes& to) : now_(from), to_(to) {}
  void move(std::size_t at, std::size_t bytes) {
    std::copy_n(&to_[at], bytes, &now_[at]);
    steps_.push_back(now_);
  }
  void move_of_each_entry(std::size_t at, std::size_t bytes) {
    for (std::size_t i = kEntries; i + kEntryBytes <= to_.size(); i += kEntryBytes) {
      std::copy_n(&to_[i + at], bytes, &now_[i + at]);
    }
    steps_.push_back(now_);
  }
  void move_used(std::size_t at) {
    std::copy_n(&to_[kUsed + 2 * at], 2, &now_[kUsed + 2 * at]);
    std::copy_n(&to_[kUsed + 4 + at], 1, &now_[kUsed + 4 + at]);
    steps_.push_back(now_);
  }
  const std::vector<Bytes>& steps() const { return steps_; }

 private:
  Bytes now_;
  const Bytes& to_;
  std::vector<Bytes> steps_;
};

class VhostUserInflightPackedTest : public VhostUserInflight {
 protected:
  Bytes ring() { return front_.guest.bytes(kRing, kRingBytes); }
  void end_with(const Bytes& bytes) {
    front_.disconnect();
    put_journal(bytes);
  }
  static std::vector<Held> without(std::vector<Held> from, const Held& it) {
    std::erase(from, it);
    return from;
  }
  std::vector<Held> fill() {
    std::vector<Held> all;
    while (driver_.free_descriptors() >= 3) all.push_back(offer());
    while (driver_.free_descriptors() != 0) all.push_back(offer_one());
    return all;
  }
};

TEST_P(VhostUserInflightPackedTest, ARequestIsTakenOnceInEachStateOfTakingIt) {
  start();
  std::vector<Held> out;
  for (int round = 0; round < 12 && !HasFailure(); ++round) {
    const Bytes before = journal();
    out.push_back(offer());
    EXPECT_EQ(wait_for_taken(1), std::vector{out.back()});
    const Bytes after = journal();
    Between taking(before, after);
    taking.move_of_each_entry(16, 16);
    taking.move_of_each_entry(0, 16);
    taking.move(kHeads, 4);
    for (const Bytes& step : taking.steps()) {
      end_with(step);
      connect();
      EXPECT_EQ(wait_for_taken(out.size()), out) << round;
    }
    if (driver_.free_descriptors() > 3) continue;
    give_back({out[2], out[0], out[1]});
    out.erase(out.begin(), out.begin() + 3);
  }
}

TEST_P(VhostUserInflightPackedTest, ARequestIsAnsweredOnceInEachStateOfGivingItBack) {
  start();
  std::vector<Held> out = fill();
  EXPECT_EQ(wait_for_taken(out.size()), out);
  for (std::size_t round = 0; round < 24 && !HasFailure(); ++round) {
    const Held done = out[round * 5 % out.size()];
    const Bytes journal_before = journal();
    const Bytes ring_before = ring();
    order({done});
    ASSERT_TRUE(wait_for_used());
    front_.join();
    const Bytes journal_after = journal();
    const Bytes ring_after = ring();

    Between unseen(journal_before, journal_after);
    unseen.move_of_each_entry(2, 2);
    unseen.move(kHeads, 2);
    unseen.move_used(0);
    for (const Bytes& step : unseen.steps()) {
      end_with(step);
      front_.guest.put_bytes(kRing, ring_before);
      connect();
      EXPECT_EQ(wait_for_taken(out.size()), out) << round;
      EXPECT_FALSE(driver_.has_used());
    }
    Between seen(unseen.steps().back(), journal_after);
    seen.move(kHeads, 0);
    seen.move_of_each_entry(0, 1);
    seen.move(kHeads, 4);
    seen.move_used(1);
    out = without(out, done);
    for (const Bytes& step : seen.steps()) {
      end_with(step);
      front_.guest.put_bytes(kRing, ring_after);
      connect();
      EXPECT_EQ(wait_for_taken(out.size()), out) << round;
    }
    // The ring was full, so that the next lap begins in the very descriptor.
    end_with(seen.steps()[round % seen.steps().size()]);
    take_used({done});
    const std::vector<Held> more = fill();
    out.insert(out.end(), more.begin(), more.end());
    connect();
    EXPECT_EQ(wait_for_taken(out.size()), out) << round;
  }
  give_back(out);
}

// The field of the first entry, which the only request has.
TEST_P(VhostUserInflightPackedTest, ARubbishJournalIsAnErrorOfItsRing) {
  struct Case {
    std::size_t at;
    std::uint16_t value;
  };
  constexpr std::uint16_t kBeyond = 0x4321;
  const std::vector<Case> cases{{kEntries + 6, 0},           {kEntries + 6, kBeyond},
                                {kEntries + 2, kBeyond},     {kEntries + 4, kBeyond},
                                {kEntries + 16 + 2, 0},      {kEntries + 32 + 16, kBeyond},
                                {kHeads + 4, kBeyond},       {kHeads + 6, kBeyond},
                                {kEntries + 30, UINT16_MAX}, {kEntries + 5 * 32 + 2, 2}};
  for (const Case& it : cases) {
    start();
    const Held done = offer_one();  // at the beginning the ring itself would have what is noted
    EXPECT_EQ(wait_for_taken(1), std::vector{done});
    give_back({done});
    const Held request = offer(2, Layout::kInRing);
    EXPECT_EQ(wait_for_taken(1), std::vector{request});
    Bytes bytes = journal();
    std::memcpy(&bytes[it.at], &it.value, sizeof it.value);
    if (it.at == kEntries + 30) std::memset(&bytes[kEntries + 24], 0xff, 8);  // all of the address
    end_with(bytes);
    take_event(front_.error);
    connect();
    EXPECT_TRUE(taken().empty()) << it.at;
    EXPECT_TRUE(wait_for(front_.error)) << it.at;
    // Until its driver begins anew.
    ASSERT_TRUE(front_.ask(Request::kResetDevice, {}));
    driver_.clear();
    ASSERT_TRUE(front_.start_ring(0, driver_.config()));
    const Held fresh = offer();
    EXPECT_EQ(wait_for_taken(1), std::vector{fresh}) << it.at;
    give_back({fresh});
    ASSERT_TRUE(front_.ask(Request::kResetDevice, {}));
    driver_.clear();
    front_.disconnect();
    front_.connect();
    front_.negotiate(features());
  }
}

INSTANTIATE_TEST_SUITE_P(Packed, VhostUserInflightPackedTest,
                         testing::Values(kFeatureRingPacked,
                                         kFeatureRingPacked | kFeatureRingEventIdx));

class PackedJournalTest : public testing::Test {
 protected:
  static constexpr std::uint16_t kSize = 16;
  static constexpr std::uint16_t kUsedFlags = 0x8080;  // in odd laps

  PackedJournalTest() {
    OwnedFd file(::memfd_create("journal", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(file.get(), 4096), 0);
    bytes_ = ForeignBytes::map(file, 0, PackedJournal::bytes_for(kSize)).value();
    journal_.emplace(*bytes_, 0, kSize);
  }
  Bytes shared() const {
    Bytes out(bytes_->bytes());
    EXPECT_TRUE(bytes_->memory().read(vm_mem::GuestAddress{0}, out).ok());
    return out;
  }
  void share(const Bytes& from) {
    EXPECT_TRUE(bytes_->memory().write(vm_mem::GuestAddress{0}, from).ok());
  }
  std::optional<std::uint16_t> open(std::uint16_t flags = 0) {
    return journal_->open({.size = kSize,
                           .used = 0x8000,
                           .has_stopped_here = false,
                           .descriptor = [flags](std::uint16_t) {
                             return std::optional<Descriptor>(
                                 {.address = 0, .bytes = 0, .rest = std::uint32_t{flags} << 16});
                           }});
  }
  std::uint16_t take(std::uint32_t count) {
    journal_->begin();
    for (std::uint32_t i = 1; i <= count; ++i) {
      journal_->add(
          {.address = i, .bytes = i, .rest = i == count ? 0 : std::uint32_t{kNext} << 16});
    }
    return journal_->take();
  }
  void give_back(std::uint16_t entry, std::uint16_t used) {
    journal_->giving_back(entry, used);
    journal_->given_back(entry);
  }

  std::unique_ptr<ForeignBytes> bytes_;
  std::optional<PackedJournal> journal_;
};

// DPDK's layout, which other back ends may find.
TEST_F(PackedJournalTest, TheLayoutIsThatOfTheProtocol) {
  ASSERT_EQ(open(), 0x8000);
  EXPECT_EQ(PackedJournal::bytes_for(kSize), 576u);
  EXPECT_EQ(take(2), 0);
  EXPECT_EQ(take(1), 2);
  give_back(0, 0x8002);
  const Bytes now = shared();
  const auto word = [&](std::size_t at) {
    std::uint16_t value = 0;
    std::memcpy(&value, &now[at], sizeof value);
    return value;
  };
  EXPECT_EQ(word(8), 1);        // version
  EXPECT_EQ(word(10), kSize);   // desc_num
  EXPECT_EQ(word(12), 0);       // free_head
  EXPECT_EQ(word(14), 0);       // old_free_head
  EXPECT_EQ(word(16), 2);       // used_idx
  EXPECT_EQ(word(18), 2);       // old_used_idx
  EXPECT_EQ(word(20), 0x0101);  // used_wrap_counter, old_used_wrap_counter
  const std::size_t second = kEntries + 2 * kEntryBytes;
  EXPECT_EQ(word(second), 1);       // inflight
  EXPECT_EQ(word(second + 2), 3);   // next
  EXPECT_EQ(word(second + 4), 2);   // last
  EXPECT_EQ(word(second + 6), 1);   // num
  EXPECT_EQ(word(second + 8), 1);   // counter
  EXPECT_EQ(word(second + 20), 1);  // len
  EXPECT_EQ(word(second + 24), 1);  // addr
  EXPECT_EQ(word(kEntries), 0);
  EXPECT_EQ(word(kEntries + kEntryBytes + 2), 3);  // free: 0, 1, 3, ...
}

// Where taking it ended, the first entry says that it is taken; later it is another's second.
TEST_F(PackedJournalTest, WhatIsFreeIsNotTakenWhateverItSays) {
  ASSERT_TRUE(open());
  take(1);
  take(1);
  give_back(0, 0x8001);
  give_back(1, 0x8002);
  Bytes bytes = shared();
  bytes[kEntries] = std::byte{1};
  share(bytes);
  ASSERT_EQ(open(kUsedFlags), 0x8002);
  EXPECT_FALSE(journal_->begin_again());
  EXPECT_EQ(take(2), 1);
  ASSERT_EQ(open(kUsedFlags), 0x8002);
  ASSERT_TRUE(journal_->begin_again());
  EXPECT_EQ(journal_->take(), 1);
  EXPECT_FALSE(journal_->begin_again());
}

// Nothing that is in there leads out of it, and what is accepted can be worked with.
TEST_F(PackedJournalTest, RubbishIsRefusedOrMakesSense) {
  std::minstd_rand engine(7);
  const auto random = [&engine] { return static_cast<std::uint32_t>(engine() >> 4); };
  ASSERT_TRUE(open());
  std::vector<std::uint16_t> out;
  for (int i = 0; i < 5; ++i) out.push_back(take(static_cast<std::uint32_t>(i % 3 + 1)));
  give_back(out[1], 0x8002);
  journal_->giving_back(out[3], 0x8003);
  const Bytes good = shared();
  int accepted = 0;
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = good;
    for (std::uint32_t i = 0; i <= random() % 4; ++i) {
      const std::uint32_t at = 11 + random() % static_cast<std::uint32_t>(bytes.size() - 11);
      bytes[at] = static_cast<std::byte>(random() % 3 == 0 ? random() : random() % 20);
    }
    share(bytes);
    const auto used = open(static_cast<std::uint16_t>(random()));
    ++(used ? accepted : refused);
    if (!used) continue;
    ASSERT_LT(*used & 0x7fff, kSize);
    std::uint32_t descriptors = 0;
    std::vector<std::uint16_t> entries;
    while (journal_->begin_again()) {
      for (Descriptor it{}; journal_->next_again(it);) ++descriptors;
      entries.push_back(journal_->take());
    }
    ASSERT_LE(descriptors, kSize);
    for (; descriptors < kSize; ++descriptors) entries.push_back(take(1));
    for (const std::uint16_t it : entries) {
      ASSERT_LT(it, kSize);
      give_back(it, 0x8000);
    }
    ASSERT_EQ(take(kSize), entries.back());
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace vm_device
