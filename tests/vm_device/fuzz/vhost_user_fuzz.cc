// Reads bytes as what a vhost-user front end sends: messages in any order, whole or cut, with
// descriptors of any kind, what it writes to the memory that it shares and cuts off, and how it
// translates the addresses of its driver.
// The back end returns, leaves nothing mapped or open, and serves the next front end.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fuzz_target.h"
#include "tests/vm_mem/fuzz/byte_source.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_device/internal/vhost_user_protocol.h"
#include "vm_device/vhost_user.h"
#include "vm_device/virtio_blk.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

using internal::OwnedFd;
using Request = internal::VhostUserRequest;

constexpr std::uint64_t kGuest = 0x10000;
constexpr std::uint64_t kUser = 0x7000'0000;
constexpr std::uint64_t kBytes = 64 * 1024;
constexpr std::uint16_t kSize = 8;
// In the memory: a ring's parts, and one request.
constexpr std::uint64_t kTable = 0;
constexpr std::uint64_t kDriver = 0x400;
constexpr std::uint64_t kDevice = 0x800;
constexpr std::uint64_t kHeader = 0x1000;
constexpr std::uint64_t kData = 0x2000;
constexpr std::uint64_t kStatus = 0x3000;

[[noreturn]] void mistake(const std::string& what) { throw std::runtime_error(what); }

class SmallImage final : public BlockImage {
 public:
  std::uint64_t bytes() const override { return content_.size(); }
  ImageAccess access() const override { return ImageAccess::kReadWrite; }
  int read_at(std::uint64_t offset, std::span<std::byte> to) override {
    std::memcpy(to.data(), &content_[offset], to.size());
    return 0;
  }
  int write_at(std::uint64_t offset, std::span<const std::byte> from) override {
    std::memcpy(&content_[offset], from.data(), from.size());
    return 0;
  }
  int flush() override { return 0; }

 private:
  std::array<std::byte, 8192> content_{};
};

class FrontEnd {
 public:
  explicit FrontEnd(bool sealed)
      : memory_(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING)),
        kick_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)),
        nothing_(::open("/dev/null", O_RDWR | O_CLOEXEC)) {
    if (::ftruncate(memory_.get(), kBytes) != 0) mistake("no memory");
    if (sealed && ::fcntl(memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) mistake("no seal");
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) mistake("socket");
    near_ = OwnedFd(ends[0]);
    far_ = OwnedFd(ends[1]);
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) mistake("socket");
    asked_ = OwnedFd(ends[0]);
    unread_ = OwnedFd(ends[1]);
  }

  void step(vm_mem::ByteSource& bytes) {
    switch (bytes.below(16)) {
      case 0: return write_memory(bytes.take(2) % kBytes, bytes.take(8));
      case 1: return describe(bytes);
      case 2: return write_memory(kDriver + 2, bytes.take(2));
      case 3:
        return static_cast<void>(
            !::ftruncate(memory_.get(), static_cast<off_t>(4096 * bytes.below(17))));
      case 4: return start(bytes);
      case 5: return send_raw(bytes);
      case 6: return translate(bytes);
      case 7: return start_translated(bytes);
      default: return send_any(bytes);
    }
  }

  // Everything that a good front end sends; its request is there already. One that translates has
  // given every page before, at other addresses of the guest.
  void start_well(bool translates) {
    static_cast<void>(!::ftruncate(memory_.get(), kBytes));
    for (std::uint64_t at = 0; at < 0x4000; at += 8) write_memory(at, 0);
    write_memory(kHeader, 0);
    const struct {
      std::uint64_t at;
      std::uint32_t bytes;
      std::uint16_t flags;
    } chain[] = {{kHeader, 16, 1}, {kData, 512, 3}, {kStatus, 1, 2}};
    std::uint64_t next = 0;
    for (const auto& [at, length, flags] : chain) {
      write_memory(kTable + 16 * next, kGuest + at);
      write_memory(kTable + 16 * next + 8, length | std::uint64_t{flags} << 32 | (next + 1) << 48);
      ++next;
    }
    write_memory(kStatus, 0xee);
    write_memory(kDriver, std::uint64_t{1} << 16);
    constexpr std::uint64_t kFeatures = kFeatureVersion1 | internal::kVhostFeatureProtocol;
    send(Request::kSetFeatures, {kFeatures | (translates ? kFeatureAccessPlatform : 0)});
    const std::uint64_t guest = translates ? 0x100'0000 : kGuest;
    send(Request::kSetMemTable, {1, guest, kBytes, kUser, 0}, {memory_.get()});
    set_up(kSize, translates ? kGuest : kUser);
    if (translates) send(Request::kIotlbMsg, {kGuest, kBytes, kUser, 3 | 2 << 8});
  }
  bool was_served() const { return read_memory(kDevice + 2) == 1 && read_memory(kStatus) == 0; }

  absl::Status be_served(VhostUserBackend& backend) {
    ::shutdown(near_.get(), SHUT_WR);
    return backend.serve(far_.get());
  }

 private:
  void write_memory(std::uint64_t at, std::uint64_t value) const {
    static_cast<void>(!::pwrite(memory_.get(), &value, sizeof value, static_cast<off_t>(at)));
  }
  std::uint8_t read_memory(std::uint64_t at) const {
    std::uint8_t value = 0xff;
    static_cast<void>(!::pread(memory_.get(), &value, 1, static_cast<off_t>(at)));
    return value;
  }
  void describe(vm_mem::ByteSource& bytes) const {
    const std::uint64_t at = kTable + 16 * bytes.below(kSize);
    write_memory(at, (bytes.below(8) == 0 ? 0 : kGuest) + bytes.take(2));
    write_memory(at + 8, bytes.take(2) | bytes.below(8) << 32 | bytes.below(kSize + 1) << 48);
  }

  void set_up(std::uint64_t size, std::uint64_t base = kUser) {
    send(Request::kSetVringNum, {size << 32});
    send(Request::kSetVringAddr, {0, base + kTable, base + kDevice, base + kDriver, 0});
    send(Request::kSetVringKick, {0}, {kick_.get()});
    send(Request::kSetVringEnable, {std::uint64_t{1} << 32});
  }
  void start(vm_mem::ByteSource& bytes) {
    const std::uint64_t packed = bytes.below(2) == 0 ? 0 : kFeatureRingPacked;
    send(Request::kSetFeatures,
         {kFeatureVersion1 | internal::kVhostFeatureProtocol | packed | kFeatureRingIndirect});
    send(Request::kSetMemTable, {1, kGuest, kBytes, kUser, 0}, {memory_.get()});
    set_up(std::uint64_t{1} << bytes.below(5));
  }

  // A translation that is likely to be one of the ring or its request, given or taken away.
  void translate(vm_mem::ByteSource& bytes) {
    const std::uint64_t iova = bytes.below(8) == 0 ? number(bytes) : kGuest + 4096 * bytes.below(5);
    const std::uint64_t size = bytes.below(8) == 0 ? number(bytes) : 4096 * bytes.below(5);
    const std::uint64_t user =
        kUser + (bytes.below(4) == 0 ? 4096 * bytes.below(18) : iova - kGuest);
    const std::uint64_t type = bytes.below(8) == 0 ? bytes.below(6) : 2 + bytes.below(2);
    const std::uint64_t access = bytes.below(4) == 0 ? bytes.below(5) : 3;
    send(Request::kIotlbMsg, {iova, size, user, access | type << 8});
  }
  void start_translated(vm_mem::ByteSource& bytes) {
    const std::uint64_t forms = bytes.below(8);
    std::uint64_t features = kFeatureVersion1 | internal::kVhostFeatureProtocol |
                             kFeatureRingIndirect | kFeatureAccessPlatform;
    if ((forms & 1) != 0) features |= kFeatureRingPacked;
    if ((forms & 2) != 0) features |= kFeatureRingEventIdx;
    send(Request::kSetFeatures, {features});
    if ((forms & 4) != 0) send(Request::kSetBackendReqFd, {}, {asked_.get()});
    send(Request::kSetMemTable, {1, 0x100'0000, kBytes, kUser, 0}, {memory_.get()});
    set_up(std::uint64_t{1} << bytes.below(5), kGuest);
  }

  void send(Request request, std::initializer_list<std::uint64_t> words,
            std::initializer_list<int> fds = {}) {
    std::vector<std::byte> payload(8 * words.size());
    if (!payload.empty()) std::memcpy(payload.data(), words.begin(), payload.size());
    const std::array<std::uint32_t, 3> header{static_cast<std::uint32_t>(request), 9,
                                              static_cast<std::uint32_t>(payload.size())};
    send_bytes(header, payload, fds);
  }
  void send_bytes(const std::array<std::uint32_t, 3>& header, std::span<std::byte> payload,
                  std::vector<int> fds) const {
    std::array<iovec, 2> places{{{const_cast<std::uint32_t*>(header.data()), sizeof header},
                                 {payload.data(), payload.size()}}};
    std::vector<std::byte> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = places.data();
    message.msg_iovlen = places.size();
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
    }
    static_cast<void>(::sendmsg(near_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT));
  }
  // A number that is likely to mean something.
  static std::uint64_t number(vm_mem::ByteSource& bytes) {
    switch (bytes.below(8)) {
      case 0: return 0;
      case 1: return kGuest + 4096 * bytes.below(32);
      case 2: return kUser + 16 * bytes.take(1);
      case 3: return kBytes;
      case 4: return bytes.below(3) << 32 | bytes.below(3);
      case 5: return 4096 * bytes.below(32);
      case 6: return UINT64_MAX - bytes.take(2);
      default: return bytes.take(8);
    }
  }
  void send_any(vm_mem::ByteSource& bytes) {
    constexpr std::array<std::uint8_t, 16> kWords{0, 1, 1, 1, 1, 1, 2, 2, 3, 5, 5, 5, 9, 9, 13, 37};
    std::vector<std::uint64_t> words(kWords[bytes.below(kWords.size())]);
    const std::array<std::uint32_t, 3> header{
        static_cast<std::uint32_t>(bytes.below(42)),
        static_cast<std::uint32_t>(bytes.below(4) == 0 ? 1 : 9),
        static_cast<std::uint32_t>(8 * words.size())};
    for (std::uint64_t& word : words) word = number(bytes);
    std::vector<int> fds(bytes.below(8) < 4 ? 0 : bytes.below(3));
    for (int& fd : fds) {
      const std::array kinds{memory_.get(), kick_.get(), nothing_.get(), near_.get()};
      fd = kinds[bytes.below(kinds.size())];
    }
    send_bytes(header, std::as_writable_bytes(std::span(words)), std::move(fds));
  }
  void send_raw(vm_mem::ByteSource& bytes) const {
    std::vector<std::uint8_t> raw(bytes.below(32));
    for (std::uint8_t& byte : raw) byte = static_cast<std::uint8_t>(bytes.take(1));
    static_cast<void>(::send(near_.get(), raw.data(), raw.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }

  OwnedFd memory_;
  OwnedFd kick_;
  OwnedFd nothing_;
  OwnedFd near_;
  OwnedFd far_;
  OwnedFd asked_;  // where the back end asks, and nobody reads
  OwnedFd unread_;
};

std::unique_ptr<VhostUserBackend> make_backend() {
  return VhostUserBackend::create(
             VirtioBlk::create(std::make_unique<SmallImage>(), {.num_queues = 2}).value(),
             {.iommu = true})
      .value();
}

int next_fd() {
  const OwnedFd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return probe.get();
}

}  // namespace
}  // namespace vm_device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace vm_device;
  constexpr int kMostSteps = 64;
  static const std::unique_ptr<VhostUserBackend> backend = make_backend();
  const int fds_before = next_fd();
  vm_mem::ByteSource source({data, bytes});
  {
    FrontEnd front(source.below(2) == 0);
    for (int i = 0; i < kMostSteps && !source.empty(); ++i) front.step(source);
    static_cast<void>(front.be_served(*backend));
  }
  {
    FrontEnd next(true);
    next.start_well(bytes % 2 == 1);
    if (const absl::Status status = next.be_served(*backend); !status.ok()) {
      mistake("a good connection: " + std::string(status.message()));
    }
    if (!next.was_served()) mistake("a good request is not served");
  }
  if (next_fd() != fds_before) mistake("a descriptor is left open");
  return 0;
}
