// Messages of a vhost-user front end that are none, are cut, or do not fit.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <span>
#include <vector>

#include "tests/vm_device/vhost_user_front_end.h"

namespace vm_device {
namespace {

// Each with what is right about it changed in one place.
TEST(VhostUserMessagesTest, EveryMalformedMessageIsRefusedAndTheDiskGoesOn) {
  std::atomic<int> refused{0};
  VhostDisk disk({.refused = [&](std::string_view why) {
    EXPECT_FALSE(why.empty());
    ++refused;
  }});
  disk.start();
  const int memory = disk.memory_fd();
  const struct {
    Request request;
    std::vector<std::byte> payload;
    std::vector<int> fds;
  } bad[] = {
      {Request::kSetFeatures, {}, {}},
      {Request::kSetFeatures, bytes_of({UINT64_MAX}), {}},
      {Request::kSetProtocolFeatures, bytes_of({UINT64_MAX}), {}},
      {Request::kSetOwner, bytes_of({1}), {}},
      {Request::kSetOwner, {}, {memory}},
      {Request::kSetMemTable, {}, {}},
      {Request::kSetMemTable, bytes_of({9}), {}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, kRamBytes, 0, 0}), {}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, kRamBytes, 0}), {memory}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, kRamBytes, 0, 0}), {memory, memory}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, kRamBytes, 0, 0}), {disk.kick}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, 2 * kRamBytes, 0, 0}), {memory}},
      {Request::kSetMemTable, bytes_of({1, kRamBase + 1, kRamBytes, 0, 0}), {memory}},
      {Request::kSetMemTable, bytes_of({1, UINT64_MAX - 4095, kRamBytes, 0, 0}), {memory}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, kRamBytes, UINT64_MAX, 0}), {memory}},
      {Request::kSetMemTable, bytes_of({1, kRamBase, kRamBytes, 0, UINT64_MAX}), {memory}},
      {Request::kSetMemTable, bytes_of({2, 0, 4096, 0, 0, 8192, 4096, 0, 0}), {memory, memory}},
      {Request::kSetMemTable,
       bytes_of({2, 0, 8192, 0, 0, 4096, 4096, 1 << 20, 0}),
       {memory, memory}},
      {Request::kSetVringNum, bytes_of({pair_of(1, 16)}), {}},
      {Request::kSetVringNum, bytes_of({pair_of(0, 0)}), {}},
      {Request::kSetVringNum, bytes_of({1, 2}), {}},
      {Request::kSetVringAddr, bytes_of({pair_of(7, 0), 0, 0, 0, 0}), {}},
      {Request::kSetVringAddr, bytes_of({0, 0, 0, 0, 0}), {}},
      {Request::kSetVringBase, bytes_of({pair_of(UINT32_MAX, 0)}), {}},
      {Request::kSetVringKick, bytes_of({0}), {}},
      {Request::kSetVringKick, bytes_of({internal::kVringNoFd}), {disk.kick}},
      {Request::kSetVringKick, bytes_of({5}), {disk.kick}},
      {Request::kSetVringKick, bytes_of({0}), {memory}},
      {Request::kSetVringKick, bytes_of({0}), {disk.kick, disk.kick}},
      {Request::kSetVringCall, bytes_of({255}), {disk.call}},
      {Request::kSetVringCall, {}, {disk.call}},
      {Request::kSetVringErr, bytes_of({9}), {disk.error}},
      {Request::kSetVringEnable, bytes_of({pair_of(1, 1)}), {}},
      {Request::kSetConfig, {}, {}},
      {Request::kSetConfig, bytes_of({pair_of(0, 4096), 0}), {}},
      {Request::kSetConfig, bytes_of({pair_of(UINT32_MAX, 4), 0}), {}},
      {Request::kSetBackendReqFd, {}, {}},
      {Request::kSetLogFd, {}, {}},
      {Request::kAddMemReg, bytes_of({0, kRamBase, kRamBytes, 0, 0}), {memory}},
      {Request::kAddMemReg, bytes_of({0, 0, 4096, VhostDisk::kUser, 0}), {memory}},
      {Request::kAddMemReg, bytes_of({0, 0, 0, 0, 0}), {memory}},
      {Request::kAddMemReg, bytes_of({0, 0, 4096, 0, 0}), {}},
      {Request::kRemMemReg, bytes_of({0, 0, 4096, 0, 0}), {}},
      {Request::kSetStatus, {}, {}},
      {Request::kResetDevice, bytes_of({1}), {}},
      {static_cast<Request>(99), {}, {}},
      {static_cast<Request>(UINT32_MAX), {}, {memory}},
  };
  int tried = 0;
  for (const auto& [request, payload, fds] : bad) {
    EXPECT_FALSE(disk.ask(request, payload, fds))
        << static_cast<std::uint32_t>(request) << " of " << payload.size() << ", number " << tried;
    ++tried;
    ASSERT_EQ(disk.request(kIn, 2, 512), kOk) << tried;
  }
  EXPECT_EQ(refused, tried);
  EXPECT_EQ(disk.backend->statistics().refused, static_cast<std::uint64_t>(tried));
}

// What cannot be answered by a number, and what is no message.
TEST(VhostUserMessagesTest, WhatCannotBeUnderstoodEndsTheConnectionAndNoOther) {
  VhostDisk disk;
  const auto header = [](std::uint32_t request, std::uint32_t flags, std::uint32_t bytes) {
    const std::array<std::uint32_t, 3> words{request, flags, bytes};
    const auto raw = std::as_bytes(std::span(words));
    return std::vector<std::byte>(raw.begin(), raw.end());
  };
  const int fd = disk.memory_fd();
  const struct {
    std::vector<std::byte> bytes;
    std::vector<int> fds;
  } bad[] = {
      {header(1, 0, 0), {}},                       // no version
      {header(1, 2, 0), {}},                       // another version
      {header(1, 1, UINT32_MAX), {}},              // a payload of 4 GiB
      {header(1, 1, 513), {}},                     // more than any message has
      {header(1, 1, 8), {}},                       // the payload does not come
      {std::vector<std::byte>(5), {}},             // half a header
      {header(11, 1, 0), {}},                      // GET_VRING_BASE of no ring
      {header(6, 1, 0), {}},                       // SET_LOG_BASE without a log
      {header(3, 1, 0), std::vector<int>(9, fd)},  // more descriptors than there can be
  };
  for (const auto& [bytes, fds] : bad) {
    ASSERT_TRUE(disk.socket->send_raw(bytes, fds));
    ::shutdown(disk.socket->fd(), SHUT_WR);
    disk.wait();
    EXPECT_EQ(disk.result.code(), absl::StatusCode::kInvalidArgument) << bytes.size();
    EXPECT_FALSE(disk.result.message().empty());
    disk.disconnect();
    disk.connect();
  }
  disk.start();
  EXPECT_EQ(disk.request(kIn, 2, 512), kOk);
}

TEST(VhostUserMessagesTest, AMessageMayComeInPieces) {
  VhostDisk disk;
  disk.start();
  const std::array<std::uint32_t, 5> message{
      static_cast<std::uint32_t>(Request::kSetStatus),
      internal::kVhostUserVersion | internal::kVhostUserNeedReply, 8, 7, 0};
  for (const std::byte byte : std::as_bytes(std::span(message))) {
    ASSERT_TRUE(disk.socket->send_raw({&byte, 1}));
  }
  const auto answer = disk.socket->receive(static_cast<std::uint32_t>(Request::kSetStatus));
  EXPECT_TRUE(answer && VhostDisk::word(*answer) == 0);
}

}  // namespace
}  // namespace vm_device
