// The devices of docs/device_models.md, as the page has them.

#include <gtest/gtest.h>

#include <thread>

#include "dma_controller.h"
#include "tests/vm_device/virtio_machine.h"
#include "virtio_upper.h"

namespace vm_device {
namespace {

using Descriptor = DmaController::Descriptor;

constexpr std::uint64_t kDevice = 0x1000'0000;
constexpr std::uint64_t kRing = kRamBase + 0x1000;
constexpr std::uint64_t kSource = kRamBase + 0x1'0000;
constexpr std::uint64_t kTarget = kRamBase + 0x4'0000;
constexpr std::uint64_t kHole = 0x4000'0000;

class DmaControllerTest : public testing::Test {
 protected:
  DmaControllerTest() {
    EXPECT_TRUE(guest.bus.attach(guest_range(kDevice, 4096), &device, "dma").ok());
    std::vector<std::byte> content(0x1'0000);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7);
    guest.put_bytes(kSource, content);
    start(8);
  }
  void set(std::uint64_t reg, std::uint64_t value) { guest.put(kDevice + reg, value); }
  std::uint64_t get(std::uint64_t reg) const { return guest.get<std::uint64_t>(kDevice + reg); }
  void start(std::uint64_t entries, std::uint64_t ring = kRing) {
    set(DmaController::kControl, 0);
    set(DmaController::kRing, ring);
    set(DmaController::kEntries, entries);
    set(DmaController::kControl, DmaController::kEnable);
    offered = 0;
  }
  void put(std::uint64_t slot, const Descriptor& it) {
    guest.put_bytes(kRing + 32 * slot, std::as_bytes(std::span(&it, 1)));
  }
  Descriptor at(std::uint64_t slot) const {
    Descriptor it;
    EXPECT_TRUE(guest.memory
                    ->read(vm_mem::GuestAddress{kRing + 32 * slot},
                           std::as_writable_bytes(std::span(&it, 1)))
                    .ok());
    return it;
  }
  // One descriptor, from offer to answer.
  Descriptor serve(const Descriptor& it) {
    const std::uint64_t slot = offered % 8;
    put(slot, it);
    set(DmaController::kTail, ++offered);
    return at(slot);
  }
  static DmaFault fault(const Descriptor& it) { return static_cast<DmaFault>(it.status >> 16); }
  bool matches(std::uint64_t to, std::uint64_t from, std::size_t bytes) const {
    return guest.bytes(to, bytes) == guest.bytes(from, bytes);
  }

  Guest guest;
  RecordingLine line;
  DmaController device{*guest.memory, line};
  std::uint64_t offered = 0;
};

TEST_F(DmaControllerTest, CopiesAndFills) {
  const Descriptor copied = serve({.source = kSource, .destination = kTarget + 3, .bytes = 5000});
  EXPECT_EQ(copied.status, DmaController::kDone);
  EXPECT_EQ(copied.done, 5000u);
  EXPECT_TRUE(matches(kTarget + 3, kSource, 5000));
  EXPECT_EQ(line.level(), Level::kHigh);
  serve({.source = 0x12ff, .destination = kTarget, .bytes = 9, .flags = DmaController::kFill});
  EXPECT_EQ(guest.bytes(kTarget, 9), std::vector<std::byte>(9, std::byte{0xff}));
  EXPECT_EQ(get(DmaController::kHead), 2u);
  set(DmaController::kInterrupt, DmaController::kCompletion);
  EXPECT_EQ(line.level(), Level::kLow);
}

TEST_F(DmaControllerTest, ServesTheRingRoundAndRound) {
  for (int i = 0; i < 100; ++i) {
    const auto shift = static_cast<std::uint64_t>(i);
    EXPECT_EQ(serve({.source = kSource + shift, .destination = kTarget, .bytes = 64}).done, 64u);
    EXPECT_TRUE(matches(kTarget, kSource + shift, 64));
  }
  EXPECT_EQ(get(DmaController::kHead), 100u);
}

TEST_F(DmaControllerTest, SaysExactlyHowFarItGot) {
  Descriptor it = serve({.source = kSource, .destination = kRamEnd - 100, .bytes = 4096});
  EXPECT_EQ(it.done, 100u);
  EXPECT_EQ(fault(it), DmaFault::kUnmapped);
  EXPECT_TRUE(matches(kRamEnd - 100, kSource, 100));
  it = serve({.source = kRamEnd - 30, .destination = kTarget, .bytes = 31});
  EXPECT_EQ(it.done, 30u);
  it = serve({.destination = UINT64_MAX - 4, .bytes = 100, .flags = DmaController::kFill});
  EXPECT_EQ(it.done, 0u);
  it = serve({.source = kSource, .destination = kTarget, .bytes = 0});
  EXPECT_EQ(it.status, DmaController::kDone);
}

TEST_F(DmaControllerTest, ItsOwnRegistersAreOutOfItsReach) {
  for (const std::uint64_t reg : {DmaController::kControl, DmaController::kTail}) {
    const Descriptor it = serve({.source = kSource, .destination = kDevice + reg, .bytes = 8});
    EXPECT_EQ(fault(it), DmaFault::kReentrant);
    EXPECT_EQ(it.done, 0u);
  }
  EXPECT_EQ(fault(serve({.source = kDevice, .destination = kTarget, .bytes = 8})),
            DmaFault::kReentrant);
  EXPECT_EQ(serve({.source = kSource, .destination = kTarget, .bytes = 8}).done, 8u);
}

TEST_F(DmaControllerTest, TwoOfThemThatReachForEachOtherEnd) {
  constexpr std::uint64_t kOther = kDevice + 0x1000;
  DmaController other(*guest.memory, line);
  ASSERT_TRUE(guest.bus.attach(guest_range(kOther, 4096), &other, "other").ok());
  constexpr std::uint64_t kOtherRing = kRamBase + 0x2000;
  guest.put(kOther + DmaController::kRing, kOtherRing);
  guest.put(kOther + DmaController::kEntries, std::uint64_t{1});
  guest.put(kOther + DmaController::kControl, std::uint64_t{DmaController::kEnable});
  // The other's copy rings this one's bell.
  const Descriptor back{
      .source = kSource, .destination = kDevice + DmaController::kTail, .bytes = 8};
  guest.put_bytes(kOtherRing, std::as_bytes(std::span(&back, 1)));
  guest.put(kSource, std::uint64_t{1});
  const Descriptor it =
      serve({.source = kSource, .destination = kOther + DmaController::kTail, .bytes = 8});
  EXPECT_EQ(it.done, 8u);
  EXPECT_EQ(guest.get<std::uint64_t>(kOther + DmaController::kHead), 1u);
  EXPECT_EQ(guest.get<std::uint32_t>(kOtherRing + 28), 0u);
  EXPECT_NE(guest.get<std::uint32_t>(kOtherRing + 24) >> 16, 0u);
  EXPECT_TRUE(guest.bus.detach(&other).ok());
}

TEST_F(DmaControllerTest, LengthsAreBoundedAndTurnsToo) {
  Descriptor it = serve({.source = kSource, .destination = kTarget, .bytes = UINT32_MAX});
  EXPECT_EQ(it.status, DmaController::kTooLong);
  EXPECT_EQ(it.done, 0u);
  start(DmaController::kMaxEntries);
  set(DmaController::kTail, DmaController::kMaxEntries);
  EXPECT_EQ(line.level(), Level::kHigh);
  const std::uint64_t head = get(DmaController::kHead);
  EXPECT_LE(head, 3u * DmaController::kTurn);
  for (int i = 0; i < 100; ++i) get(DmaController::kHead);
  EXPECT_EQ(get(DmaController::kHead), DmaController::kMaxEntries);
}

TEST_F(DmaControllerTest, ATailBeyondTheRingIsAnError) {
  set(DmaController::kTail, 9);
  EXPECT_EQ(get(DmaController::kInterrupt), DmaController::kError);
  EXPECT_EQ(get(DmaController::kHead), 0u);
  set(DmaController::kTail, UINT64_MAX);
  EXPECT_EQ(get(DmaController::kTail), 0u);
  set(DmaController::kInterrupt, DmaController::kError);
  EXPECT_EQ(serve({.source = kSource, .destination = kTarget, .bytes = 8}).done, 8u);
}

TEST_F(DmaControllerTest, ARingThatIsNoMemoryIsAnError) {
  for (const std::uint64_t ring : {kHole, kRamEnd - 16, UINT64_MAX - 31, kDevice}) {
    start(8, ring & ~std::uint64_t{31});
    set(DmaController::kTail, 8);
    const bool reachable = (ring & ~std::uint64_t{31}) == kRamEnd - 32;
    EXPECT_EQ(get(DmaController::kHead), reachable ? 1u : 0u) << std::hex << ring;
    EXPECT_NE(get(DmaController::kInterrupt) & DmaController::kError, 0u) << std::hex << ring;
  }
  start(8);
  EXPECT_EQ(get(DmaController::kInterrupt), 0u);
  EXPECT_EQ(serve({.source = kSource, .destination = kTarget, .bytes = 8}).done, 8u);
}

TEST_F(DmaControllerTest, IsEnabledWithARingThatCanBe) {
  for (const auto& [entries, ring] : {std::pair{std::uint64_t{0}, kRing},
                                      {DmaController::kMaxEntries + 1, kRing},
                                      {8, kRing + 8}}) {
    start(entries, ring);
    EXPECT_EQ(get(DmaController::kControl), 0u);
    set(DmaController::kTail, 1);
    EXPECT_EQ(get(DmaController::kHead), 0u);
  }
  start(8);
  set(DmaController::kRing, 0);
  EXPECT_EQ(get(DmaController::kRing), kRing);
}

TEST_F(DmaControllerTest, RegistersTakeWholeWordsAlone) {
  std::uint32_t half = 0;
  EXPECT_FALSE(guest.memory->load(vm_mem::GuestAddress{kDevice}, half).ok());
  EXPECT_FALSE(guest.memory->store(vm_mem::GuestAddress{kDevice}, half).ok());
  const std::uint64_t word = 0;
  EXPECT_FALSE(
      guest.memory->store(vm_mem::GuestAddress{kDevice + DmaController::kBytes}, word).ok());
}

// A second vCPU resets and rings the bell while the first is in the device.
TEST_F(DmaControllerTest, VcpusMayDriveItAtOnce) {
  for (std::uint64_t slot = 0; slot < 8; ++slot) {
    put(slot, {.source = kSource, .destination = kTarget, .bytes = 4096});
  }
  std::thread second([&] {
    for (int i = 0; i < 300; ++i) {
      set(DmaController::kControl, 0);
      set(DmaController::kControl, DmaController::kEnable);
    }
  });
  for (std::uint64_t i = 0; i < 300; ++i) set(DmaController::kTail, i % 9);
  second.join();
  set(DmaController::kControl, 0);
  EXPECT_EQ(get(DmaController::kControl), 0u);
  start(8);
  EXPECT_EQ(serve({.source = kSource, .destination = kTarget, .bytes = 100}).done, 100u);
}

TEST(DmaControllerIommuTest, ReachesWhatIsMappedAlone) {
  Guest guest;
  auto iommu = Iommu::create({}).value();
  const IommuDeviceId id{5};
  const IommuDomainId domain = iommu->create_domain().value();
  ASSERT_TRUE(iommu->add_device(id).ok());
  ASSERT_TRUE(iommu->attach(id, domain).ok());
  // The ring and the two pages of a buffer, which lie apart.
  for (const auto& [iova, to] :
       {std::pair{0x0u, 0x1000u}, {0x1000u, 0x5000u}, {0x2000u, 0x9000u}}) {
    ASSERT_TRUE(iommu
                    ->map(domain, {iova, 0x1000}, vm_mem::GuestAddress{kRamBase + to},
                          DmaAccess::kReadWrite)
                    .ok());
  }
  RecordingLine line;
  DmaController device(*guest.memory, *iommu, id, line);
  ASSERT_TRUE(guest.bus.attach(guest_range(kDevice, 4096), &device, "dma").ok());
  const Descriptor fill{
      .source = 1, .destination = 0x1f00, .bytes = 0x1200, .flags = DmaController::kFill};
  guest.put_bytes(kRamBase + 0x1000, std::as_bytes(std::span(&fill, 1)));
  guest.put(kDevice + DmaController::kEntries, std::uint64_t{1});
  guest.put(kDevice + DmaController::kControl, std::uint64_t{DmaController::kEnable});
  guest.put(kDevice + DmaController::kTail, std::uint64_t{1});
  EXPECT_EQ(guest.get<std::uint32_t>(kRamBase + 0x1000 + 28), 0x1100u);
  EXPECT_EQ(guest.get<std::uint32_t>(kRamBase + 0x1000 + 24) >> 16,
            static_cast<std::uint32_t>(DmaFault::kTranslation));
  EXPECT_EQ(guest.bytes(kRamBase + 0x9000, 0x1000), std::vector<std::byte>(0x1000, std::byte{1}));
  std::array<IommuFault, 4> faults;
  ASSERT_EQ(iommu->poll_faults(faults), 1u);
  EXPECT_EQ(faults[0].address, 0x3000u);
  EXPECT_TRUE(guest.bus.detach(&device).ok());
}

using Machine = VirtioMachine<VirtioUpper>;
constexpr std::uint64_t kData = Machine::kData;

class VirtioUpperTest : public testing::Test {
 protected:
  VirtioUpperTest() { machine.start(); }
  Machine machine{std::make_unique<VirtioUpper>()};
};

TEST_F(VirtioUpperTest, AnswersInUpperCase) {
  machine.put_text(kData, "hello, guest");
  machine.request(0, {{kData, 5, 0, 0}, {kData + 5, 7, 0, 0}, {kData + 100, 12, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 12u);
  EXPECT_EQ(machine.text(kData + 100, 12), "HELLO, GUEST");
}

TEST_F(VirtioUpperTest, AnswersWhatFitsAndCanBeReached) {
  machine.put_text(kData, "hello");
  machine.request(0, {{kData, 5, 0, 0}, {kData + 100, 2, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 2u);
  machine.request(0, {{kData, 5, 0, 0}, {kRamEnd - 3, 100, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 3u);
  machine.request(0, {{kHole, 5, 0, 0}, {kData + 100, 5, kWrite, 0}});
  EXPECT_EQ(machine.written(0), 0u);
  machine.request(0, {{kData, 0, 0, 0}});
  machine.request(0, {{kData, UINT32_MAX, 0, 0}, {kData, UINT32_MAX, kWrite, 0}});
  EXPECT_EQ(machine.written(0), VirtioUpper::kMaxText);
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(VirtioUpperTest, ItsConfigurationIsOneFieldAndZeros) {
  const std::uint64_t config = Machine::kConfig;
  EXPECT_EQ(machine.guest.get<std::uint32_t>(config), VirtioUpper::kMaxText);
  EXPECT_EQ(machine.guest.get<std::uint8_t>(config + 2), VirtioUpper::kMaxText >> 16);
  EXPECT_EQ(machine.guest.get<std::uint32_t>(config + 4), 0u);
  EXPECT_EQ(machine.guest.get<std::uint64_t>(config + 0xef8), 0u);
}

TEST_F(VirtioUpperTest, EventsFindTheirWayToTheDriver) {
  EXPECT_TRUE(machine.device->post(11));
  machine.request(1, {{kData, 7, kWrite, 0}});
  EXPECT_EQ(machine.written(1), 7u);
  machine.request(1, {{kData, 8, kWrite, 0}});
  EXPECT_EQ(machine.guest.get<std::uint64_t>(kData), 11u);
  machine.request(1, {{kData, 8, kWrite, 0}});
  EXPECT_EQ(machine.used(1), 2);
  EXPECT_TRUE(machine.device->post(12));
  EXPECT_EQ(machine.guest.get<std::uint64_t>(kData), 12u);
  for (std::size_t i = 0; i < VirtioUpper::kMaxEvents; ++i) EXPECT_TRUE(machine.device->post(i));
  EXPECT_FALSE(machine.device->post(0));
}

TEST_F(VirtioUpperTest, AStoppedQueueWorksAgainAfterReset) {
  machine.rings[0].offer(99);
  machine.kick(0);
  EXPECT_TRUE(machine.needs_reset());
  machine.start();
  machine.put_text(kData, "x");
  machine.request(0, {{kData, 1, 0, 0}, {kData + 1, 1, kWrite, 0}});
  EXPECT_EQ(machine.text(kData + 1, 1), "X");
}

TEST_F(VirtioUpperTest, EventsThatWaitGoAlongWithItsState) {
  machine.device->post(11);
  StateWriter to;
  ASSERT_TRUE(machine.slot.save(to).ok());
  const std::vector<std::byte> bytes = std::move(to).take();
  Machine other{std::make_unique<VirtioUpper>()};
  StateReader from(bytes);
  ASSERT_TRUE(other.slot.load(from).ok());
  other.request(1, {{kData, 8, kWrite, 0}});
  EXPECT_EQ(other.guest.get<std::uint64_t>(kData), 11u);
}

TEST_F(VirtioUpperTest, HostThreadsPostWhileTheDriverTakes) {
  constexpr std::uint64_t kEvents = 1000;
  std::thread host([&] {
    for (std::uint64_t i = 0; i < kEvents;) i += machine.device->post(i);
  });
  for (std::uint64_t i = 0; i < kEvents; ++i) {
    const std::uint16_t before = machine.used(1);
    machine.request(1, {{kData, 8, kWrite, 0}});
    while (machine.used(1) == before) machine.reg(0x60);
    EXPECT_EQ(machine.guest.get<std::uint64_t>(kData), i);
  }
  host.join();
}

}  // namespace
}  // namespace vm_device
