// A saved guest, and another one that it is restored to lazily.
#ifndef TESTS_VM_MEM_LAZY_WORLD_H_
#define TESTS_VM_MEM_LAZY_WORLD_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/sanitizers.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/internal/userfaultfd.h"
#include "vm_mem/lazy_restore.h"

namespace vm_test {

inline std::shared_ptr<const vm_mem::Snapshot> opened_snapshot(const std::string& path) {
  auto snapshot = vm_mem::Snapshot::open(path);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return std::make_shared<const vm_mem::Snapshot>(*std::move(snapshot));
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
