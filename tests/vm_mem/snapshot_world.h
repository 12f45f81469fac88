// Guest memory to save and restore, filled in a way that can be told again.
#ifndef TESTS_VM_MEM_SNAPSHOT_WORLD_H_
#define TESTS_VM_MEM_SNAPSHOT_WORLD_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vm_mem/memory_manager.h"

namespace vm_test {

inline constexpr std::uint64_t kSnapshotPage = 4096;

struct TestRegion {
  std::uint64_t begin = 0;
  std::uint64_t pages = 0;
  vm_mem::Backing backing = vm_mem::Backing::kAnonymous;
  vm_mem::FaultRecovery recovery = vm_mem::FaultRecovery::kByBacking;
  vm_mem::HostFaultPolicy host_fault = vm_mem::HostFaultPolicy::kReport;
  vm_mem::HugePageAdvice huge_pages = vm_mem::HugePageAdvice::kDefault;
};

// A manager with tracked RAM in these places.
class SnapshotWorld {
 public:
  explicit SnapshotWorld(std::vector<TestRegion> regions = {{.begin = 0x10000, .pages = 64}})
      : regions_(std::move(regions)) {
    memory_ = *vm_mem::MemoryManager::create({});
    for (const TestRegion& region : regions_) {
      vm_mem::RamOptions options;
      options.backing = region.backing;
      options.fault_recovery = region.recovery;
      options.host_fault = region.host_fault;
      options.host.huge_pages = region.huge_pages;
      options.dirty_tracking = vm_mem::DirtyTracking::kOn;
      const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{region.begin},
                                                  region.pages * kSnapshotPage);
      const auto id = memory_->add_ram(*range, options);
      EXPECT_TRUE(id.ok()) << id.status();
      ids_.push_back(*id);
    }
  }

  vm_mem::MemoryManager& memory() { return *memory_; }
  const std::vector<vm_mem::RegionId>& ids() const { return ids_; }
  std::uint64_t page_count() const {
    std::uint64_t pages = 0;
    for (const TestRegion& region : regions_) pages += region.pages;
    return pages;
  }
  // Of page `page`, counted through all regions.
  vm_mem::GuestAddress address_of(std::uint64_t page) const {
    for (const TestRegion& region : regions_) {
      if (page < region.pages) return vm_mem::GuestAddress{region.begin + page * kSnapshotPage};
      page -= region.pages;
    }
    return {};
  }

  // Bytes that no other seed has; of seed 0 zeros.
  static std::vector<std::byte> page_of(std::uint64_t seed) {
    std::vector<std::byte> page(kSnapshotPage);
    std::uint64_t state = seed;
    for (std::size_t at = 0; seed != 0 && at < page.size(); at += 8) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      std::memcpy(page.data() + at, &state, 8);
    }
    return page;
  }
  void fill(std::uint64_t page, std::uint64_t seed) {
    EXPECT_TRUE(memory_->write(address_of(page), page_of(seed)).ok());
  }
  void discard(std::uint64_t page) {
    const auto range = vm_mem::GuestRange::make(address_of(page), kSnapshotPage);
    EXPECT_TRUE(memory_->discard(*range).ok());
  }

  // All of it, region after region.
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(page_count() * kSnapshotPage);
    for (std::uint64_t page = 0; page < page_count(); ++page) {
      const auto to = std::span(all).subspan(page * kSnapshotPage, kSnapshotPage);
      EXPECT_TRUE(memory_->read(address_of(page), to).ok());
    }
    return all;
  }

 private:
  std::vector<TestRegion> regions_;
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  std::vector<vm_mem::RegionId> ids_;
};

}  // namespace vm_test

#endif  // TESTS_VM_MEM_SNAPSHOT_WORLD_H_
