// The front end of a vhost-user connection, for tests: it sends what it is told, right or wrong.
#ifndef TESTS_VM_DEVICE_VHOST_USER_FRONT_END_H_
#define TESTS_VM_DEVICE_VHOST_USER_FRONT_END_H_

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "tests/vm_device/blk_machine.h"
#include "tests/vm_device/ring_driver.h"
#include "vm_device/internal/vhost_user_protocol.h"
#include "vm_device/vhost_user.h"

namespace vm_device {

using Request = internal::VhostUserRequest;

inline std::vector<std::byte> bytes_of(std::initializer_list<std::uint64_t> words) {
  std::vector<std::byte> out(8 * words.size());
  if (!out.empty()) std::memcpy(out.data(), words.begin(), out.size());
  return out;
}
// Two numbers of 32 bits.
inline std::uint64_t pair_of(std::uint32_t first, std::uint32_t second) {
  return first | std::uint64_t{second} << 32;
}

inline int make_event() { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
inline std::uint64_t take_event(int fd) {
  std::uint64_t count = 0;
  return ::read(fd, &count, sizeof count) == sizeof count ? count : 0;
}
inline bool wait_for(int fd, int milliseconds = 10'000) {
  pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&wanted, 1, milliseconds) == 1;
}

// One end of a connection, by hand.
class VhostSocket {
 public:
  explicit VhostSocket(int fd) : fd_(fd) {}
  VhostSocket(const VhostSocket&) = delete;
  VhostSocket& operator=(const VhostSocket&) = delete;
  ~VhostSocket() { close(); }

  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }

  bool send_raw(std::span<const std::byte> bytes, const std::vector<int>& fds = {}) const {
    iovec place{const_cast<std::byte*>(bytes.data()), bytes.size()};
    std::vector<std::byte> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &place;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    return ::sendmsg(fd_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  bool send(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> payload,
            const std::vector<int>& fds = {}) const {
    const std::array<std::uint32_t, 3> header{request, flags,
                                              static_cast<std::uint32_t>(payload.size())};
    std::vector<std::byte> whole(sizeof header + payload.size());
    std::memcpy(whole.data(), header.data(), sizeof header);
    std::copy(payload.begin(), payload.end(), whole.begin() + sizeof header);
    return send_raw(whole, fds);
  }
  // The payload of the next message; nothing: the connection has ended, or nobody sends.
  std::optional<std::vector<std::byte>> receive(std::uint32_t request) const {
    std::array<std::uint32_t, 3> header{};
    if (!wait_for(fd_) ||
        ::recv(fd_, header.data(), sizeof header, MSG_WAITALL) != ssize_t{sizeof header}) {
      return std::nullopt;
    }
    EXPECT_EQ(header[0], request);
    std::vector<std::byte> payload(header[2]);
    const auto want = static_cast<ssize_t>(payload.size());
    if (want != 0 && ::recv(fd_, payload.data(), payload.size(), MSG_WAITALL) != want) {
      return std::nullopt;
    }
    return payload;
  }

 private:
  int fd_;
};

// A guest whose RAM the back end shares, and a thread that serves it.
class VhostFrontEnd {
 public:
  static constexpr std::uint64_t kUser = 0x7f00'0000'0000;  // where the front end has its RAM
  static constexpr std::uint16_t kSize = 16;

  explicit VhostFrontEnd(std::unique_ptr<VirtioDevice> device, VhostUserOptions options = {})
      : guest({.backing = vm_mem::Backing::kMemfd}),
        backend(VhostUserBackend::create(std::move(device), std::move(options)).value()) {
    connect();
  }
  ~VhostFrontEnd() { disconnect(); }

  // Both wait for the back end's thread.
  void connect() {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    socket = std::make_unique<VhostSocket>(ends[0]);
    thread_ = std::thread([this, end = ends[1]] {
      result = backend->serve(end);
      ::close(end);
    });
  }
  void disconnect() {
    socket->close();
    wait();
  }
  // Then `result` is what serve() has returned.
  void wait() {
    if (thread_.joinable()) thread_.join();
  }

  // Whether the back end does what is asked.
  bool ask(Request request, std::span<const std::byte> payload, const std::vector<int>& fds = {}) {
    constexpr std::uint32_t kFlags = internal::kVhostUserVersion | internal::kVhostUserNeedReply;
    if (!socket->send(static_cast<std::uint32_t>(request), kFlags, payload, fds)) return false;
    const auto answer = socket->receive(static_cast<std::uint32_t>(request));
    return answer && answer->size() == 8 && word(*answer) == 0;
  }
  bool ask(Request request, std::initializer_list<std::uint64_t> words,
           const std::vector<int>& fds = {}) {
    return ask(request, bytes_of(words), fds);
  }
  std::optional<std::vector<std::byte>> get(Request request,
                                            std::span<const std::byte> payload = {}) {
    if (!socket->send(static_cast<std::uint32_t>(request), internal::kVhostUserVersion, payload)) {
      return std::nullopt;
    }
    return socket->receive(static_cast<std::uint32_t>(request));
  }
  std::uint64_t get_word(Request request) {
    const auto answer = get(request);
    EXPECT_TRUE(answer && answer->size() == 8);
    return answer && answer->size() == 8 ? word(*answer) : 0;
  }
  // What the back end's thread has done up to now is seen by this one.
  void join() { get_word(Request::kGetFeatures); }
  static std::uint64_t word(const std::vector<std::byte>& from) {
    std::uint64_t out = 0;
    std::memcpy(&out, from.data(), sizeof out);
    return out;
  }

  // Everything up to the rings.
  void negotiate(std::uint64_t features) {
    constexpr std::uint64_t kProtocol = internal::kVhostFeatureProtocol;
    EXPECT_EQ(features & ~get_word(Request::kGetFeatures), 0u);
    const std::uint64_t offered = get_word(Request::kGetProtocolFeatures);
    socket->send(static_cast<std::uint32_t>(Request::kSetProtocolFeatures),
                 internal::kVhostUserVersion, bytes_of({offered}));
    EXPECT_TRUE(ask(Request::kSetOwner, {}));
    EXPECT_TRUE(ask(Request::kSetFeatures, {features | kProtocol}));
  }
  int memory_fd() { return guest.memory->region_fd(guest.ram).value(); }
  bool share_memory() {
    return ask(Request::kSetMemTable, {1, kRamBase, kRamBytes, kUser, 0}, {memory_fd()});
  }
  static std::uint64_t user(std::uint64_t guest_address) {
    return guest_address - kRamBase + kUser;
  }
  bool place_ring(std::uint32_t index, const VirtqueueConfig& config) {
    const auto place = [this](std::uint64_t at) { return is_translated ? at : user(at); };
    return ask(Request::kSetVringNum, {pair_of(index, config.size)}) &&
           ask(Request::kSetVringAddr, {pair_of(index, 0), place(config.descriptor_table),
                                        place(config.device_area), place(config.driver_area), 0});
  }
  bool start_ring(std::uint32_t index, const VirtqueueConfig& config) {
    return place_ring(index, config) && ask(Request::kSetVringCall, {index}, {call}) &&
           ask(Request::kSetVringErr, {index}, {error}) &&
           ask(Request::kSetVringKick, {index}, {kick}) &&
           ask(Request::kSetVringEnable, {pair_of(index, 1)});
  }
  // Where the ring stands; it has stopped.
  std::optional<std::uint32_t> stop_ring(std::uint32_t index) {
    const auto answer = get(Request::kGetVringBase, bytes_of({pair_of(index, 0)}));
    if (!answer || answer->size() != 8) return std::nullopt;
    return static_cast<std::uint32_t>(word(*answer) >> 32);
  }
  void kick_ring() const {
    constexpr std::uint64_t kOne = 1;
    EXPECT_EQ(::write(kick, &kOne, sizeof kOne), ssize_t{sizeof kOne});
  }

  Guest guest;
  std::unique_ptr<VhostUserBackend> backend;
  std::unique_ptr<VhostSocket> socket;
  absl::Status result;
  bool is_translated = false;  // rings are where the IOMMU says
  const int kick = make_event();
  const int call = make_event();
  const int error = make_event();

 private:
  std::thread thread_;
};

// A disk behind one.
class VhostDisk : public VhostFrontEnd {
 public:
  static constexpr std::uint64_t kRing = kRamBase;
  static constexpr std::uint64_t kHeader = kRamBase + 0x1'0000;
  static constexpr std::uint64_t kStatus = kRamBase + 0x1'1000;
  static constexpr std::uint64_t kData = kRamBase + 0x2'0000;

  explicit VhostDisk(VhostUserOptions options = {}, VirtioBlkOptions disk = {})
      : VhostDisk(new MemoryImage(64), std::move(options), std::move(disk)) {}

  // Up to a ring that runs.
  void start(std::uint64_t features = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush) {
    negotiate(features);
    ASSERT_TRUE(share_memory());
    driver.emplace(guest, kRing, kSize, features);
    ASSERT_TRUE(start_ring(0, driver->config()));
  }
  void offer(std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
    guest.put(kHeader, type);
    guest.put(kHeader + 4, std::uint32_t{0});
    guest.put(kHeader + 8, sector);
    guest.put(kStatus, std::byte{0xee});
    const auto direction = static_cast<std::uint16_t>(type == kOut ? 0 : kWrite);
    driver->offer({{kHeader, 16, 0, 0}, {kData, bytes, direction, 0}, {kStatus, 1, kWrite, 0}});
  }
  // A request of one descriptor, which is a bad one.
  void offer_status_alone() {
    guest.put(kStatus, std::byte{0xee});
    driver->offer({{kStatus, 1, kWrite, 0}});
  }
  // The status of a request; -1: none came back.
  int wait_for_answer() {
    while (!driver->has_used()) {
      if (!wait_for(call)) return -1;
      take_event(call);
    }
    return driver->take_used() ? guest.get<std::uint8_t>(kStatus) : -1;
  }
  int request(std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
    driver->want_interrupt();
    offer(type, sector, bytes);
    kick_ring();
    return wait_for_answer();
  }

  MemoryImage& image;
  std::optional<RingDriver> driver;

 private:
  VhostDisk(MemoryImage* storage, VhostUserOptions options, VirtioBlkOptions disk)
      : VhostFrontEnd(
            VirtioBlk::create(std::unique_ptr<BlockImage>(storage), std::move(disk)).value(),
            std::move(options)),
        image(*storage) {}
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VHOST_USER_FRONT_END_H_
