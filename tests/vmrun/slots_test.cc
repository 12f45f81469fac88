#include "tools/vmrun/slots.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tools/vmrun/seed.h"
#include "tools/vmrun/wait.h"

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

// A folder of its own, gone in the end.
class Scratch {
 public:
  Scratch() { EXPECT_NE(mkdtemp(folder_.data()), nullptr); }
  ~Scratch() { std::filesystem::remove_all(folder_); }
  std::string path(std::string_view name) const { return folder_ + '/' + std::string(name); }

 private:
  std::string folder_ = testing::TempDir() + "/slots_XXXXXX";
};

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The emergency write is a console's simplest way to print.
void print(vm_device::VirtioDevice& console, char letter) {
  const std::array<std::byte, 4> bytes = {std::byte(letter)};
  console.write_config(8, bytes);
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
  const Scratch scratch;
  const std::string a = scratch.path("a"), b = scratch.path("b");
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

TEST(SlotsTest, AConsolePrintsIntoItsFileWhichIsEmptiedWhenTheRunBegins) {
  const Scratch scratch;
  const std::string path = scratch.path("console");
  std::ofstream(path) << "yesterday";
  {
    const auto slots = make({.console = path});
    const auto devices = slots->take_devices();
    EXPECT_EQ(content(path), "yesterday");
    EXPECT_TRUE(slots->console_file()->begin().ok());
    print(*devices[0], 'x');
    EXPECT_FALSE(slots->is_typed_to());
  }
  EXPECT_EQ(content(path), "x");
  const auto refused = HostSlots::create({.console = "/nowhere/file"}, [](char) {});
  EXPECT_EQ(refused.status().message(), "/nowhere/file: No such file or directory");
}

TEST(SlotsTest, AConsoleThatNobodyReadsIsWaitedForUntilTheDeadline) {
  const Scratch scratch;
  const std::string path = scratch.path("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int reader = open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  const auto slots = make({.console = path});
  const auto devices = slots->take_devices();
  OutputFile& file = *slots->console_file();
  file.output().set_deadline(std::chrono::steady_clock::now());
  for (int i = 0; i < 1 << 17; ++i) print(*devices[0], 'x');
  EXPECT_EQ(file.finish().message(), path + ": Broken pipe");
  close(reader);
}

TEST(SlotsTest, AFileThatSomebodyLocksIsNotEmptied) {
  const Scratch scratch;
  const auto one = make({.console = scratch.path("console")});
  const auto other = make({.console = scratch.path("console")});
  EXPECT_TRUE(one->console_file()->begin().ok());
  one->console_file()->output().put("kept");
  EXPECT_TRUE(one->console_file()->finish().ok());
  EXPECT_EQ(other->console_file()->begin().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(content(scratch.path("console")), "kept");
}

TEST(WaitTest, SignalsForSomebodyElseDoNotShortenIt) {
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGALRM, &action, &before), 0);
  const itimerval often{.it_interval = {0, 1000}, .it_value = {0, 1000}}, never{};
  ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(wait_for({}, std::chrono::milliseconds(30)));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(30));
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
}

TEST(SlotsTest, TheUsersConsoleIsTypedToOnceItHasPrinted) {
  std::string printed;
  auto slots = HostSlots::create({.console = "-"}, [&](char byte) { printed.push_back(byte); });
  ASSERT_TRUE(slots.ok());
  const auto devices = (*slots)->take_devices();
  EXPECT_FALSE((*slots)->is_typed_to());
  print(*devices[0], 'y');
  EXPECT_EQ(printed, "y");
  EXPECT_TRUE((*slots)->is_typed_to());
  int typed = 0;
  for (; (*slots)->has_room(); ++typed) (*slots)->type('z');
  EXPECT_EQ(static_cast<vm_device::VirtioConsole&>(*devices[0]).unread(), 4096u);
  EXPECT_EQ(typed, 4096);
}

}  // namespace
}  // namespace vmrun
