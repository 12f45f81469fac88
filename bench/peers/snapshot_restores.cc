#include "bench/peers/snapshot_restores.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "bench/harness/process.h"
#include "bench/peers/snapshot_saves.h"

namespace vm_bench {
namespace {

constexpr std::size_t kReadAtOnce = std::size_t{1} << 20;

void require(bool right, const char* what) {
  if (!right) give_up(fmt::format("{}: {}", what, std::strerror(errno)));
}

// Of faults of this process in user mode alone where the host permits no more.
int open_userfaultfd() {
  const auto open = [](int flags) {
    return static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags));
  };
  int descriptor = open(0);
  if (descriptor < 0) descriptor = open(UFFD_USER_MODE_ONLY);
  uffdio_api api{};
  api.api = UFFD_API;
  if (descriptor >= 0 && ::ioctl(descriptor, UFFDIO_API, &api) != 0) {
    ::close(descriptor);
    return -1;
  }
  return descriptor;
}

}  // namespace

PeerMapping::PeerMapping(std::size_t bytes, int protection, const PeerFile* file) {
  const int kind = MAP_PRIVATE | MAP_NORESERVE | (file == nullptr ? MAP_ANONYMOUS : 0);
  void* const memory =
      ::mmap(nullptr, bytes, protection, kind, file == nullptr ? -1 : file->descriptor(), 0);
  require(memory != MAP_FAILED, "mmap");
  bytes_ = {static_cast<std::byte*>(memory), bytes};
  if (file == nullptr) ::madvise(memory, bytes, MADV_NOHUGEPAGE);
}

PeerMapping::~PeerMapping() { ::munmap(bytes_.data(), bytes_.size()); }

PrivateRestore::PrivateRestore(const std::string& path)
    : file_(path, O_RDONLY), memory_(file_.bytes(), PROT_READ | PROT_WRITE, &file_) {}

std::string userfaultfd_missing() {
  const int descriptor = open_userfaultfd();
  if (descriptor < 0) {
    return fmt::format("the host refuses userfaultfd ({}): vm.unprivileged_userfaultfd, or root",
                       std::strerror(errno));
  }
  ::close(descriptor);
  return "";
}

HandlerRestore::HandlerRestore(const std::string& path)
    : file_(path, O_RDONLY),
      source_(file_.bytes(), PROT_READ, &file_),
      memory_(file_.bytes(), PROT_READ | PROT_WRITE),
      faults_(open_userfaultfd()),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  require(faults_ >= 0 && stop_ >= 0, "userfaultfd");
  uffdio_register all{};
  all.range = {.start = reinterpret_cast<std::uintptr_t>(memory().data()), .len = memory().size()};
  all.mode = UFFDIO_REGISTER_MODE_MISSING;
  require(::ioctl(faults_, UFFDIO_REGISTER, &all) == 0, "UFFDIO_REGISTER");
  handler_ = std::thread([this] { handle_faults(); });
}

HandlerRestore::~HandlerRestore() {
  const std::uint64_t one = 1;
  require(::write(stop_, &one, sizeof one) == sizeof one, "eventfd");
  handler_.join();
  ::close(faults_);
  ::close(stop_);
}

void HandlerRestore::handle_faults() {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory().data());
  for (;;) {
    std::array<pollfd, 2> events = {{{.fd = faults_, .events = POLLIN, .revents = 0},
                                     {.fd = stop_, .events = POLLIN, .revents = 0}}};
    require(::poll(events.data(), events.size(), -1) >= 0 || errno == EINTR, "poll");
    if (events[1].revents != 0) return;
    uffd_msg message{};
    if (::read(faults_, &message, sizeof message) != sizeof message) continue;
    if (message.event != UFFD_EVENT_PAGEFAULT) continue;
    uffdio_copy page{};
    page.dst = message.arg.pagefault.address / kGuestPage * kGuestPage;
    page.src = reinterpret_cast<std::uintptr_t>(source_.bytes().data()) + page.dst - begin;
    page.len = kGuestPage;
    require(::ioctl(faults_, UFFDIO_COPY, &page) == 0 || errno == EEXIST, "UFFDIO_COPY");
  }
}

void restore_sparse(const std::string& path, std::span<std::byte> memory) {
  const PeerFile file(path, O_RDONLY);
  file.each_extent([&](std::uint64_t begin, std::uint64_t end) {
    for (; begin < end; begin += kReadAtOnce) {
      file.read_at(memory.subspan(begin, std::min<std::uint64_t>(end - begin, kReadAtOnce)), begin);
    }
  });
}

}  // namespace vm_bench
