#include "vm_mem/internal/userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

// Names that the headers of older systems lack.
constexpr unsigned long kNewUserfaultfd = _IO(0xaa, 0x00);
constexpr int kUserModeOnly = 1;  // UFFD_USER_MODE_ONLY

struct PoisonArgument {
  uffdio_range range;
  std::uint64_t mode;
  std::int64_t updated;
};
constexpr std::uint64_t kPoisonDontWake = 1;
constexpr unsigned long kPoisonPages = _IOWR(UFFDIO, 0x08, PoisonArgument);

constexpr const char* kWayOut = "restore_snapshot() works without";

std::uint64_t address_of(const std::byte* at) { return reinterpret_cast<std::uintptr_t>(at); }

uffdio_range range_of(std::span<const std::byte> memory) {
  return {.start = address_of(memory.data()), .len = memory.size()};
}

// Signals are for accesses of this process alone, and need no privilege.
HostFd open_descriptor(LazyFaults faults) {
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  const HostFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device.get() >= 0) {
    HostFd fd(::ioctl(device.get(), kNewUserfaultfd, kFlags));
    if (fd.get() >= 0) return fd;
  }
  HostFd fd(static_cast<int>(::syscall(SYS_userfaultfd, kFlags)));
  if (fd.get() >= 0 || faults != LazyFaults::kInThread || errno != EPERM) return fd;
  return HostFd(static_cast<int>(::syscall(SYS_userfaultfd, kFlags | kUserModeOnly)));
}

absl::Status not_opened(LazyFaults faults, int error) {
  if (error == ENOSYS) {
    return absl::UnimplementedError(absl::StrFormat(
        "the host's kernel was built without userfaultfd (CONFIG_USERFAULTFD): %s", kWayOut));
  }
  if (error != EPERM) {
    return absl::UnavailableError(absl::StrFormat("userfaultfd failed: errno %d", error));
  }
  return absl::PermissionDeniedError(absl::StrFormat(
      "userfaultfd is not permitted (errno %d): it takes %s; %s", error,
      faults == LazyFaults::kInThread
          ? "a sandbox (seccomp) that lets it through"
          : "CAP_SYS_PTRACE, vm.unprivileged_userfaultfd = 1 or access to /dev/userfaultfd, and "
            "LazyFaults::kInThread takes none of them",
      kWayOut));
}

// 0 where the kernel has no userfaultfd of this version, or not with `features`.
std::uint64_t features_of(const HostFd& fd, std::uint64_t features) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  // A bit of no feature, for a kernel that has none at all.
  return ::ioctl(fd.get(), UFFDIO_API, &api) == 0 ? api.features | std::uint64_t{1} << 63 : 0;
}

// Repeats `step(rest, error)`, which returns how many bytes it did, until all is done.
template <typename Step>
PagesDone repeat(std::size_t bytes, Step step) {
  std::size_t done = 0;
  while (done < bytes) {
    const std::int64_t now = step(done);
    if (now > 0) {
      done += static_cast<std::size_t>(now);
    } else if (now == -EAGAIN) {
      ::sched_yield();  // the mappings change
    } else {
      return {.bytes = done, .error = now == 0 ? EIO : static_cast<int>(-now)};
    }
  }
  return {.bytes = done};
}

}  // namespace

absl::StatusOr<Userfaultfd> Userfaultfd::open(LazyFaults faults) {
  HostFd trial = open_descriptor(faults);
  if (trial.get() < 0) return not_opened(faults, errno);
  const std::uint64_t there = features_of(trial, 0);
  const std::uint64_t needed = faults == LazyFaults::kInThread ? kSignals : 0;
  if (there == 0 || (there & needed) != needed) {
    return absl::UnimplementedError(absl::StrFormat(
        "the host's userfaultfd lacks %s: %s",
        there == 0 ? "the interface of this version" : "UFFD_FEATURE_SIGBUS (Linux 4.14)",
        kWayOut));
  }
  const std::uint64_t wanted = needed | (there & (kSharedMemory | kPoison));
  HostFd fd = open_descriptor(faults);
  if (fd.get() < 0) return not_opened(faults, errno);
  if (features_of(fd, wanted) == 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "the host's userfaultfd refuses features 0x%x: errno %d: %s", wanted, errno, kWayOut));
  }
  return Userfaultfd(std::move(fd), wanted);
}

absl::Status Userfaultfd::watch(std::span<std::byte> memory) const {
  uffdio_register registration{};
  registration.range = range_of(memory);
  registration.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(fd_.get(), UFFDIO_REGISTER, &registration) != 0) {
    if (errno == EBUSY) {
      return absl::FailedPreconditionError(
          "another userfaultfd watches guest memory, such as a ForeignWriteTracker's: end it "
          "first");
    }
    return absl::UnavailableError(absl::StrFormat(
        "UFFDIO_REGISTER of 0x%x bytes failed: errno %d: %s", memory.size(), errno, kWayOut));
  }
  constexpr std::uint64_t kNeeded = std::uint64_t{1} << _UFFDIO_COPY | std::uint64_t{1}
                                                                           << _UFFDIO_ZEROPAGE;
  if ((registration.ioctls & kNeeded) == kNeeded) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrFormat("the host's userfaultfd cannot supply pages of this memory: %s", kWayOut));
}

void Userfaultfd::forget(std::span<std::byte> memory) const {
  uffdio_range range = range_of(memory);
  ::ioctl(fd_.get(), UFFDIO_UNREGISTER, &range);
}

PagesDone Userfaultfd::copy(std::byte* to, std::span<const std::byte> from) const {
  return repeat(from.size(), [&](std::size_t done) -> std::int64_t {
    uffdio_copy copy{};
    copy.dst = address_of(to + done);
    copy.src = address_of(from.data() + done);
    copy.len = from.size() - done;
    copy.mode = UFFDIO_COPY_MODE_DONTWAKE;
    if (::ioctl(fd_.get(), UFFDIO_COPY, &copy) == 0) return static_cast<std::int64_t>(copy.len);
    return copy.copy > 0 ? copy.copy : -errno;
  });
}

PagesDone Userfaultfd::zero(std::span<std::byte> memory) const {
  return repeat(memory.size(), [&](std::size_t done) -> std::int64_t {
    uffdio_zeropage zero{};
    zero.range = range_of(memory.subspan(done));
    zero.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
    if (::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &zero) == 0) {
      return static_cast<std::int64_t>(zero.range.len);
    }
    return zero.zeropage > 0 ? zero.zeropage : -errno;
  });
}

PagesDone Userfaultfd::poison(std::span<std::byte> memory) const {
  PagesDone done{.bytes = 0, .error = ENOTTY};
  if (can_poison()) {
    done = repeat(memory.size(), [&](std::size_t at) -> std::int64_t {
      PoisonArgument poison{
          .range = range_of(memory.subspan(at)), .mode = kPoisonDontWake, .updated = 0};
      if (::ioctl(fd_.get(), kPoisonPages, &poison) == 0) {
        return static_cast<std::int64_t>(poison.range.len);
      }
      return poison.updated > 0 ? poison.updated : -errno;
    });
  }
  if (done.error == 0 || done.error == EEXIST) return done;
  const std::span<std::byte> rest = memory.subspan(done.bytes);
  if (::mprotect(rest.data(), rest.size(), PROT_NONE) != 0) return done;
  return {.bytes = memory.size()};
}

void Userfaultfd::wake(std::span<std::byte> memory) const {
  uffdio_range range = range_of(memory);
  ::ioctl(fd_.get(), UFFDIO_WAKE, &range);
}

}  // namespace vm_mem::internal
