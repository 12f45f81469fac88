// Requests that a back end has when it ends are found by the next one.

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "tests/vm_device/vhost_user_front_end.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kFeatures = kFeatureVersion1 | kFeatureRingIndirect;
constexpr std::uint64_t kRing = kRamBase;

// Keeps what it takes, and gives back those whose heads it is told, in that order.
class HoldingDevice final : public VirtioDevice {
 public:
  struct Orders {
    std::mutex mutex;
    std::vector<std::uint16_t> taken;
    std::vector<std::uint16_t> give_back;
  };
  explicit HoldingDevice(Orders& orders) : orders_(orders) {}

  std::uint32_t device_id() const override { return 2; }
  std::uint64_t device_features() const override { return 0; }
  std::uint16_t queue_count() const override { return 1; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 16; }
  void read_config(std::uint64_t, std::span<std::byte>) const override {}
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(VirtioTransport& transport) override { transport_ = &transport; }
  bool completes_alone(std::uint16_t) const override { return false; }
  void reset() override { held_.clear(); }
  void reset_queue(std::uint16_t) override { held_.clear(); }
  void notify(std::uint16_t index) override {
    const std::lock_guard lock(orders_.mutex);
    Virtqueue& queue = transport_->queue(index);
    DescriptorChain chain;
    while (queue.pop(chain) == PopStatus::kChain) {
      orders_.taken.push_back(chain.head());
      held_.push_back(chain);
    }
    for (const std::uint16_t head : std::exchange(orders_.give_back, {})) {
      const auto it = std::find_if(held_.begin(), held_.end(),
                                   [head](const auto& held) { return held.head() == head; });
      if (it == held_.end()) continue;
      queue.push(*it, 0);
      held_.erase(it);
    }
    transport_->signal_used(index);
  }

 private:
  Orders& orders_;
  VirtioTransport* transport_ = nullptr;
  std::vector<DescriptorChain> held_;
};

// The journal as it was, to put its flags and its index back.
class SharedWords {
 public:
  SharedWords(int file, std::uint64_t bytes) : bytes_(bytes) {
    EXPECT_EQ(::pread(file, bytes_.data(), bytes, 0), static_cast<ssize_t>(bytes));
  }
  void restore_flags(int file) const {
    EXPECT_EQ(::pwrite(file, &bytes_[14], 2, 14), 2);
    for (std::size_t at = 16; at < bytes_.size(); at += 16) {
      EXPECT_EQ(::pwrite(file, &bytes_[at], 1, static_cast<off_t>(at)), 1);
    }
  }

 private:
  std::vector<std::byte> bytes_;
};

class VhostUserInflightTest : public testing::Test {
 protected:
  VhostUserInflightTest()
      : front_(std::make_unique<HoldingDevice>(orders_)),
        driver_(front_.guest, kRing, VhostFrontEnd::kSize, kFeatures) {
    front_.negotiate(kFeatures);
    EXPECT_NE(front_.get_word(Request::kGetProtocolFeatures) & internal::kProtocolInflightShmfd,
              0u);
    file_ = ask_for_file();
  }
  ~VhostUserInflightTest() override { ::close(file_); }

  static std::vector<std::byte> question(std::uint64_t bytes, std::uint16_t queues,
                                         std::uint16_t size) {
    return bytes_of({bytes, 0, queues | std::uint64_t{size} << 16});
  }
  int ask_for_file() {
    const auto request = static_cast<std::uint32_t>(Request::kGetInflightFd);
    front_.socket->send(request, internal::kVhostUserVersion, question(0, 1, size_));
    std::array<std::byte, 36> answer{};
    iovec place{answer.data(), answer.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &place;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    EXPECT_EQ(::recvmsg(front_.socket->fd(), &message, MSG_WAITALL), 36);
    std::memcpy(&bytes_, &answer[12], sizeof bytes_);
    int fd = -1;
    if (cmsghdr* const header = CMSG_FIRSTHDR(&message); header != nullptr) {
      std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    }
    EXPECT_GE(fd, 0);
    return fd;
  }
  void start() {
    ASSERT_TRUE(front_.share_memory());
    ASSERT_TRUE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, size_), {file_}));
    ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  }
  void come_back() {
    front_.disconnect();
    front_.connect();
    front_.negotiate(kFeatures);
    start();
  }
  std::uint16_t offer() { return driver_.offer({{kRamBase + 0x1'0000, 16, kWrite, 0}}); }
  // What the device has taken since the last call.
  std::vector<std::uint16_t> taken() {
    front_.kick_ring();
    front_.join();  // messages come after kicks that came before
    const std::lock_guard lock(orders_.mutex);
    return std::exchange(orders_.taken, {});
  }
  std::vector<std::uint16_t> wait_for_taken(std::size_t count) {
    std::vector<std::uint16_t> out;
    while (out.size() < count) {
      const auto more = taken();
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  }
  void give_back(std::vector<std::uint16_t> heads) {
    {
      const std::lock_guard lock(orders_.mutex);
      orders_.give_back = heads;
    }
    driver_.want_interrupt();
    front_.kick_ring();
    for (const std::uint16_t head : heads) {
      while (!driver_.has_used()) std::this_thread::yield();
      const auto used = driver_.take_used();
      ASSERT_TRUE(used);
      EXPECT_EQ(used->id, head);
    }
  }

  HoldingDevice::Orders orders_;
  VhostFrontEnd front_;
  RingDriver driver_;
  std::uint16_t size_ = 16;
  std::uint64_t bytes_ = 0;
  int file_ = -1;
};

TEST_F(VhostUserInflightTest, WhatWasTakenIsTakenAgainInItsOrder) {
  start();
  std::vector<std::uint16_t> heads;
  for (int i = 0; i < 6; ++i) heads.push_back(offer());
  EXPECT_EQ(wait_for_taken(6), heads);
  give_back({heads[4], heads[1]});
  come_back();
  const std::vector<std::uint16_t> left{heads[0], heads[2], heads[3], heads[5]};
  EXPECT_EQ(wait_for_taken(4), left);
  const std::uint16_t late = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{late});
  give_back({heads[5], late, heads[0], heads[3], heads[2]});
  come_back();
  EXPECT_TRUE(taken().empty());
}

// QEMU makes room for the queues that it offers; a driver may use less.
TEST_F(VhostUserInflightTest, AJournalMayBeLargerThanItsRing) {
  size_ = 32;
  ::close(file_);
  file_ = ask_for_file();
  start();
  const std::vector<std::uint16_t> heads{offer(), offer()};
  EXPECT_EQ(wait_for_taken(2), heads);
  give_back({heads[1]});
  come_back();
  EXPECT_EQ(wait_for_taken(1), std::vector{heads[0]});
}

// The same again and again, so that indices wrap and heads are used again.
TEST_F(VhostUserInflightTest, EveryRequestIsAnsweredOnceHoweverOftenTheBackEndEnds) {
  start();
  std::vector<std::uint16_t> out;
  std::uint32_t random = 1;
  for (int round = 0; round < 200; ++round) {
    const auto next = [&random](std::uint32_t end) {
      random = random * 1664525 + 1013904223;
      return (random >> 16) % end;
    };
    std::vector<std::uint16_t> offered;
    while (driver_.free_descriptors() > 4 && next(3) != 0) offered.push_back(offer());
    EXPECT_EQ(wait_for_taken(offered.size()), offered) << round;
    out.insert(out.end(), offered.begin(), offered.end());
    std::vector<std::uint16_t> done;
    while (!out.empty() && next(4) != 0) {
      const auto it = out.begin() + static_cast<std::ptrdiff_t>(next(std::uint32_t(out.size())));
      done.push_back(*it);
      out.erase(it);
    }
    give_back(done);
    if (next(4) != 0) continue;
    come_back();
    EXPECT_EQ(wait_for_taken(out.size()), out) << round;
  }
}

// As where the back end ends between the driver's index and the note of it.
TEST_F(VhostUserInflightTest, WhatTheDriverSeesUsedIsNotTakenAgain) {
  start();
  const std::vector<std::uint16_t> heads{offer(), offer(), offer()};
  EXPECT_EQ(wait_for_taken(3), heads);
  const SharedWords before(file_, bytes_);
  give_back({heads[2], heads[0]});
  front_.disconnect();
  before.restore_flags(file_);
  front_.connect();
  front_.negotiate(kFeatures);
  start();
  EXPECT_EQ(wait_for_taken(1), std::vector{heads[1]});
}

TEST_F(VhostUserInflightTest, ADriverThatResetsTheDeviceIsGivenNothingBack) {
  start();
  offer();
  wait_for_taken(1);
  ASSERT_TRUE(front_.ask(Request::kResetDevice, {}));
  driver_.clear();
  ASSERT_TRUE(front_.ask(Request::kSetFeatures, {kFeatures | internal::kVhostFeatureProtocol}));
  ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  EXPECT_TRUE(taken().empty());
}

TEST_F(VhostUserInflightTest, JournalsFullOfRubbishAreSurvived) {
  start();
  for (int fill = 0; fill < 256; fill += 15) {
    front_.disconnect();
    std::vector<std::byte> rubbish(bytes_, static_cast<std::byte>(fill));
    const std::array<std::uint16_t, 2> head{1, 16};  // known, all the same
    std::memcpy(&rubbish[8], head.data(), sizeof head);
    ASSERT_EQ(::pwrite(file_, rubbish.data(), rubbish.size(), 0), ssize_t(rubbish.size()));
    driver_.clear();
    front_.connect();
    front_.negotiate(kFeatures);
    start();
    taken();
  }
  const std::vector<std::byte> zeros(bytes_);
  front_.disconnect();
  ASSERT_EQ(::pwrite(file_, zeros.data(), zeros.size(), 0), ssize_t(zeros.size()));
  driver_.clear();
  front_.connect();
  front_.negotiate(kFeatures);
  start();
  taken();
  const std::uint16_t head = offer();
  EXPECT_EQ(wait_for_taken(1), std::vector{head});
}

TEST_F(VhostUserInflightTest, BadJournalsAreRefused) {
  const int event = make_event();
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 0), {file_}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 2, 16), {file_}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_ + 4096, 1, 16), {file_}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 16), {event}));
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 16)));
  start();
  EXPECT_FALSE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, 16), {file_}));
  ::close(event);
}

}  // namespace
}  // namespace vm_device
