// A device that keeps its requests until it is told, a driver, and back ends that end in between.
#ifndef TESTS_VM_DEVICE_VHOST_USER_INFLIGHT_H_
#define TESTS_VM_DEVICE_VHOST_USER_INFLIGHT_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <ostream>

#include "tests/vm_device/toy_device.h"
#include "tests/vm_device/vhost_user_front_end.h"

namespace vm_device {

// What makes a request known: its name, where its first buffer lies, how many there are, and
// their bytes.
struct Held {
  std::uint16_t head = 0;
  std::uint64_t address = 0;
  std::size_t buffers = 0;
  std::uint64_t bytes = 0;

  friend bool operator==(const Held&, const Held&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Held& it) {
    return out << it.head << ": " << it.buffers << " from " << it.address << ", " << it.bytes;
  }
};

// Keeps what it takes, and gives back those whose heads it is told, in that order.
class HoldingDevice final : public ToyDevice {
 public:
  struct Orders {
    std::mutex mutex;
    std::vector<Held> taken;
    std::vector<std::uint16_t> give_back;
    std::atomic<bool> stage{false};  // publish them together
    // Takes so many at a time, and answers them the next time that it is called, which it sees to.
    std::atomic<std::size_t> most{SIZE_MAX};
    std::atomic<bool> answers{false};
  };
  explicit HoldingDevice(Orders& orders) : orders_(orders) {}

  bool completes_alone(std::uint16_t) const override { return orders_.answers; }
  void reset() override { held_.clear(); }
  void reset_queue(std::uint16_t) override { held_.clear(); }
  void notify(std::uint16_t index) override {
    const std::lock_guard lock(orders_.mutex);
    Virtqueue& queue = transport_->queue(index);
    DescriptorChain chain;
    if (orders_.answers) {
      for (const auto& it : std::exchange(held_, {})) queue.push(it, written(it));
    }
    while (held_.size() < orders_.most && queue.pop(chain) == PopStatus::kChain) {
      const auto buffers = chain.writable();
      orders_.taken.push_back({chain.head(), buffers.empty() ? 0 : buffers[0].address,
                               buffers.size(), chain.writable_bytes()});
      held_.push_back(chain);
    }
    for (const std::uint16_t head : std::exchange(orders_.give_back, {})) {
      const auto it = std::find_if(held_.begin(), held_.end(),
                                   [head](const auto& held) { return held.head() == head; });
      if (it == held_.end()) continue;
      queue.stage(*it, written(*it));
      if (!orders_.stage) queue.publish();
      held_.erase(it);
    }
    queue.publish();
    transport_->signal_used(index);
    if (orders_.answers && !held_.empty()) transport_->wake(index);
  }

 private:
  static std::uint32_t written(const DescriptorChain& chain) {
    return static_cast<std::uint32_t>(chain.writable_bytes());
  }

  Orders& orders_;
  std::vector<DescriptorChain> held_;
};

class VhostUserInflight : public testing::TestWithParam<std::uint64_t> {
 protected:
  static constexpr std::uint64_t kRing = kRamBase;
  static constexpr std::uint64_t kRingBytes = 0x8000;
  static constexpr int kTries = 100;
  static constexpr std::uint64_t kBuffers = kRamBase + 0x1'0000;

  VhostUserInflight()
      : front_(std::make_unique<HoldingDevice>(orders_)),
        driver_(front_.guest, kRing, VhostFrontEnd::kSize, features()) {
    front_.negotiate(features());
    EXPECT_NE(front_.get_word(Request::kGetProtocolFeatures) & internal::kProtocolInflightShmfd,
              0u);
    file_ = ask_for_file();
  }
  ~VhostUserInflight() override { ::close(file_); }

  static std::uint64_t features() { return kFeatureVersion1 | kFeatureRingIndirect | GetParam(); }
  static bool is_packed() { return (features() & kFeatureRingPacked) != 0; }
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
  std::vector<std::byte> journal() const {
    std::vector<std::byte> out(bytes_);
    EXPECT_EQ(::pread(file_, out.data(), bytes_, 0), static_cast<ssize_t>(bytes_));
    return out;
  }
  void put_journal(const std::vector<std::byte>& bytes) const {
    ASSERT_EQ(::pwrite(file_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  void start() {
    ASSERT_TRUE(front_.share_memory());
    ASSERT_TRUE(front_.ask(Request::kSetInflightFd, question(bytes_, 1, size_), {file_}));
    if (says_base_) {
      const std::uint32_t first = is_packed() ? 0x8000'8000 : 0;
      ASSERT_TRUE(front_.ask(Request::kSetVringBase, {pair_of(0, first)}));
    }
    ASSERT_TRUE(front_.start_ring(0, driver_.config()));
  }
  void connect() {
    front_.connect();
    front_.negotiate(features());
    start();
  }
  void come_back() {
    front_.disconnect();
    connect();
  }

  // Of one, two or three buffers, or those in a table.
  Held offer() {
    return offer(offered_ % 3 + 1, offered_ % 4 == 3 ? Layout::kInTable : Layout::kInRing);
  }
  Held offer_one() { return offer(1, Layout::kInRing); }
  Held offer(std::uint32_t count, Layout layout) {
    const std::uint64_t at = kBuffers + offered_ % 128 * 0x200;
    std::vector<RawDescriptor> chain;
    for (std::uint32_t i = 0; i < count; ++i) chain.push_back({at + i * 0x40, 16 + i, kWrite, 0});
    ++offered_;
    const std::uint16_t head = driver_.offer(chain, layout);
    return written_[head] = {head, at, count, 16 * count + count * (count - 1) / 2};
  }
  std::vector<Held> offer_some(int count) {
    std::vector<Held> out;
    for (int i = 0; i < count; ++i) out.push_back(offer());
    return out;
  }
  // What the device has taken since the last call.
  std::vector<Held> taken() {
    front_.kick_ring();
    front_.join();  // messages come after kicks that came before
    const std::lock_guard lock(orders_.mutex);
    return std::exchange(orders_.taken, {});
  }
  std::vector<Held> wait_for_taken(std::size_t count) {
    std::vector<Held> out;
    for (int tries = 0; tries < kTries && out.size() < count; ++tries) {
      const auto more = taken();
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  }
  void order(const std::vector<Held>& requests) {
    {
      const std::lock_guard lock(orders_.mutex);
      for (const Held& it : requests) orders_.give_back.push_back(it.head);
    }
    front_.kick_ring();
  }
  void give_back(const std::vector<Held>& requests) {
    driver_.want_interrupt();
    order(requests);
    take_used(requests);
  }
  bool wait_for_used() {
    for (int tries = 0; tries < kTries && !driver_.has_used(); ++tries) front_.join();
    return driver_.has_used();
  }
  void take_used(const std::vector<Held>& requests) {
    for (const Held& it : requests) {
      ASSERT_TRUE(wait_for_used());
      const auto used = driver_.take_used();
      ASSERT_TRUE(used);
      EXPECT_EQ(used->id, it.head);
      EXPECT_EQ(used->written, written_[it.head].bytes);
    }
  }

  HoldingDevice::Orders orders_;
  VhostFrontEnd front_;
  RingDriver driver_;
  bool says_base_ = false;  // where the ring was started first, as QEMU does after a crash
  std::uint16_t size_ = 16;
  std::uint64_t bytes_ = 0;
  int file_ = -1;

 private:
  std::uint32_t offered_ = 0;
  std::map<std::uint16_t, Held> written_;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VHOST_USER_INFLIGHT_H_
