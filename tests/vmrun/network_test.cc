// Debian's U-Boot, whose driver we did not write, on the network device.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tools/vmrun/machine.h"
#include "tools/vmrun/options.h"
#include "vm_device/net_loopback.h"
#include "vm_device/virtio_net.h"

namespace vmrun {
namespace {

using vm_device::NetLoopback;
using vm_device::VirtioNet;
using Frame = std::vector<std::byte>;

constexpr std::size_t kEthernetBytes = 14;

// Answers who asks for it by ARP, and echoes (ICMP). 10.0.0.1.
class Neighbour {
 public:
  explicit Neighbour(NetLoopback& cable) : cable_(&cable) {}

  void attend() {
    Frame frame(2048);
    while (const auto bytes = cable_->receive(frame)) {
      frame.resize(*bytes);
      answer(frame);
      frame.resize(2048);
    }
  }

  int echoes = 0;

 private:
  static constexpr std::byte kMac[6] = {std::byte{2}, {}, {}, {}, {}, std::byte{1}};
  static std::uint16_t half(const Frame& frame, std::size_t at) {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(frame[at]) << 8 |
                                      std::to_integer<unsigned>(frame[at + 1]));
  }

  void answer(Frame frame) {
    if (frame.size() < 42) return;
    std::copy_n(&frame[6], 6, &frame[0]);
    std::copy_n(kMac, 6, &frame[6]);
    const std::uint16_t kind = half(frame, 12);
    if (kind == 0x0806 && half(frame, 20) == 1) return answer_arp(frame);
    if (kind == 0x0800 && frame[23] == std::byte{1} && frame[34] == std::byte{8}) echo(frame);
  }
  void answer_arp(Frame& frame) {
    const Frame asking(&frame[22], &frame[32]);
    const Frame asked(&frame[38], &frame[42]);
    frame[21] = std::byte{2};
    std::copy_n(kMac, 6, &frame[22]);
    std::copy_n(asked.begin(), 4, &frame[28]);
    std::copy_n(asking.begin(), 10, &frame[32]);
    cable_->send(frame);
  }
  // An answer in place of a question: the checksum grows by what the type has lost.
  void echo(Frame& frame) {
    std::swap_ranges(&frame[26], &frame[30], &frame[30]);
    frame[34] = std::byte{0};
    const unsigned sum = half(frame, 36) + 0x0800u;
    const unsigned folded = (sum & 0xffff) + (sum >> 16);
    frame[36] = static_cast<std::byte>(folded >> 8);
    frame[37] = static_cast<std::byte>(folded);
    ++echoes;
    cable_->send(frame);
  }

  NetLoopback* cable_;
};

class NetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(std::string(kDefaultFirmware), std::ios::binary);
    if (!file) GTEST_SKIP() << "Debian's u-boot-qemu is not installed";
    const std::string firmware{std::istreambuf_iterator<char>(file), {}};
    auto [near, far] = NetLoopback::pair();
    cable = std::move(far);
    auto device = VirtioNet::create(std::move(near));
    ASSERT_TRUE(device.ok()) << device.status();
    net = device->get();
    MachineOptions options;
    options.memory_bytes = kDefaultMemoryBytes;
    options.console = [this](char it) { printed += it; };
    options.devices.push_back(*std::move(device));
    auto made = Machine::create(std::move(options));
    ASSERT_TRUE(made.ok()) << made.status();
    machine = *std::move(made);
    ASSERT_TRUE(machine->boot({.firmware = {"u-boot", std::as_bytes(std::span(firmware))}}).ok());
  }
  // Runs until the guest has printed `text`, from what it has not printed before.
  bool wait_for(const std::string& text, Neighbour& neighbour) {
    for (int slice = 0; slice < 20'000; ++slice) {
      const std::size_t at = printed.find(text, heard);
      if (at != std::string::npos) {
        heard = at + text.size();
        return true;
      }
      machine->run(100'000);
      neighbour.attend();
      net->poll();
    }
    return false;
  }
  void type(const std::string& text) {
    for (const char it : text) {
      while (machine->uart().space() == 0) machine->run(10'000);
      machine->uart().receive(it);
    }
  }

  std::string printed;
  std::size_t heard = 0;
  std::unique_ptr<NetLoopback> cable;
  VirtioNet* net = nullptr;  // owned by machine
  std::unique_ptr<Machine> machine;
};

TEST_F(NetworkTest, UBootPingsItsNeighbour) {
  Neighbour neighbour(*cable);
  ASSERT_TRUE(wait_for("autoboot", neighbour)) << printed;
  type(" ");
  ASSERT_TRUE(wait_for("=> ", neighbour)) << printed;
  type("setenv ipaddr 10.0.0.2; ping 10.0.0.1; ping 10.0.0.1\n");
  ASSERT_TRUE(wait_for("host 10.0.0.1 is alive", neighbour)) << printed;
  ASSERT_TRUE(wait_for("host 10.0.0.1 is alive", neighbour)) << printed;
  EXPECT_EQ(neighbour.echoes, 2);
  const vm_device::VirtioNetCounters counters = net->counters();
  EXPECT_EQ(counters.sent_bad + counters.received_unfit + counters.received_bad, 0u);
  EXPECT_GE(counters.received, 3u);
}

}  // namespace
}  // namespace vmrun
