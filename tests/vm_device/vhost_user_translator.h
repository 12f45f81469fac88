// A front end that translates the addresses of its driver, for tests: it answers when it is told.
#ifndef TESTS_VM_DEVICE_VHOST_USER_TRANSLATOR_H_
#define TESTS_VM_DEVICE_VHOST_USER_TRANSLATOR_H_

#include <map>
#include <set>

#include "tests/vm_device/vhost_user_front_end.h"

namespace vm_device {

// The addresses of the bus are those at which the driver has its memory; what the back end knows
// as the guest's are others.
class Translator {
 public:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kGuest = 0x10'0000;  // where the back end has kRamBase
  static constexpr std::uint64_t kRead = 1;
  static constexpr std::uint64_t kWrite = 2;
  static constexpr std::uint64_t kBoth = 3;
  static constexpr std::uint64_t kMiss = 1;
  static constexpr std::uint64_t kUpdate = 2;
  static constexpr std::uint64_t kInvalidate = 3;

  explicit Translator(VhostFrontEnd& front) : front_(front) { front.is_translated = true; }

  // Up to what is asked for.
  void start(std::uint64_t features) {
    front_.negotiate(features | kFeatureAccessPlatform);
    open_channel();
    ASSERT_TRUE(share_memory());
  }
  void open_channel() {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    ASSERT_TRUE(front_.ask(Request::kSetBackendReqFd, {}, {ends[1]}));
    ::close(ends[1]);
    channel_ = std::make_unique<VhostSocket>(ends[0]);
  }
  bool share_memory() {
    return front_.ask(Request::kSetMemTable, {1, kGuest, kRamBytes, VhostFrontEnd::kUser, 0},
                      {front_.memory_fd()});
  }

  bool send(std::uint64_t type, std::uint64_t iova, std::uint64_t bytes, std::uint64_t user = 0,
            std::uint64_t access = 0) {
    return front_.ask(Request::kIotlbMsg, {iova, bytes, user, access | type << 8});
  }
  bool map(std::uint64_t iova, std::uint64_t bytes = kPage, std::uint64_t access = kBoth) {
    return send(kUpdate, iova, bytes, VhostFrontEnd::user(iova), access);
  }
  bool unmap(std::uint64_t iova, std::uint64_t bytes = kPage) {
    return send(kInvalidate, iova, bytes);
  }

  int channel() const { return channel_->fd(); }
  // What kicks and messages have led to up to now is done: the back end takes 32 messages before it
  // looks at kicks again, and these may begin inside of such a round.
  void settle() {
    for (int i = 0; i < 65; ++i) front_.join();
  }
  // What was asked for up to now, and what for.
  std::map<std::uint64_t, std::uint64_t> misses() {
    settle();
    std::map<std::uint64_t, std::uint64_t> found;
    while (wait_for(channel(), 0)) {
      const auto [page, access] = next();
      EXPECT_TRUE(found.emplace(page, access).second) << std::hex << page << " twice";
    }
    return found;
  }
  std::pair<std::uint64_t, std::uint64_t> next() {
    const auto payload = channel_->receive(1);
    EXPECT_TRUE(payload && payload->size() == 32);
    if (!payload || payload->size() != 32) return {};
    std::array<std::uint64_t, 4> words{};
    std::memcpy(words.data(), payload->data(), sizeof words);
    EXPECT_EQ(words[3] >> 8 & 0xff, kMiss);
    return {words[0], words[3] & 0xff};
  }
  // Answers all that is asked for until there is nothing more.
  void answer() {
    for (auto asked = misses(); !asked.empty(); asked = misses()) {
      for (const auto& [page, access] : asked) ASSERT_TRUE(map(page));
    }
  }

 private:
  VhostFrontEnd& front_;
  std::unique_ptr<VhostSocket> channel_;
};

class TranslatedDisk : public VhostDisk {
 public:
  explicit TranslatedDisk(VirtioBlkOptions disk = {})
      : VhostDisk({.iommu = true}, std::move(disk)), bus(*this) {}

  // Up to a ring that waits for its addresses.
  void start(std::uint64_t features) {
    bus.start(features);
    driver.emplace(guest, kRing, kSize, features);
    ASSERT_TRUE(start_ring(0, driver->config()));
  }
  void offer_and_kick(std::uint64_t sector = 1, std::uint32_t bytes = 512) {
    driver->want_interrupt();
    offer(kIn, sector, bytes);
    kick_ring();
  }
  // Whether one has come back after all that the front end has said.
  bool is_answered() {
    bus.settle();
    return driver->has_used();
  }
  int translated_request(std::uint64_t sector = 1, std::uint32_t bytes = 512) {
    offer_and_kick(sector, bytes);
    while (!is_answered()) bus.answer();
    return wait_for_answer();
  }
  bool has_sector(std::uint64_t address, std::uint64_t sector) {
    return std::memcmp(guest.bytes(address, 512).data(), &image.content[sector * 512], 512) == 0;
  }

  Translator bus;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VHOST_USER_TRANSLATOR_H_
