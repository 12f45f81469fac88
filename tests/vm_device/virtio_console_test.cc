#include "vm_device/virtio_console.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/vm_device/virtio_machine.h"

namespace vm_device {
namespace {

using Machine = VirtioMachine<VirtioConsole>;
constexpr std::uint64_t kData = Machine::kData;
constexpr std::uint16_t kReceive = 0;
constexpr std::uint16_t kTransmit = 1;
constexpr std::uint64_t kSize = 1 << 0;
constexpr std::uint64_t kEmergencyWrite = 1 << 2;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

class RecordingPeer : public ConsolePeer {
 public:
  void console_output(std::span<const std::byte> bytes) override {
    said.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void console_has_room() override { ++rooms; }

  std::string said;
  std::atomic<int> rooms{0};
};

class VirtioConsoleTest : public testing::Test {
 protected:
  VirtioConsoleTest() { machine.start(kSize | kEmergencyWrite); }
  VirtioConsole& console() { return *machine.device; }
  void say(const std::string& text) {
    machine.put_text(kData, text);
    machine.request(kTransmit, {{kData, static_cast<std::uint32_t>(text.size()), 0, 0}});
  }
  void give_buffer(std::uint32_t bytes) { machine.request(kReceive, {{kData, bytes, kWrite, 0}}); }
  std::string heard() { return machine.text(kData, machine.written(kReceive)); }

  RecordingPeer peer;
  Machine machine{std::make_unique<VirtioConsole>(peer, VirtioConsoleOptions{.input_bytes = 100})};
};

TEST_F(VirtioConsoleTest, WhatTheDriverWritesReachesThePeer) {
  say("login: ");
  EXPECT_EQ(peer.said, "login: ");
  EXPECT_EQ(machine.used(kTransmit), 1);
  EXPECT_EQ(machine.written(kTransmit), 0u);
  EXPECT_EQ(machine.line.rises(), 1);
}

TEST_F(VirtioConsoleTest, OutputInPiecesStaysInOrder) {
  machine.put_text(kData, "abcdef");
  machine.request(kTransmit, {{kData + 4, 2, 0, 0}, {kData, 0, 0, 0}, {kData, 4, 0, 0}});
  EXPECT_EQ(peer.said, "efabcd");
}

TEST_F(VirtioConsoleTest, LongOutputStaysWhole) {
  std::string text(100'000, ' ');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  say(text);
  EXPECT_EQ(peer.said, text);
  EXPECT_EQ(console().lost_output(), 0u);
}

TEST_F(VirtioConsoleTest, InputWaitsForABuffer) {
  EXPECT_EQ(console().send(bytes_of("root\n")), 5u);
  EXPECT_EQ(console().unread(), 5u);
  EXPECT_EQ(machine.used(kReceive), 0);
  give_buffer(64);
  EXPECT_EQ(heard(), "root\n");
  EXPECT_EQ(console().unread(), 0u);
}

TEST_F(VirtioConsoleTest, ABufferWaitsForInput) {
  give_buffer(64);
  EXPECT_EQ(machine.used(kReceive), 0);
  EXPECT_EQ(console().send(bytes_of("x")), 1u);
  EXPECT_EQ(heard(), "x");
  EXPECT_EQ(machine.line.level(), Level::kHigh);
}

TEST_F(VirtioConsoleTest, InputIsCutIntoTheBuffersThatThereAre) {
  console().send(bytes_of("0123456789"));
  give_buffer(4);
  EXPECT_EQ(heard(), "0123");
  give_buffer(100);
  EXPECT_EQ(heard(), "456789");
}

TEST_F(VirtioConsoleTest, AFullBufferTakesNoMoreAndTellsWhenItDoes) {
  EXPECT_EQ(console().send(bytes_of(std::string(90, 'a'))), 90u);
  EXPECT_EQ(console().send(bytes_of(std::string(20, 'b'))), 10u);
  EXPECT_EQ(console().send(bytes_of("c")), 0u);
  EXPECT_EQ(peer.rooms, 0);
  give_buffer(30);
  EXPECT_EQ(peer.rooms, 1);
  EXPECT_EQ(console().send(bytes_of(std::string(31, 'd'))), 30u);
  give_buffer(200);
  EXPECT_EQ(heard(), std::string(60, 'a') + std::string(10, 'b') + std::string(30, 'd'));
  give_buffer(200);
  EXPECT_EQ(peer.rooms, 2);
}

TEST_F(VirtioConsoleTest, InputOutlivesAReset) {
  console().send(bytes_of("typed ahead"));
  machine.start();
  give_buffer(64);
  EXPECT_EQ(heard(), "typed ahead");
}

// The driver may fill the queue before DRIVER_OK, when nobody listens to its bell.
TEST_F(VirtioConsoleTest, InputFindsBuffersFromBeforeDriverOk) {
  console().send(bytes_of("early"));
  machine.negotiate(kFeatureVersion1);
  machine.set_up_queue(kReceive);
  machine.rings[kReceive].offer_chain({{kData, 64, kWrite, 0}});
  machine.go();
  EXPECT_EQ(heard(), "early");
}

TEST_F(VirtioConsoleTest, InputIsNotLostInBuffersThatCannotBeReached) {
  console().send(bytes_of("0123456789"));
  machine.request(kReceive, {{Machine::kHole, 64, kWrite, 0}});
  EXPECT_EQ(machine.written(kReceive), 0u);
  machine.request(kReceive, {{kRamEnd - 4, 64, kWrite, 0}});
  EXPECT_EQ(machine.written(kReceive), 4u);
  machine.request(kReceive, {{kData, 64, 0, 0}});
  EXPECT_EQ(machine.written(kReceive), 0u);
  give_buffer(64);
  EXPECT_EQ(heard(), "456789");
  EXPECT_FALSE(machine.needs_reset());
}

TEST_F(VirtioConsoleTest, OutputThatCannotBeReadIsCounted) {
  machine.put_text(kData, "seen");
  machine.request(kTransmit, {{kData, 4, 0, 0}, {Machine::kHole, 6, 0, 0}, {kData, 4, 0, 0}});
  EXPECT_EQ(peer.said, "seen");
  EXPECT_EQ(console().lost_output(), 10u);
  EXPECT_EQ(machine.used(kTransmit), 1);
  say("again");
  EXPECT_EQ(peer.said, "seenagain");
}

TEST_F(VirtioConsoleTest, OutputOfGigabytesIsCutAndCounted) {
  constexpr std::uint64_t kTable = kRamBase + 0x5'0000;
  for (std::uint16_t i = 0; i < 100; ++i) {
    const auto next = static_cast<std::uint16_t>(i + 1);
    machine.rings[kTransmit].describe_at(
        kTable + 16 * std::uint64_t{i},
        {kData, 0x8'0000, static_cast<std::uint16_t>(i == 99 ? 0 : kNext), next});
  }
  machine.rings[kTransmit].describe(0, {kTable, 1600, kIndirect, 0});
  machine.rings[kTransmit].offer(0);
  machine.kick(kTransmit);
  EXPECT_EQ(machine.used(kTransmit), 1);
  EXPECT_EQ(peer.said.size(), VirtioConsole::kMaxRequestBytes);
  EXPECT_EQ(console().lost_output(), 100 * 0x8'0000 - VirtioConsole::kMaxRequestBytes);
}

TEST_F(VirtioConsoleTest, AnErrorInOneQueueLeavesTheOtherAndEndsWithReset) {
  machine.rings[kTransmit].offer(99);
  machine.kick(kTransmit);
  EXPECT_TRUE(machine.needs_reset());
  console().send(bytes_of("still"));
  give_buffer(64);
  EXPECT_EQ(heard(), "still");
  machine.start();
  EXPECT_FALSE(machine.needs_reset());
  say("hello");
  EXPECT_EQ(peer.said, "hello");
}

TEST_F(VirtioConsoleTest, EmergencyWritesNeedNoQueue) {
  machine.set_reg(0x70, 0);
  for (const char c : std::string("ok")) {
    machine.guest.put(Machine::kConfig + 8, static_cast<std::uint32_t>(c));
  }
  EXPECT_EQ(peer.said, "ok");
  machine.guest.put(Machine::kConfig + 4, std::uint32_t{'x'});
  EXPECT_EQ(peer.said, "ok");
}

TEST_F(VirtioConsoleTest, TheSizeIsConfiguration) {
  EXPECT_EQ(machine.config<std::uint16_t>(0), 80);
  EXPECT_EQ(machine.config<std::uint16_t>(2), 25);
  EXPECT_EQ(machine.config<std::uint32_t>(4), 1u);
  const std::uint32_t generation = machine.reg(0xfc);
  console().resize({.columns = 132, .rows = 50});
  EXPECT_EQ(machine.config<std::uint16_t>(0), 132);
  EXPECT_EQ(machine.config<std::uint16_t>(2), 50);
  EXPECT_TRUE(machine.config_interrupt());
  EXPECT_NE(machine.reg(0xfc), generation);
  EXPECT_EQ(machine.device->device_features(), kSize | kEmergencyWrite);
}

// A peer that repeats what it hears.
class EchoPeer final : public ConsolePeer {
 public:
  void console_output(std::span<const std::byte> bytes) override { console->send(bytes); }
  VirtioConsole* console = nullptr;
};

TEST(VirtioConsoleEchoTest, ThePeerMayAnswerAtOnce) {
  EchoPeer peer;
  Machine machine(std::make_unique<VirtioConsole>(peer));
  peer.console = machine.device;
  machine.start();
  machine.request(kReceive, {{kData + 64, 64, kWrite, 0}});
  machine.put_text(kData, "echo");
  machine.request(kTransmit, {{kData, 4, 0, 0}});
  EXPECT_EQ(machine.text(kData + 64, machine.written(kReceive)), "echo");
}

// Several host threads send while the driver takes: nothing is lost, and the bytes of one
// thread stay in order.
TEST_F(VirtioConsoleTest, HostThreadsSendWhileTheDriverTakes) {
  constexpr int kThreads = 2;
  constexpr int kEach = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach;) {
        const std::byte byte{static_cast<std::uint8_t>(t << 7 | (i & 0x7f))};
        if (console().send(std::span(&byte, 1)) == 1) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  std::array<int, kThreads> next{};
  for (int taken = 0; taken < kThreads * kEach;) {
    const std::uint16_t before = machine.used(kReceive);
    give_buffer(7);
    while (machine.used(kReceive) == before) machine.reg(0x60);
    for (const std::byte it : machine.guest.bytes(kData, machine.written(kReceive))) {
      const auto value = std::to_integer<int>(it);
      EXPECT_EQ(value & 0x7f, next[static_cast<std::size_t>(value >> 7)]++ & 0x7f);
      ++taken;
    }
  }
  for (std::thread& it : threads) it.join();
  EXPECT_EQ(console().unread(), 0u);
}

}  // namespace
}  // namespace vm_device
