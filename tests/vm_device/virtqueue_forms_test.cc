// What both forms of a virtqueue have in common, and what drivers of either may do to break it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "tests/support/failing_allocations.h"
#include "tests/vm_device/ring_driver.h"
#include "tests/vm_device/ring_path.h"
#include "vm_device/virtqueue.h"

namespace vm_device {
namespace {

using vm_test::allocations_left;

constexpr std::uint64_t kBuffer = kRamBase + 0x2'0000;
constexpr RawDescriptor kAnswer{kBuffer, 64, kWrite, 0};

// What breaks either form, and that a reset mends it.
struct Malformed {
  const char* name;
  VirtqueueError error;
  std::function<void(RingDriver&)> offer;
  std::uint64_t features = kFeatureRingIndirect;
};

std::vector<Malformed> malformed() {
  using E = VirtqueueError;
  const auto one = [](RawDescriptor it) { return [it](RingDriver& ring) { ring.offer({it}); }; };
  const auto two = [](RawDescriptor a, RawDescriptor b) {
    return [a, b](RingDriver& ring) { ring.offer({a, b}); };
  };
  const std::uint32_t too_long = 16 * (kMaxIndirectDescriptors + 1);
  return {
      {"read behind write", E::kReadAfterWrite, two(kAnswer, {kBuffer, 4, 0, 0})},
      {"read behind reads and write", E::kReadAfterWrite,
       [](RingDriver& ring) {
         const RawDescriptor read{kBuffer, 4, 0, 0};
         ring.offer({read, read, read, kAnswer, read});
       }},
      {"read behind empty write", E::kReadAfterWrite,
       two({kBuffer, 0, kWrite, 0}, {kBuffer, 4, 0, 0})},
      {"read behind write in a table", E::kReadAfterWrite,
       [](RingDriver& ring) {
         ring.offer({kAnswer, {kBuffer, 4, 0, 0}}, Layout::kInTable);
       }},
      {"wraps", E::kAddressWrap, one({UINT64_MAX - 2, 4, 0, 0})},
      {"wraps in a table", E::kAddressWrap,
       [](RingDriver& ring) {
         ring.offer({{UINT64_MAX, 4, 0, 0}}, Layout::kInTable);
       }},
      {"table not negotiated", E::kIndirectNotNegotiated, one({kBuffer, 16, kIndirect, 0}), 0},
      {"table with next", E::kIndirectWithNext, two({kBuffer, 16, kIndirect, 0}, kAnswer)},
      {"empty table", E::kIndirectBadLength, one({kBuffer, 0, kIndirect, 0})},
      {"table of half descriptors", E::kIndirectBadLength, one({kBuffer, 24, kIndirect, 0})},
      {"long table", E::kIndirectTooLong, one({kBuffer, too_long, kIndirect, 0})},
      {"table of 256 MiB", E::kIndirectTooLong, one({kBuffer, 1u << 28, kIndirect, 0})},
      {"table past RAM", E::kIndirectUnreachable, one({kRamEnd - 16, 32, kIndirect, 0})},
      {"table nowhere", E::kIndirectUnreachable, one({0x1000, 16, kIndirect, 0})},
      {"table that wraps", E::kAddressWrap, one({UINT64_MAX - 15, 32, kIndirect, 0})},
  };
}

class EitherFormTest : public testing::TestWithParam<std::tuple<RingPath, std::uint64_t>>,
                       protected QueueOnPath {
 protected:
  EitherFormTest() : QueueOnPath(std::get<0>(GetParam()), 64) {}

  RingDriver start(std::uint64_t features = kFeatureRingIndirect) {
    RingDriver ring(guest, kRamBase, 8, features | std::get<1>(GetParam()));
    EXPECT_EQ(queue.enable(ring.config()), VirtqueueError::kNone);
    return ring;
  }
  void expect_a_good_request_works() {
    queue.reset();
    RingDriver ring = start();
    const std::uint16_t id = ring.offer({{kBuffer, 16, 0, 0}, kAnswer});
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    ASSERT_EQ(queue.push(chain, 1), VirtqueueError::kNone);
    EXPECT_EQ(ring.take_used(), (UsedEntry{id, 1}));
  }
};

std::string form_and_path_name(
    const testing::TestParamInfo<std::tuple<RingPath, std::uint64_t>>& given) {
  return std::string(std::get<1>(given.param) == 0 ? "split" : "packed") +
         (std::get<0>(given.param) == RingPath::kDma ? "_dma" : "_direct");
}

INSTANTIATE_TEST_SUITE_P(EachFormAndPath, EitherFormTest,
                         testing::Combine(testing::Values(RingPath::kDma, RingPath::kDirect),
                                          testing::Values(std::uint64_t{0}, kFeatureRingPacked)),
                         form_and_path_name);

TEST_P(EitherFormTest, AMalformedRequestStopsTheQueueUntilReset) {
  for (const Malformed& bad : malformed()) {
    RingDriver ring = start(bad.features);
    bad.offer(ring);
    EXPECT_EQ(queue.pop(chain), PopStatus::kError) << bad.name;
    EXPECT_EQ(virtqueue_error_name(queue.error()), virtqueue_error_name(bad.error)) << bad.name;
    ring.clear();
    EXPECT_EQ(queue.pop(chain), PopStatus::kError) << bad.name;
    EXPECT_TRUE(chain.readable().empty() && chain.writable().empty()) << bad.name;
    EXPECT_EQ(chain.readable_bytes() + chain.writable_bytes(), 0u) << bad.name;
    EXPECT_EQ(queue.push(chain, 0), bad.error) << bad.name;
    EXPECT_FALSE(ring.has_used() || queue.wants_interrupt() || queue.resume_notifications());
    expect_a_good_request_works();
  }
}

TEST_P(EitherFormTest, OddRequestsThatAreLegalWork) {
  RingDriver ring = start();
  ring.offer({{kBuffer, 0, 0, 0}, {kRamEnd - 16, 16, 0, 0}, {0, 0, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 16u);
  EXPECT_TRUE(chain.writable().empty());
  ring.offer(
      {{kBuffer, UINT32_MAX, 0, 0}, {kBuffer, UINT32_MAX, kWrite, 0}, {0, UINT32_MAX, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), UINT32_MAX);
  EXPECT_EQ(chain.writable_bytes(), 2 * std::uint64_t{UINT32_MAX});
}

TEST_P(EitherFormTest, AFewBuffersOfEitherKindAreTakenWhereverTheyLie) {
  constexpr std::uint16_t kMost = 6;
  RingDriver ring(guest, kRamBase, 16, std::get<1>(GetParam()));
  ASSERT_EQ(queue.enable(ring.config()), VirtqueueError::kNone);
  const auto buffer = [](std::uint64_t i, std::uint16_t flags) {
    return RawDescriptor{kBuffer + 0x100 * i, static_cast<std::uint32_t>(10 + i), flags, 0};
  };
  const auto expect_buffers = [&](std::span<const DmaSegment> segments, std::uint64_t first) {
    for (std::uint64_t i = first; const DmaSegment& segment : segments) {
      const RawDescriptor it = buffer(i++, 0);
      EXPECT_EQ(segment.address, it.address);
      EXPECT_EQ(segment.bytes, it.bytes);
    }
  };
  DescriptorChain none;
  for (unsigned round = 0; round < 16 * kMost * kMost; ++round) {
    const unsigned buffers = round % kMost + 1;
    const unsigned readable = round / kMost % (buffers + 1);
    std::vector<RawDescriptor> request;
    for (unsigned i = 0; i < buffers; ++i) request.push_back(buffer(i, i < readable ? 0 : kWrite));
    const std::uint16_t id = ring.offer(request);
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain) << "round " << round;
    ASSERT_EQ(chain.head(), id);
    ASSERT_EQ(chain.readable().size(), readable);
    ASSERT_EQ(chain.writable().size(), buffers - readable);
    expect_buffers(chain.readable(), 0);
    expect_buffers(chain.writable(), readable);
    EXPECT_EQ(chain.readable_bytes(), 10 * readable + readable * (readable - 1) / 2);
    EXPECT_EQ(chain.readable_bytes() + chain.writable_bytes(),
              10 * buffers + buffers * (buffers - 1) / 2);
    EXPECT_EQ(queue.pop(none), PopStatus::kEmpty);
    ASSERT_EQ(queue.push(chain, round), VirtqueueError::kNone);
    ASSERT_EQ(ring.take_used(), (UsedEntry{id, round}));
    EXPECT_TRUE(queue.is_idle());
  }
}

TEST_P(EitherFormTest, ARingThatIsWhollyOutComesBackInAnyOrder) {
  constexpr std::uint16_t kSize = 16;
  RingDriver ring(guest, kRamBase, kSize, std::get<1>(GetParam()));
  ASSERT_EQ(queue.enable(ring.config()), VirtqueueError::kNone);
  for (const unsigned buffers : {3u, 1u, 2u, 4u, 1u, 3u}) {
    std::vector<DescriptorChain> chains;
    while (ring.free_descriptors() != 0) {
      const unsigned count = std::min<unsigned>(buffers, ring.free_descriptors());
      ring.offer(std::vector<RawDescriptor>(count, kAnswer));
      ASSERT_EQ(queue.pop(chains.emplace_back()), PopStatus::kChain);
    }
    EXPECT_EQ(queue.pop(chain), PopStatus::kEmpty);
    for (auto it = chains.rbegin(); it != chains.rend(); ++it) {
      EXPECT_FALSE(queue.is_idle());
      ASSERT_EQ(queue.push(*it, 5), VirtqueueError::kNone);
      ASSERT_EQ(ring.take_used(), (UsedEntry{it->head(), 5}));
    }
    EXPECT_TRUE(queue.is_idle());
    // None is out: nothing can be pushed again.
    ASSERT_EQ(queue.push(chains.front(), 5), VirtqueueError::kNone);
    EXPECT_FALSE(ring.has_used());
  }
}

TEST_P(EitherFormTest, BuffersMayEndWhereAddressesEnd) {
  RingDriver ring = start();
  ring.offer({{UINT64_MAX - 3, 4, 0, 0}, {UINT64_MAX, 1, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(chain.readable_bytes(), 4u);
  EXPECT_EQ(chain.writable_bytes(), 1u);
  EXPECT_FALSE(dma.write(chain.writable(), std::vector<std::byte>(1)).ok());
  ring.offer({{UINT64_MAX - 15, 16, kIndirect, 0}});
  EXPECT_EQ(queue.pop(chain), PopStatus::kError);
  EXPECT_EQ(queue.error(), VirtqueueError::kIndirectUnreachable);
}

TEST_P(EitherFormTest, RingsMayEndWhereAddressesEnd) {
  VirtqueueConfig config = start().config();
  config.descriptor_table = UINT64_MAX - 16 * 8 + 1;
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  config.descriptor_table += 16;
  EXPECT_EQ(queue.enable(config), VirtqueueError::kRingUnreachable);
}

TEST_P(EitherFormTest, AnAnswerFromBeforeAResetIsLeftOut) {
  start().offer({kAnswer});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  RingDriver ring = start();
  const VirtqueueState fresh = queue.state();
  ring.offer({kAnswer});
  DescriptorChain other;
  ASSERT_EQ(queue.pop(other), PopStatus::kChain);
  EXPECT_EQ(queue.push(chain, 5), VirtqueueError::kNone);
  EXPECT_EQ(queue.push(DescriptorChain(), 5), VirtqueueError::kNone);
  EXPECT_FALSE(ring.has_used());
  EXPECT_EQ(queue.state().next_used, fresh.next_used);
}

TEST_P(EitherFormTest, AnAnswerToAnotherQueueIsLeftOut) {
  for (const std::uint64_t order : {std::uint64_t{0}, kFeatureInOrder}) {
    Virtqueue small(dma, 8);
    RingDriver others(guest, kRamBase + 0x1'0000, 2, order | std::get<1>(GetParam()));
    ASSERT_EQ(small.enable(others.config()), VirtqueueError::kNone);
    RingDriver ring = start(order);
    others.offer({kAnswer});
    DescriptorChain theirs;
    ASSERT_EQ(small.pop(theirs), PopStatus::kChain);
    for (int i = 0; i < 8; ++i) {
      ring.offer({kAnswer});
      ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    }
    EXPECT_EQ(small.push(chain, 64), VirtqueueError::kNone);
    EXPECT_FALSE(others.has_used());
    EXPECT_FALSE(small.is_idle());
    EXPECT_EQ(small.push(theirs, 64), VirtqueueError::kNone);
    EXPECT_TRUE(others.has_used());
  }
}

TEST_P(EitherFormTest, WhatIsPushedTwiceIsUsedOnce) {
  RingDriver ring = start();
  for (int i = 0; i < 3; ++i) {
    const std::uint16_t id = ring.offer({kAnswer});
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    EXPECT_EQ(queue.push(chain, 1), VirtqueueError::kNone);
    const VirtqueueState state = queue.state();
    EXPECT_EQ(queue.push(chain, 2), VirtqueueError::kNone);
    EXPECT_EQ(queue.state(), state);
    EXPECT_EQ(ring.take_used(), (UsedEntry{id, 1}));
    EXPECT_FALSE(ring.has_used());
  }
}

TEST_P(EitherFormTest, WithoutMemoryTheQueueStopsAndAResetMends) {
  RingDriver ring = start(kFeatureRingIndirect | kFeatureInOrder);
  for (int failing = 0; failing < 2; ++failing) {
    Virtqueue fresh(dma, 64);
    const VirtqueueConfig config = ring.config();
    allocations_left = failing;
    const VirtqueueError refused = fresh.enable(config);
    allocations_left = -1;
    EXPECT_EQ(refused, VirtqueueError::kNoMemory) << failing;
    EXPECT_FALSE(fresh.is_enabled());
    EXPECT_EQ(fresh.enable(config), VirtqueueError::kNone);
  }
  ring.offer({kAnswer});
  allocations_left = 0;
  const PopStatus status = queue.pop(chain);
  allocations_left = -1;
  EXPECT_EQ(status, PopStatus::kError);
  EXPECT_EQ(queue.error(), VirtqueueError::kNoMemory);
  expect_a_good_request_works();
}

TEST_P(EitherFormTest, AnAnswerOverTheRingsItselfBreaksNothingElse) {
  RingDriver ring = start();
  ring.offer({{kRamBase, 0x8000, kWrite, 0}});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  const std::vector<std::byte> noise(0x8000, std::byte{0xa5});
  ASSERT_TRUE(dma.write(chain.writable(), noise).ok());
  EXPECT_EQ(queue.push(chain, 0x8000), VirtqueueError::kNone);
  queue.wants_interrupt();
  for (int i = 0; i < 100 && queue.pop(chain) == PopStatus::kChain; ++i) queue.push(chain, 1);
  expect_a_good_request_works();
}

TEST_P(EitherFormTest, RingsHalfInAHoleStopTheQueueThere) {
  RingDriver ring = start();
  VirtqueueConfig config = ring.config();
  config.descriptor_table = kRamEnd - 4 * 16;
  config.size = 8;
  guest.put_bytes(config.descriptor_table, std::vector<std::byte>(64));
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  const bool packed = ring.is_packed();
  for (std::uint16_t i = 0; i < 8; ++i) {
    const std::uint64_t at = config.descriptor_table + 16 * i;
    if (i < 4) guest.put(at + 12, packed ? 0x0080'0000u | i : 0u);
    guest.put(config.driver_area + 4 + 2 * i, i);
  }
  if (!packed) guest.put(config.driver_area + 2, std::uint16_t{8});
  for (int i = 0; i < 4; ++i) ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.pop(chain), PopStatus::kError);
  EXPECT_EQ(queue.error(), VirtqueueError::kRingUnreachable);
  expect_a_good_request_works();
}

TEST_P(EitherFormTest, RingsFollowTheMemoryMap) {
  const std::uint64_t base = kRamEnd + 0x10'0000;
  const auto id = guest.memory->add_ram(guest_range(base, 0x10'0000));
  ASSERT_TRUE(id.ok());
  RingDriver ring(guest, base, 8, std::get<1>(GetParam()));
  ASSERT_EQ(queue.enable(ring.config()), VirtqueueError::kNone);
  ring.offer({kAnswer});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  const VirtqueueState state = queue.state();
  reader.park();
  ASSERT_TRUE(guest.memory->remove_region(*id, vm_mem::RemovePolicy::kWait).ok());
  EXPECT_EQ(queue.push(chain, 1), VirtqueueError::kRingUnreachable);
  ASSERT_TRUE(guest.memory->add_ram(guest_range(base, 0x10'0000)).ok());
  ring.clear();
  VirtqueueConfig config = ring.config();
  ASSERT_EQ(queue.enable(config), VirtqueueError::kNone);
  const std::uint16_t id_again = ring.offer({kAnswer});
  ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
  EXPECT_EQ(queue.state().next_available, state.next_available);
  ASSERT_EQ(queue.push(chain, 1), VirtqueueError::kNone);
  EXPECT_EQ(ring.take_used(), (UsedEntry{id_again, 1}));
}

TEST_P(EitherFormTest, WhatTheDeviceWritesOfTheRingsIsMarkedDirty) {
  const std::uint64_t base = kRamEnd + 0x10'0000;
  const auto id = guest.memory->add_ram(guest_range(base, 0x10'0000),
                                        {.dirty_tracking = vm_mem::DirtyTracking::kOn});
  ASSERT_TRUE(id.ok());
  const auto client = guest.memory->add_dirty_client("test", vm_mem::DirtyStart::kClean);
  ASSERT_TRUE(client.ok());
  RingDriver ring(guest, base, 8, std::get<1>(GetParam()));
  ASSERT_EQ(queue.enable(ring.config()), VirtqueueError::kNone);
  vm_mem::DirtyPages pages;
  for (int i = 0; i < 3; ++i) {
    ring.offer({kAnswer});
    ASSERT_EQ(queue.pop(chain), PopStatus::kChain);
    ASSERT_TRUE(guest.memory->harvest_dirty(*client, *id, pages).ok());
    ASSERT_EQ(queue.push(chain, 1), VirtqueueError::kNone);
    ASSERT_TRUE(guest.memory->harvest_dirty(*client, *id, pages).ok());
    const std::uint64_t page = ring.is_packed() ? 0 : 6;
    EXPECT_EQ(pages.page_count(), 1u);
    EXPECT_TRUE(pages.is_dirty(page));
    ring.take_used();
  }
}

TEST(VirtqueueErrorTest, EveryErrorHasANameOfItsOwn) {
  std::set<std::string> names;
  int count = 0;
  for (auto error = VirtqueueError::kNone; error <= VirtqueueError::kNoMemory;
       error = static_cast<VirtqueueError>(static_cast<int>(error) + 1), ++count) {
    names.insert(std::string(virtqueue_error_name(error)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(count));
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace vm_device
