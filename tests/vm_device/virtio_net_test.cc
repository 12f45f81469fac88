#include "vm_device/virtio_net.h"

#include <gtest/gtest.h>

#include <deque>
#include <mutex>
#include <thread>

#include "tests/vm_device/virtio_machine.h"
#include "vm_device/net_loopback.h"
#include "vm_device/net_socket.h"

namespace vm_device {
namespace {

using Frame = std::vector<std::byte>;
using Frames = std::vector<Frame>;
using Machine = VirtioMachine<VirtioNet>;

constexpr std::uint64_t kData = Machine::kData;
constexpr std::uint16_t kReceive = 0;
constexpr std::uint16_t kTransmit = 1;
constexpr std::uint64_t kMtu = 1 << 3;
constexpr std::uint64_t kMac = 1 << 5;
constexpr std::uint64_t kMergeable = 1 << 15;
constexpr std::uint64_t kStatus = 1 << 16;
constexpr std::uint32_t kHeader = 12;

Frame frame_of(std::size_t bytes, int seed = 1) {
  Frame out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    out[i] = static_cast<std::byte>(i * 3 + static_cast<unsigned>(seed));
  }
  return out;
}

// A wire whose other end is the test.
class TestWire final : public NetBackend {
 public:
  SendStatus send(std::span<const std::byte> frame) override {
    if (is_full) return SendStatus::kRefused;
    sent.emplace_back(frame.begin(), frame.end());
    return SendStatus::kSent;
  }
  std::optional<std::size_t> receive(std::span<std::byte> to) override {
    const std::lock_guard lock(mutex);
    if (coming.empty()) return std::nullopt;
    const Frame frame = coming.front();
    coming.pop_front();
    std::copy_n(frame.begin(), std::min(frame.size(), to.size()), to.begin());
    return frame.size();
  }
  void bring(Frame frame) {
    const std::lock_guard lock(mutex);
    coming.push_back(std::move(frame));
  }

  std::vector<Frame> sent;
  bool is_full = false;
  std::mutex mutex;
  std::deque<Frame> coming;
};

class VirtioNetTest : public testing::Test {
 protected:
  VirtioNetTest() { machine.start(kMac | kMtu | kStatus); }
  VirtioNet& net() { return *machine.device; }
  void bring(Frame frame) {
    wire->bring(std::move(frame));
    net().poll();
  }
  void send(const Frame& frame) {
    machine.guest.put_bytes(kData, Frame(kHeader));
    machine.guest.put_bytes(kData + kHeader, frame);
    machine.request(kTransmit, {{kData, static_cast<std::uint32_t>(kHeader + frame.size()), 0, 0}});
  }
  // Buffer `index` of the driver's, offered without the bell.
  void offer(std::uint16_t index, std::uint32_t bytes) {
    machine.rings[kReceive].describe(index, {buffer(index), bytes, kWrite, 0});
    machine.rings[kReceive].offer(index);
  }
  static std::uint64_t buffer(std::uint16_t index) { return kData + 0x1000 * std::uint64_t{index}; }
  Frame frame_at(std::uint64_t address, std::size_t bytes) {
    return machine.guest.bytes(address + kHeader, bytes);
  }

  TestWire* wire = new TestWire;  // owned by machine
  Machine machine{
      VirtioNet::create(std::unique_ptr<NetBackend>(wire), {.waiting_frames = 4}).value()};
};

TEST_F(VirtioNetTest, FramesOfTheDriverAreSent) {
  send(frame_of(60));
  send(frame_of(1518, 2));
  EXPECT_EQ(wire->sent, (Frames{frame_of(60), frame_of(1518, 2)}));
  EXPECT_EQ(machine.used(kTransmit), 2);
  EXPECT_EQ(machine.line.rises(), 1);
  EXPECT_EQ(net().counters(), VirtioNetCounters{.sent = 2});
}

TEST_F(VirtioNetTest, HeaderAndFrameMayBeCutAnywhere) {
  machine.guest.put_bytes(kData, Frame(kHeader));
  machine.guest.put_bytes(kData + kHeader, frame_of(60));
  machine.request(kTransmit, {{kData, 5, 0, 0},
                              {kData, 0, 0, 0},
                              {kData + 5, 20, 0, 0},
                              {kData + 25, 1, 0, 0},
                              {kData + 26, 46, 0, 0}});
  EXPECT_EQ(wire->sent, Frames{frame_of(60)});
}

TEST_F(VirtioNetTest, FramesThatCannotBeAreCountedAndGivenBack) {
  send(frame_of(13));
  send(frame_of(1519));
  machine.request(kTransmit, {{kData, 0, 0, 0}});
  machine.request(kTransmit, {{kData, 11, 0, 0}});
  machine.request(kTransmit, {{kData, UINT32_MAX, 0, 0}});
  machine.request(kTransmit, {{kData, 100, kWrite, 0}});
  machine.request(kTransmit, {{kData, kHeader, 0, 0}, {Machine::kHole, 60, 0, 0}});
  machine.request(kTransmit, {{Machine::kHole, kHeader, 0, 0}, {kData, 60, 0, 0}});
  EXPECT_EQ(machine.used(kTransmit), 8);
  EXPECT_EQ(net().counters(), VirtioNetCounters{.sent_bad = 8});
  EXPECT_TRUE(wire->sent.empty());
  EXPECT_FALSE(machine.needs_reset());
  send(frame_of(14));
  EXPECT_EQ(wire->sent, Frames{frame_of(14)});
}

TEST_F(VirtioNetTest, OffloadsThatWereNotAgreedAreRefused) {
  for (const std::uint64_t field : {0u, 1u}) {
    machine.guest.put_bytes(kData, Frame(kHeader));
    machine.guest.put(kData + field, std::uint8_t{1});
    machine.request(kTransmit, {{kData, kHeader + 60, 0, 0}});
  }
  EXPECT_EQ(net().counters().sent_bad, 2u);
}

TEST_F(VirtioNetTest, ABackEndWithoutRoomLosesTheFrameAndCountsIt) {
  wire->is_full = true;
  send(frame_of(60));
  EXPECT_EQ(net().counters(), VirtioNetCounters{.sent_refused = 1});
  EXPECT_EQ(machine.used(kTransmit), 1);
}

TEST_F(VirtioNetTest, FramesThatArriveAreGivenToTheDriver) {
  offer(0, 2000);
  machine.kick(kReceive);
  EXPECT_EQ(machine.used(kReceive), 0);
  bring(frame_of(100));
  EXPECT_EQ(machine.written(kReceive), kHeader + 100);
  EXPECT_EQ(machine.guest.bytes(kData, 10), Frame(10));
  EXPECT_EQ(machine.guest.get<std::uint16_t>(kData + 10), 1);
  EXPECT_EQ(frame_at(kData, 100), frame_of(100));
  EXPECT_EQ(machine.line.level(), Level::kHigh);
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received = 1});
}

TEST_F(VirtioNetTest, FramesWaitForBuffers) {
  bring(frame_of(60, 1));
  bring(frame_of(61, 2));
  EXPECT_EQ(machine.used(kReceive), 0);
  offer(0, 2000);
  offer(1, 2000);
  offer(2, 2000);
  machine.kick(kReceive);
  EXPECT_EQ(machine.used(kReceive), 2);
  EXPECT_EQ(frame_at(buffer(0), 60), frame_of(60, 1));
  EXPECT_EQ(frame_at(buffer(1), 61), frame_of(61, 2));
}

TEST_F(VirtioNetTest, MoreFramesThanMayWaitAreDroppedAndCounted) {
  for (int i = 0; i < 6; ++i) bring(frame_of(60, i));
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_overflow = 2});
  for (std::uint16_t i = 0; i < 6; ++i) offer(i, 2000);
  machine.kick(kReceive);
  EXPECT_EQ(machine.used(kReceive), 4);
  EXPECT_EQ(frame_at(buffer(3), 60), frame_of(60, 3));
  bring(frame_of(60, 9));
  EXPECT_EQ(frame_at(buffer(4), 60), frame_of(60, 9));
}

TEST_F(VirtioNetTest, FramesOfALengthThatCannotBeAreDroppedAndCounted) {
  offer(0, 4000);
  for (const std::size_t bytes : {0u, 13u, 1519u, 65535u}) bring(frame_of(bytes));
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_bad = 4});
  EXPECT_EQ(machine.used(kReceive), 0);
  bring(frame_of(1518));
  EXPECT_EQ(frame_at(kData, 1518), frame_of(1518));
}

TEST_F(VirtioNetTest, BuffersThatDoNotFitComeBackEmpty) {
  for (const std::uint32_t bytes : {0u, 11u, 12u, 71u}) {
    machine.rings[kReceive].describe(0, {kData, bytes, kWrite, 0});
    machine.rings[kReceive].offer(0);
    bring(frame_of(60));
    EXPECT_EQ(machine.written(kReceive), 0u) << bytes;
  }
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_unfit = 4});
  machine.request(kReceive, {{kData, 5, kWrite, 0}, {kData + 5, 67, kWrite, 0}});
  bring(frame_of(60));
  EXPECT_EQ(machine.written(kReceive), 72u);
  EXPECT_EQ(frame_at(kData, 60), frame_of(60));
}

TEST_F(VirtioNetTest, BuffersOutOfReachComeBackEmpty) {
  machine.request(kReceive, {{Machine::kHole, 2000, kWrite, 0}});
  bring(frame_of(60));
  machine.request(kReceive, {{kRamEnd - 20, 2000, kWrite, 0}});
  bring(frame_of(60));
  machine.request(kReceive, {{kData, 2000, 0, 0}});
  bring(frame_of(60));
  EXPECT_EQ(machine.used(kReceive), 3);
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_unfit = 3});
  offer(0, 2000);
  bring(frame_of(60));
  EXPECT_EQ(net().counters().received, 1u);
}

class MergeableBuffersTest : public VirtioNetTest {
 protected:
  MergeableBuffersTest() { machine.start(kMergeable); }
};

TEST_F(MergeableBuffersTest, ALongFrameFillsSeveralBuffers) {
  for (std::uint16_t i = 0; i < 4; ++i) offer(i, 500);
  bring(frame_of(1400));
  EXPECT_EQ(machine.used(kReceive), 3);
  EXPECT_EQ(machine.guest.get<std::uint16_t>(kData + 10), 3);
  Frame got = frame_at(buffer(0), 488);
  const Frame second = machine.guest.bytes(buffer(1), 500);
  const Frame third = machine.guest.bytes(buffer(2), 412);
  got.insert(got.end(), second.begin(), second.end());
  got.insert(got.end(), third.begin(), third.end());
  EXPECT_EQ(got, frame_of(1400));
  EXPECT_EQ(machine.rings[kReceive].used_entry(0), (UsedEntry{0, 500}));
  EXPECT_EQ(machine.rings[kReceive].used_entry(2), (UsedEntry{2, 412}));
}

TEST_F(MergeableBuffersTest, AFrameThatFitsExactlyTakesNoFurtherBuffer) {
  offer(0, kHeader + 60);
  offer(1, 500);
  bring(frame_of(60));
  EXPECT_EQ(machine.used(kReceive), 1);
  EXPECT_EQ(machine.guest.get<std::uint16_t>(kData + 10), 1);
}

TEST_F(MergeableBuffersTest, AFrameForWhichThereAreTooFewIsDropped) {
  for (std::uint16_t i = 0; i < 2; ++i) offer(i, 500);
  bring(frame_of(1400));
  EXPECT_EQ(machine.used(kReceive), 2);
  EXPECT_EQ(machine.rings[kReceive].used_entry(0), (UsedEntry{0, 0}));
  EXPECT_EQ(machine.rings[kReceive].used_entry(1), (UsedEntry{1, 0}));
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_unfit = 1});
  for (std::uint16_t i = 0; i < 3; ++i) offer(i, 500);
  bring(frame_of(1400));
  EXPECT_EQ(net().counters().received, 1u);
}

TEST_F(MergeableBuffersTest, BuffersOfAByteAreTakenUpToALimit) {
  const auto crumbs = static_cast<std::uint16_t>(Machine::kQueueSize);
  offer(0, kHeader);
  for (std::uint16_t i = 1; i < crumbs; ++i) offer(i, 1);
  bring(frame_of(60));
  EXPECT_EQ(machine.used(kReceive), crumbs);
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_unfit = 1});
}

TEST_F(MergeableBuffersTest, ABufferOutOfReachInTheMiddleDropsTheFrame) {
  offer(0, 500);
  machine.rings[kReceive].describe(1, {Machine::kHole, 2000, kWrite, 0});
  machine.rings[kReceive].offer(1);
  bring(frame_of(1400));
  EXPECT_EQ(machine.used(kReceive), 2);
  EXPECT_EQ(machine.rings[kReceive].used_entry(0), (UsedEntry{0, 0}));
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_unfit = 1});
}

TEST_F(VirtioNetTest, TheConfigurationSaysWhoAndHow) {
  EXPECT_EQ(machine.reg(0x08), 1u);
  EXPECT_EQ(net().device_features(), kMtu | kMac | kMergeable | kStatus);
  EXPECT_EQ(machine.config<std::uint32_t>(0), 0x12005452u);
  EXPECT_EQ(machine.config<std::uint16_t>(4), 0x5634);
  EXPECT_EQ(machine.config<std::uint16_t>(6), 1);
  EXPECT_EQ(machine.config<std::uint16_t>(8), 1);
  EXPECT_EQ(machine.config<std::uint16_t>(10), 1500);
  machine.guest.put(Machine::kConfig, std::uint32_t{0});
  EXPECT_EQ(machine.config<std::uint32_t>(0), 0x12005452u);
}

TEST_F(VirtioNetTest, ALinkThatIsDownCarriesNothing) {
  offer(0, 2000);
  net().set_link(NetLink::kDown);
  EXPECT_TRUE(machine.config_interrupt());
  EXPECT_EQ(machine.config<std::uint16_t>(6), 0);
  send(frame_of(60));
  bring(frame_of(60));
  EXPECT_EQ(net().counters(), (VirtioNetCounters{.sent_refused = 1, .received_bad = 1}));
  machine.acknowledge();
  net().set_link(NetLink::kDown);
  EXPECT_FALSE(machine.config_interrupt());
  net().set_link(NetLink::kUp);
  bring(frame_of(60));
  EXPECT_EQ(machine.used(kReceive), 1);
}

TEST_F(VirtioNetTest, AResetDropsWhatWaitsAndServesTheNextDriver) {
  bring(frame_of(60, 1));
  machine.rings[kTransmit].offer(99);
  machine.kick(kTransmit);
  EXPECT_TRUE(machine.needs_reset());
  machine.start();
  EXPECT_EQ(net().counters(), VirtioNetCounters{.received_overflow = 1});
  offer(0, 2000);
  machine.kick(kReceive);
  EXPECT_EQ(machine.used(kReceive), 0);
  send(frame_of(60));
  bring(frame_of(60, 2));
  EXPECT_EQ(frame_at(buffer(0), 60), frame_of(60, 2));
  EXPECT_EQ(wire->sent.size(), 1u);
}

TEST_F(VirtioNetTest, AnErrorInOneQueueLeavesTheOther) {
  machine.rings[kReceive].offer(99);
  bring(frame_of(60));
  EXPECT_TRUE(machine.needs_reset());
  send(frame_of(60));
  EXPECT_EQ(wire->sent.size(), 1u);
}

// Buffers that lie over the rings of the other queue: nothing but the guest suffers.
TEST_F(VirtioNetTest, ABufferOverTheRingsHurtsTheGuestAlone) {
  machine.request(kReceive, {{machine.rings[kTransmit].available() - kHeader, 2000, kWrite, 0}});
  bring(Frame(1500, std::byte{0xff}));
  EXPECT_EQ(net().counters().received, 1u);
  machine.kick(kTransmit);
  EXPECT_TRUE(machine.needs_reset());
  machine.start();
  send(frame_of(60));
  EXPECT_EQ(wire->sent.size(), 1u);
}

TEST(VirtioNetCreateTest, RefusesWhatNoNetworkHas) {
  const auto code = [](VirtioNetOptions options) {
    return VirtioNet::create(std::make_unique<TestWire>(), options).status().code();
  };
  EXPECT_EQ(code({.mtu = 67}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.mtu = 68}), absl::StatusCode::kOk);
  EXPECT_EQ(code({.waiting_frames = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.mac = {1, 0, 0, 0, 0, 1}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VirtioNet::create(nullptr).status().code(), absl::StatusCode::kInvalidArgument);
}

std::unique_ptr<VirtioNet> net_on(std::unique_ptr<NetBackend> backend,
                                  VirtioNetOptions options = {}) {
  return VirtioNet::create(std::move(backend), options).value();
}

// What one guest sends another guest receives, in the same access.
TEST(VirtioNetPairTest, TwoGuestsOnOneCable) {
  auto [a, b] = NetLoopback::pair();
  NetLoopback& end = *b;
  Machine left(net_on(std::move(a)));
  Machine right(net_on(std::move(b)));
  end.on_arrival([&] { right.device->poll(); });
  left.start();
  right.start();
  right.request(kReceive, {{kData, 2000, kWrite, 0}});
  left.guest.put_bytes(kData, Frame(kHeader));
  left.guest.put_bytes(kData + kHeader, frame_of(60));
  left.request(kTransmit, {{kData, kHeader + 60, 0, 0}});
  EXPECT_EQ(right.written(kReceive), kHeader + 60);
  EXPECT_EQ(right.guest.bytes(kData + kHeader, 60), frame_of(60));
}

// A host thread polls a socket while the guest sends and receives.
TEST(VirtioNetPairTest, AHostThreadPollsWhileTheDriverWorks) {
  constexpr std::uint16_t kFrames = 1000;
  auto ends = NetSocket::pair();
  ASSERT_TRUE(ends.ok());
  NetSocket& far = *ends->second;
  Machine machine(net_on(std::move(ends->first), {.waiting_frames = kFrames}));
  machine.start();
  std::thread host([&] {
    for (int i = 0; i < kFrames;) {
      i += far.send(frame_of(60, i)) == SendStatus::kSent;
      machine.device->poll();
    }
  });
  machine.guest.put_bytes(kData, Frame(kHeader + 60));
  for (int i = 0; i < kFrames; ++i) {
    const std::uint16_t before = machine.used(kReceive);
    machine.request(kReceive, {{kData + 0x1000, 2000, kWrite, 0}});
    while (machine.used(kReceive) == before) {
      machine.device->poll();
      machine.reg(0x60);
    }
    ASSERT_TRUE(machine.guest.bytes(kData + 0x1000 + kHeader, 60) == frame_of(60, i)) << i;
  }
  host.join();
  EXPECT_EQ(machine.device->counters().received, kFrames);
}

}  // namespace
}  // namespace vm_device
