#include "bench/vm_device/suite/dma_side.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "bench/vm_device/suite/dma_lists.h"
#include "bench/vm_device/suite/ring_driver.h"
#include "vm_device/virtqueue.h"

namespace vm_bench {
namespace {

class DmaSideTest : public testing::TestWithParam<std::pair<Form, Bus>> {
 protected:
  DmaSide side{GetParam().first, GetParam().second};
};

TEST_P(DmaSideTest, DmaReachesTheBytesThatTheHostSees) {
  for (const std::uint64_t guest : hot_addresses(4096, 4096, 1)) {
    std::array<std::byte, 4096> written;
    fill_pattern(written, static_cast<unsigned>(guest >> 12));
    ASSERT_TRUE(side.dma().write(side.bus_address(guest), written).ok());
    ASSERT_TRUE(std::ranges::equal(written, std::span(side.host(guest), written.size())));
  }
}

INSTANTIATE_TEST_SUITE_P(All, DmaSideTest,
                         testing::Values(std::pair(Form::kReader, Bus::kDirect),
                                         std::pair(Form::kReader, Bus::kIommu),
                                         std::pair(Form::kManager, Bus::kDirect),
                                         std::pair(Form::kManager, Bus::kIommu)));

TEST(DmaSideTest, BehindTheIommuNoTwoPagesAreOneRun) {
  const DmaSide side(Form::kReader, Bus::kIommu);
  const std::uint64_t first = side.bus_address(kHotOffset);
  EXPECT_NE(side.bus_address(kHotOffset + 4096), first + 4096);
  EXPECT_EQ(side.bus_address(kHotOffset + 4095), first + 4095);
}

TEST(DmaListsTest, NoPlaceIsTwiceInAList) {
  const auto segments = random_segments(3, 4096, 1);
  ASSERT_EQ(segments.size(), 3 * kListLength);
  for (std::size_t list = 0; list < 3; ++list) {
    std::set<std::uint64_t> places;
    for (std::size_t i = 0; i < kListLength; ++i) {
      const vm_device::DmaSegment& segment = segments[list * kListLength + i];
      EXPECT_EQ(segment.bytes, 4096U);
      EXPECT_EQ(segment.address % 4096, 0U);
      places.insert(segment.address);
    }
    EXPECT_EQ(places.size(), kListLength);
  }
}

template <class Driver>
class RingDriverTest : public testing::Test {};
using Drivers = testing::Types<SplitDriver, PackedDriver>;
TYPED_TEST_SUITE(RingDriverTest, Drivers);

TYPED_TEST(RingDriverTest, TheDeviceTakesEveryRequestThatIsOffered) {
  DmaSide side(Form::kReader, Bus::kDirect);
  TypeParam driver(side, 16);
  vm_device::Virtqueue queue(side.dma(), 16);
  ASSERT_EQ(queue.enable(driver.config()), vm_device::VirtqueueError::kNone);
  vm_device::DescriptorChain chain;
  for (int batch = 0; batch < 9; ++batch) {
    driver.offer(driver.most_requests());
    for (std::size_t i = 0; i < driver.most_requests(); ++i) {
      ASSERT_EQ(queue.pop(chain), vm_device::PopStatus::kChain);
      EXPECT_EQ(chain.readable_bytes(), 16U + 4096);
      EXPECT_EQ(chain.writable_bytes(), 1U);
      ASSERT_EQ(queue.push(chain, 1), vm_device::VirtqueueError::kNone);
    }
    EXPECT_EQ(queue.pop(chain), vm_device::PopStatus::kEmpty);
  }
}

}  // namespace
}  // namespace vm_bench
