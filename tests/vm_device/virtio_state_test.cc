// States of virtio devices: what is refused, and what goes along with the queues.
// That devices go on with them is in virtio_forms_test.cc.

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/vm_device/blk_machine.h"
#include "tests/vm_device/toy_device.h"
#include "tests/vm_device/virtio_machine.h"
#include "vm_device/net_loopback.h"
#include "vm_device/state_bytes.h"
#include "vm_device/virtio_balloon.h"
#include "vm_device/virtio_console.h"
#include "vm_device/virtio_net.h"
#include "vm_device/virtio_rng.h"

namespace vm_device {
namespace {

using Bytes = std::vector<std::byte>;

Bytes saved(VirtioMmio& slot) {
  StateWriter to;
  const absl::Status status = slot.save(to);
  EXPECT_TRUE(status.ok()) << status;
  return std::move(to).take();
}

absl::Status load(VirtioMmio& slot, const Bytes& bytes) {
  StateReader from(bytes);
  return slot.load(from);
}

enum class Letter : std::uint8_t { kA, kB };

TEST(StateBytesTest, WhatIsWrittenIsRead) {
  StateWriter to;
  to(std::uint8_t{1}, true, std::uint64_t{0x0102'0304'0506'0708}, std::array<bool, 2>{false, true});
  to.choice(Letter::kB, Letter::kB);
  to.bytes(std::as_bytes(std::span("ab", 2)), 2);
  const Bytes bytes = std::move(to).take();
  EXPECT_EQ(bytes.size(), 1u + 1 + 8 + 2 + 1 + 8 + 2);
  EXPECT_EQ(bytes[2], std::byte{8});  // little-endian

  StateReader from(bytes);
  std::uint8_t small = 0;
  bool yes = false;
  std::uint64_t large = 0;
  std::array<bool, 2> flags{};
  Letter letter{};
  from(small, yes, large, flags);
  from.choice(letter, Letter::kB);
  const auto text = from.bytes(2);
  EXPECT_TRUE(from.finish().ok());
  EXPECT_EQ(small, 1);
  EXPECT_TRUE(yes);
  EXPECT_EQ(large, 0x0102'0304'0506'0708u);
  EXPECT_EQ(flags, (std::array<bool, 2>{false, true}));
  EXPECT_EQ(letter, Letter::kB);
  EXPECT_EQ(text.size(), 2u);
}

std::string refusal(const Bytes& bytes, void (*read)(StateReader&)) {
  StateReader from(bytes);
  read(from);
  const absl::Status status = from.finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  return std::string(status.message());
}

TEST(StateBytesTest, NonsenseIsRefusedWhereItIs) {
  const auto flag = [](StateReader& from) {
    bool it = true;
    from(it);
    EXPECT_FALSE(it);
  };
  const auto word = [](StateReader& from) {
    std::uint32_t it = 1;
    from(it);
    EXPECT_EQ(it, 0u);
  };
  const auto letter = [](StateReader& from) {
    Letter it = Letter::kB;
    from.choice(it, Letter::kB);
    EXPECT_EQ(it, Letter::kA);
  };
  const auto text = [](StateReader& from) { EXPECT_TRUE(from.bytes(16).empty()); };
  EXPECT_EQ(refusal(Bytes(1, std::byte{2}), flag), "byte 1 of 1: neither yes nor no");
  EXPECT_EQ(refusal(Bytes(3), word), "byte 0 of 3: the state ends too early");
  EXPECT_EQ(refusal(Bytes(1, std::byte{2}), letter), "byte 1 of 1: there is no such choice");
  EXPECT_EQ(refusal(Bytes(8, std::byte{255}), text), "byte 8 of 8: more bytes than there can be");
  EXPECT_EQ(refusal(Bytes(1), [](StateReader&) {}), "byte 0 of 1: bytes that no field has");
}

// A machine of each kind in the middle of its work.
class VirtioStateTest : public testing::Test {
 protected:
  // Each state that is cut off or has other bytes is refused, or is one that the device can go
  // on with; whatever it says, the guest's registers are there.
  template <typename Machine>
  static void expect_survival(Machine& machine) {
    const Bytes good = saved(machine.slot);
    const std::uint32_t id = machine.reg(8);
    for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
      const Bytes part(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(bytes));
      EXPECT_EQ(load(machine.slot, part).code(), absl::StatusCode::kDataLoss) << bytes;
      EXPECT_EQ(machine.reg(0x70), 0u);
    }
    std::mt19937 random(1);
    int refused = 0;
    for (int i = 0; i < 2000; ++i) {
      Bytes bad = good;
      for (int count = 1 + i % 3; count > 0; --count) {
        bad[random() % bad.size()] = static_cast<std::byte>(random());
      }
      refused += load(machine.slot, bad).ok() ? 0 : 1;
      machine.kick();
      EXPECT_EQ(machine.reg(8), id);
    }
    EXPECT_GT(refused, 200);
    machine.set_reg(0x70, 0);
    EXPECT_TRUE(load(machine.slot, good).ok());
  }

  struct Peer final : ConsolePeer {
    void console_output(std::span<const std::byte>) override {}
  } peer;
};

TEST_F(VirtioStateTest, DisksSurviveNonsense) {
  BlkMachine machine(std::make_unique<MemoryImage>(64));
  machine.start();
  expect_survival(machine);
}

TEST_F(VirtioStateTest, NetworksSurviveNonsense) {
  auto [near, far] = NetLoopback::pair();
  VirtioMachine<VirtioNet> machine(VirtioNet::create(std::move(near)).value());
  machine.start();
  far->send(Bytes(60, std::byte{1}));
  machine.device->poll();
  expect_survival(machine);
}

TEST_F(VirtioStateTest, ConsolesSurviveNonsense) {
  VirtioMachine<VirtioConsole> machine(std::make_unique<VirtioConsole>(peer));
  machine.start();
  machine.device->send(Bytes(10));
  expect_survival(machine);
}

TEST_F(VirtioStateTest, EntropyAndBalloonsSurviveNonsense) {
  VirtioMachine<VirtioRng> entropy(std::make_unique<VirtioRng>());
  entropy.start();
  expect_survival(entropy);
  VirtioMachine<VirtioBalloon> balloon(
      [](Guest& guest) { return std::make_unique<VirtioBalloon>(*guest.memory); });
  balloon.start();
  expect_survival(balloon);
}

TEST_F(VirtioStateTest, WhatWaitsGoesAlong) {
  VirtioMachine<VirtioConsole> from(std::make_unique<VirtioConsole>(peer));
  from.start();
  from.device->send(std::as_bytes(std::span("hello", 5)));
  VirtioMachine<VirtioConsole> to(
      std::make_unique<VirtioConsole>(peer, VirtioConsoleOptions{.size = {100, 50}}));
  ASSERT_TRUE(load(to.slot, saved(from.slot)).ok());
  EXPECT_EQ(to.config<std::uint16_t>(0), 100);  // the host's is shown, and told
  EXPECT_TRUE(to.config_interrupt());
  to.request(0, {{to.kData, 16, kWrite, 0}});
  EXPECT_EQ(to.text(to.kData, to.written(0)), "hello");

  auto [near, far] = NetLoopback::pair();
  VirtioMachine<VirtioNet> net(VirtioNet::create(std::move(near)).value());
  net.start();
  far->send(Bytes(60, std::byte{7}));
  net.device->poll();
  auto [other_near, other_far] = NetLoopback::pair();
  VirtioMachine<VirtioNet> other(VirtioNet::create(std::move(other_near)).value());
  ASSERT_TRUE(load(other.slot, saved(net.slot)).ok());
  other.request(0, {{other.kData, 100, kWrite, 0}});
  EXPECT_EQ(other.written(0), 72u);
  EXPECT_EQ(other.guest.bytes(other.kData + 12, 60), Bytes(60, std::byte{7}));

  // What comes while it is loaded takes no room from what waited.
  for (int i = 0; i < 2000; ++i) {
    other_far->send(Bytes(60, std::byte{9}));
    other.device->poll();
  }
  StateWriter of_net;
  ASSERT_TRUE(net.device->save(of_net).ok());
  const Bytes bytes = std::move(of_net).take();
  StateReader from_net(bytes);
  const absl::Status loaded = other.device->load(from_net);
  ASSERT_TRUE(loaded.ok()) << loaded;
  other.guest.put_bytes(other.kData, Bytes(100));
  other.request(0, {{other.kData, 100, kWrite, 0}});
  EXPECT_EQ(other.guest.bytes(other.kData + 12, 60), Bytes(60, std::byte{7}));
}

// Of a source that never says the same twice nothing is in the state.
class TwoSources final : public EntropySource {
 public:
  explicit TwoSources(bool repeats) : repeats_(repeats) {}
  std::size_t take(std::span<std::byte> to) override {
    for (std::byte& it : to) it = std::byte{++next_};
    return to.size();
  }
  bool repeats() const override { return repeats_; }
  void save(StateWriter& to) const override { to(next_); }
  void load(StateReader& from) override { from(next_); }

 private:
  bool repeats_;
  std::uint8_t next_ = 0;
};

TEST_F(VirtioStateTest, EntropyGoesOnWhereItRepeatsAndElsewhereIsFresh) {
  const auto make = [](bool repeats) {
    return std::make_unique<VirtioRng>(std::make_unique<TwoSources>(repeats));
  };
  using Machine = VirtioMachine<VirtioRng>;
  for (const bool repeats : {false, true}) {
    Machine from(make(repeats));
    from.start();
    from.request(0, {{Machine::kData, 5, kWrite, 0}});
    const auto given = from.guest.get<std::uint8_t>(Machine::kData + 4);
    Machine to(make(repeats));
    ASSERT_TRUE(load(to.slot, saved(from.slot)).ok());
    from.request(0, {{Machine::kData, 20, kWrite, 0}});
    to.rings[0].set_available_index(1);
    to.request(0, {{Machine::kData, 20, kWrite, 0}});
    EXPECT_EQ(to.used(0), 2);
    const Bytes kept = from.guest.bytes(Machine::kData, 20);
    EXPECT_EQ(to.guest.bytes(Machine::kData, 20) == kept, repeats) << int{given};
    Machine other(make(!repeats));
    EXPECT_EQ(load(other.slot, saved(from.slot)).code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(VirtioStateTest, AnotherDeviceIsRefused) {
  BlkMachine disk(std::make_unique<MemoryImage>(64));
  disk.start();
  const Bytes state = saved(disk.slot);
  VirtioMachine<VirtioRng> entropy(std::make_unique<VirtioRng>());
  EXPECT_EQ(load(entropy.slot, state).message(),
            "the state is of a virtio device of type 2 with 1 queues, not of type 4 with 1");
  BlkMachine blocks(std::make_unique<MemoryImage>(64), {.block_bytes = 1024});
  EXPECT_EQ(load(blocks.slot, state).message(),
            "the driver knows blocks of 512 bytes (physical: 4096), not of 1024 (4096)");
  BlkMachine small(std::make_unique<MemoryImage>(64), {.queue_size = 8});
  EXPECT_EQ(load(small.slot, state).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(small.reg(0x70), 0u);

  BlkMachine writable(std::make_unique<MemoryImage>(64));
  writable.start(kFeatureVersion1 | kFeatureDiscard);
  BlkMachine read_only(std::make_unique<MemoryImage>(64, ImageAccess::kReadOnly));
  EXPECT_EQ(load(read_only.slot, saved(writable.slot)).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(VirtioStateTest, ADiskOfAnotherSizeIsAChangeThatTheDriverIsToldOf) {
  BlkMachine disk(std::make_unique<MemoryImage>(64));
  disk.start();
  BlkMachine larger(std::make_unique<MemoryImage>(128));
  ASSERT_TRUE(load(larger.slot, saved(disk.slot)).ok());
  EXPECT_EQ(larger.config<std::uint64_t>(0), 128u);
  EXPECT_TRUE(larger.config_interrupt());
  // Before there is a driver, too.
  BlkMachine without_driver(std::make_unique<MemoryImage>(64));
  ASSERT_TRUE(load(larger.slot, saved(without_driver.slot)).ok());
  EXPECT_EQ(larger.config<std::uint64_t>(0), 128u);
}

TEST_F(VirtioStateTest, AQueueThatHasStoppedStaysStopped) {
  BlkMachine disk(std::make_unique<MemoryImage>(64));
  disk.start();
  disk.ring.set_available_index(100);
  disk.kick();
  ASSERT_TRUE(disk.needs_reset());
  BlkMachine other(std::make_unique<MemoryImage>(64));
  ASSERT_TRUE(load(other.slot, saved(disk.slot)).ok());
  EXPECT_TRUE(other.needs_reset());
  EXPECT_EQ(other.slot.queue_error(0), VirtqueueError::kAvailableJump);
  other.start();
  EXPECT_FALSE(other.needs_reset());
}

// Leaves its work to the driver's next access; and, if it is told so, keeps what it takes.
class LateDevice final : public ToyDevice {
 public:
  void notify(std::uint16_t index) override {
    ++notified;
    if (keeps) {
      DescriptorChain chain;
      transport_->queue(index).pop(chain);
    } else if (notified == 1) {
      transport_->defer(index);
    }
  }
  absl::Status save(StateWriter&) const override { return absl::OkStatus(); }
  absl::Status load(StateReader&) override { return absl::OkStatus(); }
  int notified = 0;
  bool keeps = false;
};

TEST_F(VirtioStateTest, WorkThatWasPutOffIsDoneAtTheNextAccess) {
  VirtioMachine<LateDevice> from(std::make_unique<LateDevice>());
  from.start();
  from.kick();
  const Bytes state = saved(from.slot);
  EXPECT_EQ(from.device->notified, 1);
  VirtioMachine<LateDevice> to(std::make_unique<LateDevice>());
  ASSERT_TRUE(load(to.slot, state).ok());
  EXPECT_EQ(to.device->notified, 0);
  EXPECT_EQ(to.line.level(), Level::kHigh);
  to.reg(0x60);
  EXPECT_EQ(to.device->notified, 1);
}

TEST_F(VirtioStateTest, ADeviceThatKeepsRequestsCannotBeSaved) {
  VirtioMachine<LateDevice> machine(std::make_unique<LateDevice>());
  machine.device->keeps = true;
  machine.start();
  machine.request(0, {{machine.kData, 16, kWrite, 0}});
  StateWriter to;
  EXPECT_EQ(machine.slot.save(to).message(), "the device still has requests of queue 0");
}

}  // namespace
}  // namespace vm_device
