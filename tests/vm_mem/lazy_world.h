// A saved guest, and another one that it is restored to lazily.
#ifndef TESTS_VM_MEM_LAZY_WORLD_H_
#define TESTS_VM_MEM_LAZY_WORLD_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/sanitizers.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/internal/userfaultfd.h"
#include "vm_mem/lazy_restore.h"

namespace vm_test {

inline std::shared_ptr<const vm_mem::Snapshot> opened_snapshot(const std::string& path) {
  auto snapshot = vm_mem::Snapshot::open(path);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return std::make_shared<const vm_mem::Snapshot>(*std::move(snapshot));
}

// While what it returns lives, a write to a page of `memory` that is there is SIGBUS. Nothing where
// the host cannot do that.
inline std::optional<vm_mem::internal::HostFd> pages_that_refuse_writes(
    std::span<std::byte> memory) {
  constexpr int kUserModeOnly = 1;
  vm_mem::internal::HostFd fd(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | kUserModeOnly)));
  const uffdio_range range = {.start = reinterpret_cast<std::uintptr_t>(memory.data()),
                              .len = memory.size()};
  uffdio_api api = {.api = UFFD_API,
                    .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
                    .ioctls = 0};
  uffdio_register watch = {.range = range, .mode = UFFDIO_REGISTER_MODE_WP, .ioctls = 0};
  uffdio_writeprotect protect = {.range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  if (fd.get() < 0 || ::ioctl(fd.get(), UFFDIO_API, &api) != 0 ||
      ::ioctl(fd.get(), UFFDIO_REGISTER, &watch) != 0 ||
      ::ioctl(fd.get(), UFFDIO_WRITEPROTECT, &protect) != 0) {
    return std::nullopt;
  }
  return fd;
}

// Tests of both ways to answer faults; skipped where the host does not have one.
class LazyTest : public testing::TestWithParam<vm_mem::LazyFaults> {
 protected:
  void SetUp() override {
    const auto faults = vm_mem::internal::Userfaultfd::open(GetParam());
    if (!faults.ok()) GTEST_SKIP() << faults.status();
  }

  // What `world` holds, in a file.
  std::shared_ptr<const vm_mem::Snapshot> saved(
      SnapshotWorld& world, std::vector<vm_mem::GuestAddress> working_set = {}) {
    const auto result = save_snapshot(world.memory(), path(), {.working_set = working_set});
    EXPECT_TRUE(result.ok()) << result.status();
    return opened_snapshot(path());
  }
  std::string path() const { return folder_.file("a"); }
  std::string file(const std::string& name) const { return folder_.file(name); }

  // ThreadSanitizer does not see where a ring's memory begins and ends.
  static constexpr vm_mem::SnapshotIo kIo =
      kWithTsan ? vm_mem::SnapshotIo::kThreads : vm_mem::SnapshotIo::kRing;
  static vm_mem::LazyRestoreOptions all_of_it() { return {.faults = GetParam(), .io = kIo}; }
  // Nothing comes that nobody touches.
  static vm_mem::LazyRestoreOptions touches_only() {
    return {.faults = GetParam(), .prefetch = false, .fill = false, .io = kIo};
  }
  // Nor what is around. Otherwise more of it may still come when the touch has what it wants.
  static vm_mem::LazyRestoreOptions single_pages() {
    vm_mem::LazyRestoreOptions options = touches_only();
    options.fault_around_bytes = kSnapshotPage;
    return options;
  }
  static std::unique_ptr<vm_mem::LazyRestore> started(
      SnapshotWorld& world, std::shared_ptr<const vm_mem::Snapshot> snapshot,
      const vm_mem::LazyRestoreOptions& options = touches_only()) {
    auto restore = vm_mem::LazyRestore::start(world.memory(), std::move(snapshot), options);
    EXPECT_TRUE(restore.ok()) << restore.status();
    return *std::move(restore);
  }
  static std::vector<std::byte> page_at(SnapshotWorld& world, std::uint64_t page) {
    std::vector<std::byte> bytes(kSnapshotPage);
    EXPECT_TRUE(world.memory().read(world.address_of(page), bytes).ok());
    return bytes;
  }
  static vm_mem::AccessFault fault_at(SnapshotWorld& world, std::uint64_t page) {
    std::vector<std::byte> bytes(kSnapshotPage);
    return world.memory().read(world.address_of(page), bytes).fault;
  }
  static vm_mem::GuestRange range_of(const SnapshotWorld& world, std::uint64_t page,
                                     std::uint64_t count = 1) {
    return *vm_mem::GuestRange::make(world.address_of(page), count * kSnapshotPage);
  }

 private:
  TemporaryFolder folder_{memory_folder()};
};

inline std::string name_of_faults(const testing::TestParamInfo<vm_mem::LazyFaults>& faults) {
  return faults.param == vm_mem::LazyFaults::kInThread ? "InThread" : "Handler";
}

#define VM_TEST_BOTH_LAZY_FAULTS(suite)                                                          \
  INSTANTIATE_TEST_SUITE_P(                                                                      \
      Both, suite, testing::Values(vm_mem::LazyFaults::kInThread, vm_mem::LazyFaults::kHandler), \
      vm_test::name_of_faults)

}  // namespace vm_test

#endif  // TESTS_VM_MEM_LAZY_WORLD_H_
