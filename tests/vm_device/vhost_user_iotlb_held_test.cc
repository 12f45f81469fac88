// Pages that the front end takes away while requests use them.

#include <gtest/gtest.h>

#include <atomic>

#include "tests/vm_device/toy_device.h"
#include "tests/vm_device/vhost_user_translator.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kPage = Translator::kPage;
constexpr std::uint64_t kData = VhostDisk::kData;
constexpr std::uint64_t kRing = VhostDisk::kRing;
constexpr std::uint64_t kDevice = kRing + 0x6000;

// Keeps its request until it is told, and reaches for its buffer at the end: at bytes of the host's
// that it has had from the beginning, or by DMA.
class HoldingDevice final : public ToyDevice {
 public:
  struct Orders {
    bool maps = false;
    std::atomic<VirtioTransport*> transport{nullptr};
    std::atomic<bool> holds{false};
    std::atomic<bool> may_end{false};
  };
  explicit HoldingDevice(Orders& orders) : orders_(orders) {}

  void connect(VirtioTransport& transport) override { orders_.transport = &transport; }
  void notify(std::uint16_t index) override {
    Virtqueue& queue = transport_->queue(index);
    if (!orders_.holds && queue.pop(chain_) == PopStatus::kChain) {
      const DmaSegment& buffer = chain_.writable().front();
      if (orders_.maps) {
        mapping_ =
            transport_->dma().map(buffer.address, buffer.bytes, DmaDirection::kFromDevice).value();
      }
      orders_.holds = true;
    }
    if (!orders_.holds || !orders_.may_end) return;
    EXPECT_TRUE(fill());
    queue.push(chain_, 1);
    orders_.holds = false;
    transport_->signal_used(index);
  }

 private:
  bool fill() {
    constexpr std::byte kMark{0x5a};
    if (!orders_.maps) return transport_->dma().fill(chain_.writable(), kMark).ok();
    mapping_.bytes()[0] = kMark;
    return transport_->dma().unmap(mapping_).ok();
  }

  Orders& orders_;
  DescriptorChain chain_;
  DmaMapping mapping_;
};

struct Taken {
  std::uint64_t iova = 0;
  std::uint64_t bytes = 0;
  bool device_maps = false;
};

class VhostUserIotlbHeldTest : public testing::TestWithParam<Taken> {};

// Some of the buffer, all of it, the whole, or the ring itself.
TEST_P(VhostUserIotlbHeldTest, WhatIsInUseIsGivenUpWhenItIsNotAndFailsNoRequest) {
  const auto [iova, bytes, device_maps] = GetParam();
  HoldingDevice::Orders orders;
  orders.maps = device_maps;
  VhostFrontEnd front(std::make_unique<HoldingDevice>(orders), {.iommu = true});
  Translator bus(front);
  bus.start(kFeatureVersion1);
  RingDriver driver(front.guest, kRing, VhostFrontEnd::kSize, kFeatureVersion1);
  ASSERT_TRUE(front.start_ring(0, driver.config()));
  constexpr std::uint64_t kBefore = kData + 8 * kPage;
  orders.may_end = true;
  driver.offer({{kBefore, 16, kWrite, 0}});
  bus.answer();
  ASSERT_TRUE(driver.take_used());
  orders.may_end = false;
  driver.offer({{kData + 0x800, 2 * kPage, kWrite, 0}});
  front.kick_ring();
  bus.answer();
  ASSERT_TRUE(orders.holds);
  EXPECT_TRUE(bus.unmap(kBefore));
  EXPECT_TRUE(bus.unmap(kData - kPage, kPage));  // nobody's
  EXPECT_TRUE(bus.unmap(kData + 3 * kPage, 100 * kPage));
  EXPECT_TRUE(orders.holds);
  constexpr std::uint32_t kFlags = internal::kVhostUserVersion | internal::kVhostUserNeedReply;
  constexpr auto kMessage = static_cast<std::uint32_t>(Request::kIotlbMsg);
  front.socket->send(kMessage, kFlags, bytes_of({iova, bytes, 0, Translator::kInvalidate << 8}));
  EXPECT_FALSE(wait_for(front.socket->fd(), 20));
  EXPECT_TRUE(orders.holds);
  orders.may_end = true;
  orders.transport.load()->wake(0);
  const auto answer = front.socket->receive(kMessage);
  ASSERT_TRUE(answer);
  EXPECT_EQ(VhostFrontEnd::word(*answer), 0u);
  EXPECT_FALSE(orders.holds);
  EXPECT_EQ(front.guest.get<std::uint8_t>(kData + 0x800), 0x5a);
  EXPECT_TRUE(driver.take_used());
}

INSTANTIATE_TEST_SUITE_P(Pages, VhostUserIotlbHeldTest,
                         testing::Values(Taken{kData, kPage, true}, Taken{kData, kPage, false},
                                         Taken{kData + 2 * kPage, 1, false},
                                         Taken{kData + kPage, std::uint64_t{1} << 40, true},
                                         Taken{0, 0, true}, Taken{0, 0, false},
                                         Taken{kRing, kPage, true}, Taken{kDevice, kPage, false}));

}  // namespace
}  // namespace vm_device
