#include "vm_device/net_backend.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "tests/support/temporary_file.h"
#include "vm_device/internal/frame_queue.h"
#include "vm_device/net_loopback.h"
#include "vm_device/net_socket.h"

namespace vm_device {
namespace {

using Frame = std::vector<std::byte>;

Frame frame_of(std::size_t bytes, int seed) {
  Frame out(bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    out[i] = static_cast<std::byte>(i + static_cast<unsigned>(seed));
  return out;
}

// Empty: there is none.
Frame receive(NetBackend& from) {
  Frame to(4096);
  const auto bytes = from.receive(to);
  to.resize(bytes.value_or(0));
  return to;
}

template <typename Backend>
void expect_frames_to_pass(Backend& a, Backend& b) {
  EXPECT_EQ(receive(a), Frame{});
  EXPECT_EQ(a.send(frame_of(60, 1)), SendStatus::kSent);
  EXPECT_EQ(a.send(frame_of(1514, 2)), SendStatus::kSent);
  EXPECT_EQ(b.send(frame_of(100, 3)), SendStatus::kSent);
  EXPECT_EQ(receive(b), frame_of(60, 1));
  EXPECT_EQ(receive(b), frame_of(1514, 2));
  EXPECT_EQ(receive(b), Frame{});
  EXPECT_EQ(receive(a), frame_of(100, 3));
}

TEST(NetLoopbackTest, FramesPassInBothDirections) {
  const auto [a, b] = NetLoopback::pair();
  expect_frames_to_pass(*a, *b);
  EXPECT_EQ(a->descriptor(), -1);
}

TEST(NetLoopbackTest, AFullCableRefuses) {
  const auto [a, b] = NetLoopback::pair({.frames = 2, .frame_bytes = 100});
  EXPECT_EQ(a->send(frame_of(100, 0)), SendStatus::kSent);
  EXPECT_EQ(a->send(frame_of(101, 0)), SendStatus::kRefused);
  EXPECT_EQ(a->send(Frame{}), SendStatus::kRefused);
  EXPECT_EQ(a->send(frame_of(50, 1)), SendStatus::kSent);
  EXPECT_EQ(a->send(frame_of(50, 2)), SendStatus::kRefused);
  EXPECT_EQ(receive(*b), frame_of(100, 0));
  EXPECT_EQ(a->send(frame_of(50, 3)), SendStatus::kSent);
  EXPECT_EQ(receive(*b), frame_of(50, 1));
  EXPECT_EQ(receive(*b), frame_of(50, 3));
}

TEST(NetLoopbackTest, ArrivalsAreTold) {
  const auto [a, b] = NetLoopback::pair({.frames = 1});
  int arrivals = 0;
  b->on_arrival([&arrivals] { ++arrivals; });
  a->send(frame_of(60, 0));
  a->send(frame_of(60, 0));
  b->send(frame_of(60, 0));
  EXPECT_EQ(arrivals, 1);
}

TEST(NetLoopbackTest, AnEndMayGoFirst) {
  auto [a, b] = NetLoopback::pair();
  a->send(frame_of(60, 7));
  a.reset();
  EXPECT_EQ(b->send(frame_of(60, 0)), SendStatus::kSent);
  EXPECT_EQ(receive(*b), frame_of(60, 7));
}

TEST(NetLoopbackTest, AFrameThatIsCutSaysHowLongItWas) {
  const auto [a, b] = NetLoopback::pair();
  a->send(frame_of(60, 7));
  Frame to(20);
  EXPECT_EQ(b->receive(to), 60u);
  EXPECT_EQ(to, frame_of(20, 7));
}

TEST(NetLoopbackTest, TwoThreadsLoseNothingThatWasTaken) {
  constexpr int kFrames = 5000;
  const auto [a, b] = NetLoopback::pair({.frames = 4, .frame_bytes = 64});
  std::thread sender([&a = a] {
    for (int i = 0; i < kFrames;) {
      if (a->send(frame_of(20, i)) == SendStatus::kSent) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (int i = 0; i < kFrames;) {
    const Frame got = receive(*b);
    if (got.empty()) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_EQ(got, frame_of(20, i++));
  }
  sender.join();
}

class NetSocketTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder.file(name); }
  static bool is_readable(const NetBackend& it) {
    pollfd wait{.fd = it.descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, 0) == 1;
  }

  vm_test::TemporaryFolder folder;
};

TEST_F(NetSocketTest, FramesPassThroughAPair) {
  auto ends = NetSocket::pair();
  ASSERT_TRUE(ends.ok());
  expect_frames_to_pass(*ends->first, *ends->second);
}

TEST_F(NetSocketTest, FramesPassBetweenPaths) {
  auto a = NetSocket::bind(path("a"), path("b"));
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ((*a)->send(frame_of(60, 0)), SendStatus::kRefused);
  auto b = NetSocket::bind(path("b"), path("a"));
  ASSERT_TRUE(b.ok()) << b.status();
  expect_frames_to_pass(**a, **b);
  b->reset();
  EXPECT_FALSE(std::filesystem::exists(path("b")));
  EXPECT_EQ((*a)->send(frame_of(60, 0)), SendStatus::kRefused);
  b = NetSocket::bind(path("b"), path("a"));
  ASSERT_TRUE(b.ok()) << b.status();
  expect_frames_to_pass(**a, **b);
}

TEST_F(NetSocketTest, TheDescriptorSaysWhenThereIsAFrame) {
  auto ends = NetSocket::pair();
  ASSERT_TRUE(ends.ok());
  EXPECT_FALSE(is_readable(*ends->second));
  ends->first->send(frame_of(60, 0));
  EXPECT_TRUE(is_readable(*ends->second));
  receive(*ends->second);
  EXPECT_FALSE(is_readable(*ends->second));
}

TEST_F(NetSocketTest, AFullSocketRefusesInsteadOfWaiting) {
  auto ends = NetSocket::pair();
  ASSERT_TRUE(ends.ok());
  int sent = 0;
  while (sent < 1'000'000 && ends->first->send(frame_of(1514, 0)) == SendStatus::kSent) ++sent;
  EXPECT_LT(sent, 1'000'000);
  for (int i = 0; i < sent; ++i) EXPECT_EQ(receive(*ends->second).size(), 1514u);
  EXPECT_EQ(ends->first->send(frame_of(60, 0)), SendStatus::kSent);
}

TEST_F(NetSocketTest, AFrameThatIsCutSaysHowLongItWas) {
  auto ends = NetSocket::pair();
  ASSERT_TRUE(ends.ok());
  ends->first->send(frame_of(60, 0));
  Frame to(20);
  EXPECT_EQ(ends->second->receive(to), 60u);
  ends->first->send(Frame{});
  EXPECT_EQ(ends->second->receive(to), 0u);
}

TEST_F(NetSocketTest, APeerThatIsGoneRefuses) {
  auto ends = NetSocket::pair();
  ASSERT_TRUE(ends.ok());
  ends->second.reset();
  EXPECT_EQ(ends->first->send(frame_of(60, 0)), SendStatus::kRefused);
  EXPECT_EQ(receive(*ends->first), Frame{});
}

TEST_F(NetSocketTest, AdoptsDatagramSocketsAlone) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends.data()), 0);
  auto adopted = NetSocket::adopt(ends[0]);
  ASSERT_TRUE(adopted.ok());
  EXPECT_EQ((*adopted)->send(frame_of(60, 0)), SendStatus::kSent);
  adopted->reset();
  EXPECT_EQ(::fcntl(ends[0], F_GETFD), -1);
  ::close(ends[1]);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  for (const int wrong : {ends[0], -1}) {
    EXPECT_EQ(NetSocket::adopt(wrong).status().code(), absl::StatusCode::kInvalidArgument);
  }
  for (const int end : ends) EXPECT_EQ(::close(end), 0);
}

TEST_F(NetSocketTest, RefusesPathsThatCannotBe) {
  const auto code = [](const std::string& path, const std::string& peer) {
    return NetSocket::bind(path, peer).status().code();
  };
  EXPECT_EQ(code("", path("b")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(path("a"), ""), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(path("a"), path(std::string(200, 'b'))), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(path("no/such/folder"), path("b")), absl::StatusCode::kUnavailable);
  auto first = NetSocket::bind(path("a"), path("b"));
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(code(path("a"), path("b")), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(path("a")));
}

}  // namespace
}  // namespace vm_device
