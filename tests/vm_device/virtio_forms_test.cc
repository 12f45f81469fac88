// Each device on rings of every form, with and without an IOMMU in front: none of them may
// notice.

#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "tests/vm_device/driver_registers.h"
#include "tests/vm_device/ring_driver.h"
#include "vm_device/net_loopback.h"
#include "vm_device/virtio_balloon.h"
#include "vm_device/virtio_console.h"
#include "vm_device/virtio_mmio.h"
#include "vm_device/virtio_net.h"
#include "vm_device/virtio_rng.h"

namespace vm_device {
namespace {

enum class Reach { kAll, kIommu };

struct Form {
  const char* name;
  std::uint64_t features;
  Reach reach;
};

constexpr std::uint64_t kPackedInOrder = kFeatureRingPacked | kFeatureInOrder;
constexpr Form kForms[] = {
    {"split", kFeatureRingEventIdx, Reach::kAll},
    {"split_iommu", kFeatureAccessPlatform, Reach::kIommu},
    {"split_in_order", kFeatureInOrder, Reach::kAll},
    {"packed", kFeatureRingPacked | kFeatureRingEventIdx, Reach::kAll},
    {"packed_iommu", kFeatureRingPacked | kFeatureAccessPlatform, Reach::kIommu},
    {"packed_in_order_iommu", kPackedInOrder | kFeatureAccessPlatform, Reach::kIommu},
};

// Where the IOMMU shows RAM: of the data, each two pages the other way round.
constexpr std::uint64_t kShown = 0x7'0000'0000;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kData = kRamBase + 0x8'0000;

class VirtioFormsTest : public testing::TestWithParam<Form> {
 protected:
  static constexpr std::uint16_t kQueueSize = 16;

  template <typename Device>
  Device& start(std::unique_ptr<Device> made, std::uint64_t features = 0) {
    Device& device = *made;
    const std::uint16_t queues = made->queue_count();
    put_into_slot(std::move(made));
    features |= GetParam().features | kFeatureVersion1;
    registers.negotiate(features);
    for (std::uint16_t i = 0; i < queues; ++i) {
      rings.emplace_back(guest, kRamBase + 0x1'0000 * std::uint64_t{i}, kQueueSize, features);
      VirtqueueConfig config = rings.back().config();
      config.descriptor_table = bus_address(config.descriptor_table);
      config.driver_area = bus_address(config.driver_area);
      config.device_area = bus_address(config.device_area);
      registers.set_up_queue(config, i);
    }
    registers.go();
    return device;
  }

  void put_into_slot(std::unique_ptr<VirtioDevice> made) {
    VirtioMmioOptions options;
    if (behind_iommu()) options = {.iommu = iommu.get(), .device = {1}};
    slot = std::make_unique<VirtioMmio>(*guest.memory, std::move(made), line, options);
    EXPECT_TRUE(guest.bus.attach(guest_range(kSlot, kVirtioMmioBytes), slot.get(), "it").ok());
  }
  // Saves the device, and goes on with another one.
  template <typename Device>
  Device& move_to(std::unique_ptr<Device> made) {
    Device& device = *made;
    StateWriter to;
    EXPECT_TRUE(slot->save(to).ok());
    EXPECT_TRUE(guest.bus.detach(slot.get()).ok());
    slot.reset();
    line.set(Level::kLow);
    put_into_slot(std::move(made));
    const std::vector<std::byte> bytes = std::move(to).take();
    StateReader from(bytes);
    const absl::Status status = slot->load(from);
    EXPECT_TRUE(status.ok()) << status;
    return device;
  }

  void SetUp() override {
    if (!behind_iommu()) return;
    iommu = Iommu::create({}).value();
    const IommuDomainId domain = iommu->create_domain().value();
    ASSERT_TRUE(iommu->add_device({1}).ok());
    ASSERT_TRUE(iommu->attach({1}, domain).ok());
    for (std::uint64_t at = 0; at < kRamBytes; at += kPage) {
      ASSERT_TRUE(iommu
                      ->map(domain, {shown_at(at), kPage}, vm_mem::GuestAddress{kRamBase + at},
                            DmaAccess::kReadWrite)
                      .ok());
    }
  }
  void TearDown() override {
    if (slot != nullptr) {
      EXPECT_FALSE(registers.needs_reset());
      EXPECT_TRUE(guest.bus.detach(slot.get()).ok());
    }
    if (iommu == nullptr) return;
    std::array<IommuFault, 1> fault;
    EXPECT_EQ(iommu->poll_faults(fault), 0u);
  }

  bool behind_iommu() const { return GetParam().reach == Reach::kIommu; }
  static std::uint64_t shown_at(std::uint64_t offset) {
    const bool swapped = kRamBase + offset >= kData;
    return kShown + (swapped ? offset ^ kPage : offset);
  }
  std::uint64_t bus_address(std::uint64_t address) const {
    return behind_iommu() ? shown_at(address - kRamBase) : address;
  }
  // Needs:  no buffer runs past the end of its page.
  void request(std::uint16_t queue, std::initializer_list<RawDescriptor> chain) {
    std::vector<RawDescriptor> moved(chain);
    for (RawDescriptor& it : moved) it.address = bus_address(it.address);
    rings[queue].offer(moved);
    registers.kick(queue);
  }
  // The driver was told of a request, and of so many bytes.
  std::uint32_t answered(std::uint16_t queue) {
    const auto used = rings[queue].take_used();
    EXPECT_TRUE(used.has_value());
    return used.value_or(UsedEntry{}).written;
  }
  void put(std::uint64_t address, const std::string& text) {
    guest.put_bytes(address, std::as_bytes(std::span(text)));
  }
  std::string text(std::uint64_t address, std::size_t bytes) {
    const auto from = guest.bytes(address, bytes);
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }

  Guest guest;
  RecordingLine line;
  std::unique_ptr<Iommu> iommu;
  std::unique_ptr<VirtioMmio> slot;
  DriverRegisters registers{guest};
  std::deque<RingDriver> rings;
};

class SequenceSource final : public EntropySource {
 public:
  std::size_t take(std::span<std::byte> to) override {
    for (std::byte& it : to) it = std::byte{0x77};
    return to.size();
  }
};

TEST_P(VirtioFormsTest, EntropyFillsBuffers) {
  start(std::make_unique<VirtioRng>(std::make_unique<SequenceSource>()));
  for (int i = 0; i < 40; ++i) {
    guest.put_bytes(kData, std::vector<std::byte>(2 * kPage));
    request(0, {{kData, 100, kWrite, 0}, {kData + kPage, 50, kWrite, 0}});
    if (i % 8 == 5) {
      move_to(std::make_unique<VirtioRng>(std::make_unique<SequenceSource>()));
      EXPECT_EQ(line.level(), Level::kHigh);
    }
    EXPECT_EQ(answered(0), 150u);
    EXPECT_EQ(text(kData, 101), std::string(100, 0x77) + '\0');
    EXPECT_EQ(text(kData + kPage, 51), std::string(50, 0x77) + '\0');
  }
}

TEST_P(VirtioFormsTest, ARunOfTheBusIsPagesOfTheGuest) {
  start(std::make_unique<VirtioRng>(std::make_unique<SequenceSource>()));
  // From the last bytes of the first page of the bus into the second.
  const std::uint64_t first = behind_iommu() ? kData + kPage : kData;
  const std::uint64_t second = behind_iommu() ? kData : kData + kPage;
  request(0, {{first + kPage - 10, 30, kWrite, 0}});
  EXPECT_EQ(answered(0), 30u);
  EXPECT_EQ(text(first + kPage - 10, 10), std::string(10, 0x77));
  EXPECT_EQ(text(second, 21), std::string(20, 0x77) + '\0');
}

class EchoingPeer final : public ConsolePeer {
 public:
  void console_output(std::span<const std::byte> bytes) override {
    EXPECT_EQ(console->send(bytes), bytes.size());
  }
  VirtioConsole* console = nullptr;
};

TEST_P(VirtioFormsTest, ConsoleEchoes) {
  EchoingPeer peer;
  peer.console = &start(std::make_unique<VirtioConsole>(peer));
  for (int i = 0; i < 40; ++i) {
    const std::string said = "line " + std::to_string(i);
    put(kData, said);
    request(0, {{kData + kPage, 64, kWrite, 0}});
    if (i % 8 == 5) peer.console = &move_to(std::make_unique<VirtioConsole>(peer));
    request(1, {{kData, 4, 0, 0}, {kData + 4, static_cast<std::uint32_t>(said.size() - 4), 0, 0}});
    EXPECT_EQ(answered(1), 0u);
    EXPECT_EQ(text(kData + kPage, answered(0)), said.substr(0, 64));
    EXPECT_EQ(peer.console->unread(), 0u);
  }
}

TEST_P(VirtioFormsTest, NetworkCarriesFramesBothWays) {
  constexpr std::uint64_t kMergeable = 1 << 15;
  auto [near, far] = NetLoopback::pair();
  VirtioNet* net = &start(VirtioNet::create(std::move(near)).value(), kMergeable);
  std::vector<std::byte> received(2048);
  for (int i = 0; i < 40; ++i) {
    std::vector<std::byte> frame(1000, static_cast<std::byte>(i));
    guest.put_bytes(kData, std::vector<std::byte>(12));
    guest.put_bytes(kData + 12, frame);
    request(1, {{kData, 12, 0, 0}, {kData + 12, 1000, 0, 0}});
    EXPECT_EQ(answered(1), 0u);
    EXPECT_EQ(far->receive(received), 1000u);
    EXPECT_TRUE(std::equal(frame.begin(), frame.end(), received.begin()));
    // It takes two of the driver's three buffers.
    for (const std::uint64_t at : {kPage, 2 * kPage, 3 * kPage}) {
      if (rings[0].outstanding() < 3) request(0, {{kData + at, 600, kWrite, 0}});
    }
    if (i == 20) {
      auto [other_near, other_far] = NetLoopback::pair();
      net = &move_to(VirtioNet::create(std::move(other_near)).value());
      far = std::move(other_far);
    }
    far->send(frame);
    EXPECT_EQ(net->poll(), 1u);
    EXPECT_EQ(answered(0), 600u);
    EXPECT_EQ(answered(0), 412u);
    EXPECT_FALSE(rings[0].has_used());
  }
  EXPECT_EQ(net->counters(), (VirtioNetCounters{.sent = 19, .received = 20}));
}

TEST_P(VirtioFormsTest, BalloonTakesPagesOfTheGuest) {
  constexpr std::uint64_t kStatisticsAndReporting = 1 << 1 | 1 << 5;
  constexpr std::uint64_t kVictim = kData + 0x1'0000;
  VirtioBalloon& balloon =
      start(std::make_unique<VirtioBalloon>(*guest.memory), kStatisticsAndReporting);
  guest.put_bytes(kVictim, std::vector<std::byte>(4 * kPage, std::byte{1}));
  guest.put(kData, static_cast<std::uint32_t>(kVictim / kPage));
  request(0, {{kData, 4, 0, 0}});
  EXPECT_EQ(answered(0), 0u);
  EXPECT_EQ(text(kVictim, 1) + text(kVictim + kPage, 1), std::string({0, 1}));
  // Statistics wait in the ring, and come again.
  request(2, {{kData, 10, 0, 0}});
  EXPECT_FALSE(rings[2].has_used());
  balloon.request_statistics();
  EXPECT_EQ(answered(2), 0u);
  // One that waits goes back when the balloon is saved.
  request(2, {{kData, 10, 0, 0}});
  VirtioBalloon& other = move_to(std::make_unique<VirtioBalloon>(*guest.memory));
  EXPECT_EQ(answered(2), 0u);
  request(2, {{kData, 10, 0, 0}});
  EXPECT_FALSE(rings[2].has_used());
  other.request_statistics();
  EXPECT_EQ(answered(2), 0u);
  // The buffers of a report are addresses of the bus where those differ.
  request(3, {{kVictim + 2 * kPage, kPage, kWrite, 0}});
  EXPECT_EQ(answered(3), 0u);
  EXPECT_EQ(text(kVictim + 2 * kPage, 1), std::string(1, behind_iommu() ? 1 : 0));
  EXPECT_EQ(text(kVictim + 3 * kPage, 1), std::string(1, 1));
}

INSTANTIATE_TEST_SUITE_P(Forms, VirtioFormsTest, testing::ValuesIn(kForms),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace vm_device
