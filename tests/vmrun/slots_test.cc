#include "tools/vmrun/slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "tools/vmrun/seed.h"

namespace vmrun {
namespace {

using vm_device::ImageAccess;
using Bytes = std::vector<std::byte>;

std::unique_ptr<HostSlots> make(const SlotOptions& options) {
  auto slots = HostSlots::create(options, [](char) {});
  EXPECT_TRUE(slots.ok()) << slots.status();
  return *std::move(slots);
}

Bytes drawn(std::uint64_t seed, ChanceUser user, std::size_t bytes) {
  Bytes out(bytes);
  EXPECT_EQ(SeededEntropy(seed, user).take(out), bytes);
  return out;
}

TEST(SeedTest, GivesTheSameToWhoeverAsksInAnyPieces) {
  const Bytes whole = drawn(7, ChanceUser::kEntropyDevice, 1000);
  SeededEntropy source(7, ChanceUser::kEntropyDevice);
  Bytes pieces(1000);
  for (std::size_t at = 0, n = 1; at < pieces.size(); at += n, n = std::min(n + 3, 1000 - at)) {
    source.take(std::span(pieces).subspan(at, n));
  }
  EXPECT_EQ(pieces, whole);
}

TEST(SeedTest, SeedsAndUsersHaveNumbersOfTheirOwn) {
  const Bytes one = drawn(0, ChanceUser::kEntropyDevice, 64);
  EXPECT_NE(one, drawn(1, ChanceUser::kEntropyDevice, 64));
  EXPECT_NE(one, drawn(0, ChanceUser::kDeviceTree, 64));
  EXPECT_NE(rng_seed(0), rng_seed(1));
  EXPECT_EQ(rng_seed(1), rng_seed(1));
}

TEST(SeedTest, BytesAreSpreadEvenly) {
  std::array<int, 256> counts{};
  for (const std::byte byte : drawn(3, ChanceUser::kEntropyDevice, 256 * 256)) {
    ++counts[std::to_integer<std::size_t>(byte)];
  }
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  EXPECT_GT(*least, 256 - 6 * 16);  // six times the deviation that chance has
  EXPECT_LT(*most, 256 + 6 * 16);
}

TEST(SlotsTest, ADiskMayBeReadOnly) {
  EXPECT_EQ(parse_disk("a").access, ImageAccess::kReadWrite);
  EXPECT_EQ(parse_disk("a,readonly").access, ImageAccess::kReadOnly);
  EXPECT_EQ(parse_disk("a,readonly").path, "a");
  EXPECT_EQ(parse_disk("a,b").path, "a,b");
}

TEST(SlotsTest, DevicesFollowEachOtherAsDocumented) {
  const auto slots =
      make({.nets = {{}, {.kind = NetKind::kLoop}}, .console = "-", .has_rng = true, .seed = 1});
  const auto devices = slots->take_devices();
  std::vector<std::uint32_t> ids;
  for (const auto& device : devices) ids.push_back(device->device_id());
  EXPECT_EQ(ids, (std::vector<std::uint32_t>{1, 1, 3, 4}));
  std::array<std::byte, 6> macs[2];
  devices[0]->read_config(0, macs[0]);
  devices[1]->read_config(0, macs[1]);
  EXPECT_NE(macs[0], macs[1]);
  EXPECT_TRUE(slots->has_network());
  EXPECT_FALSE(slots->can_hear());
}

TEST(SlotsTest, WhatALoopIsSentComesBack) {
  const auto slots = make({.nets = {{.kind = NetKind::kLoop}}});
  const auto devices = slots->take_devices();
  auto& cable = static_cast<vm_device::VirtioNet&>(*devices[0]).backend();
  Bytes frame(60, std::byte{7}), back(100);
  EXPECT_EQ(cable.receive(back), std::nullopt);
  EXPECT_EQ(cable.send(frame), vm_device::SendStatus::kSent);
  ASSERT_EQ(cable.receive(back), 60u);
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), back.begin()));
  EXPECT_EQ(cable.receive(back), std::nullopt);
}

TEST(SlotsTest, SocketsAreHeard) {
  const std::string a = testing::TempDir() + "/slots_a", b = testing::TempDir() + "/slots_b";
  const NetOption one{.kind = NetKind::kSockets, .local = a, .peer = b};
  const NetOption other{.kind = NetKind::kSockets, .local = b, .peer = a};
  const auto here = make({.nets = {one}}), there = make({.nets = {other}});
  EXPECT_TRUE(here->can_hear());
  const auto devices = here->take_devices(), others = there->take_devices();
  const Bytes frame(60, std::byte{7});
  Bytes back(100);
  auto& sender = static_cast<vm_device::VirtioNet&>(*others[0]).backend();
  EXPECT_EQ(sender.send(frame), vm_device::SendStatus::kSent);
  here->wait(std::chrono::milliseconds(60'000));  // ends at once
  EXPECT_EQ(static_cast<vm_device::VirtioNet&>(*devices[0]).backend().receive(back), 60u);
  EXPECT_EQ(HostSlots::create({.nets = {one}}, [](char) {}).status().code(),
            absl::StatusCode::kAlreadyExists);
}

// The emergency write is a console's simplest way to print.
TEST(SlotsTest, AConsolePrintsIntoItsFile) {
  const std::string path = testing::TempDir() + "/slots_console";
  {
    const auto slots = make({.console = path});
    const auto devices = slots->take_devices();
    const std::array<std::byte, 4> letter = {std::byte{'x'}};
    devices[0]->write_config(8, letter);
    EXPECT_FALSE(slots->is_typed_to());
  }
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "x");
  const auto refused = HostSlots::create({.console = "/nowhere/file"}, [](char) {});
  EXPECT_EQ(refused.status().message(), "/nowhere/file: No such file or directory");
}

TEST(SlotsTest, TheUsersConsoleIsTypedToOnceItHasPrinted) {
  std::string printed;
  auto slots = HostSlots::create({.console = "-"}, [&](char byte) { printed.push_back(byte); });
  ASSERT_TRUE(slots.ok());
  const auto devices = (*slots)->take_devices();
  EXPECT_FALSE((*slots)->is_typed_to());
  const std::array<std::byte, 4> letter = {std::byte{'y'}};
  devices[0]->write_config(8, letter);
  EXPECT_EQ(printed, "y");
  EXPECT_TRUE((*slots)->is_typed_to());
  int typed = 0;
  for (; (*slots)->has_room(); ++typed) (*slots)->type('z');
  EXPECT_EQ(static_cast<vm_device::VirtioConsole&>(*devices[0]).unread(), 4096u);
  EXPECT_EQ(typed, 4096);
}

}  // namespace
}  // namespace vmrun
