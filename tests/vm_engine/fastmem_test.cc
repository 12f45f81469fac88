#include "vm_engine/fastmem.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/emulator.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_engine/fastmem_machine.h"

namespace {

using vm_engine::FastmemMode;
using vm_engine::FastmemSpace;
using vm_mem::Backing;
using vm_mem::DirtyTracking;
using vm_mem::GuestAddress;
using vm_mem::Protection;
using vm_mem::RegionId;
using namespace vm_test;

TEST_F(FastmemTest, RamIsReachedWithoutAFault) {
  EXPECT_TRUE(direct_store(kRam + 8, 0x1234));
  EXPECT_EQ(word(kRam + 8), 0x1234u);
  ASSERT_TRUE(memory_->store(GuestAddress{kRam + 16}, std::uint64_t{0x5678}).ok());
  std::uint64_t value = 0;
  EXPECT_TRUE(direct_load(kRam + 16, value));
  EXPECT_EQ(value, 0x5678u);
  EXPECT_EQ(made_->fastmem_base, arena_->base());
}

TEST_F(FastmemTest, AnAliasIsAMirror) {
  EXPECT_TRUE(direct_store(kMirror + 8, 77));
  EXPECT_EQ(word(kRam + 2 * kPage + 8), 77u);
  std::uint64_t value = 0;
  EXPECT_TRUE(direct_load(kRam + 2 * kPage + 8, value));
  EXPECT_EQ(value, 77u);
}

TEST_F(FastmemTest, RomIsReadAndItsWritesFault) {
  std::uint64_t value = 0;
  EXPECT_TRUE(direct_load(kRom + kPage, value));
  EXPECT_EQ(value, word(kRom + kPage));
  EXPECT_FALSE(direct_store(kRom, 1));
  EXPECT_EQ(fault().rc, std::uint32_t{VME_PROT});
  EXPECT_EQ(fault().gva, kRom);
}

TEST_F(FastmemTest, ADeviceFaultsIsToldHotAtOnceAndIsAccessedOnce) {
  device_.log.clear();
  const std::uint64_t value = load(kDevice + 8);
  ASSERT_EQ(device_.log.size(), 1u);
  EXPECT_EQ(device_.log[0].value, value);
  std::uint64_t index = ~0ull;
  const auto note = [](void* out, const vme_hot_site* site) {
    *static_cast<std::uint64_t*>(out) = site->index;
  };
  EXPECT_EQ(vme_hot_take(engine_.get(), note, &index), 1u);
  EXPECT_EQ(index, 0u);
  std::uint64_t direct = 0;
  EXPECT_FALSE(direct_load(kDevice, direct));
  EXPECT_EQ(fault().rc, std::uint32_t{VME_MMIO});
}

TEST_F(FastmemTest, HolesAndBothGuardsFault) {
  std::uint64_t value = 0;
  for (const std::uint64_t gva :
       {std::uint64_t{0}, kRam - 8, arena_->bytes() - 8, arena_->bytes(),
        arena_->bytes() + kMiB - 8, std::uint64_t{0} - 8, std::uint64_t{0} - kMiB}) {
    EXPECT_FALSE(direct_load(gva, value)) << std::hex << gva;
    EXPECT_EQ(fault().rc, std::uint32_t{VME_UNMAPPED}) << std::hex << gva;
    EXPECT_EQ(fault().gva, gva);
    EXPECT_FALSE(direct_store(gva, 1)) << std::hex << gva;
  }
}

TEST_F(FastmemTest, AnAccessThatLeavesItsRegionNamesTheFirstByteOutOfReach) {
  std::uint64_t value = 0;
  const std::uint64_t end = kRam + kRamPages * kPage;
  EXPECT_FALSE(direct_load(end - 3, value));
  EXPECT_EQ(fault().gva, end);
}

TEST_F(FastmemTest, TheFirstStoreToATrackedPageMarksIt) {
  EXPECT_EQ(harvest(), Pages{});
  EXPECT_TRUE(direct_store(kTracked + 3 * kPage, 9)) << "retried, not sent to the landing pad";
  EXPECT_EQ(word(kTracked + 3 * kPage), 9u);
  EXPECT_EQ(harvest(), Pages{3});
  const std::uint64_t opened = arena_->statistics().pages_opened;
  EXPECT_TRUE(direct_store(kTracked + 3 * kPage + 8, 10));
  EXPECT_EQ(arena_->statistics().pages_opened, opened) << "open already";
}

TEST_F(FastmemTest, WhatIsStoredAfterAHarvestIsTold) {
  harvest();
  EXPECT_TRUE(direct_store(kTracked, 1));
  EXPECT_EQ(harvest(), Pages{0});
  EXPECT_TRUE(direct_store(kTracked, 2)) << "still open";
  vme_cpu_refresh(made_);
  EXPECT_EQ(harvest(), Pages{0});
  EXPECT_EQ(harvest(), Pages{});
  EXPECT_TRUE(direct_store(kTracked, 3));
  EXPECT_EQ(harvest(), Pages{0});
  EXPECT_TRUE(direct_store(kTracked, 4));
  vme_cpu_park(made_);
  EXPECT_EQ(harvest(), Pages{0});
}

TEST_F(FastmemTest, ClosingMakesTheNextHarvestExactWhileTheVcpuRuns) {
  harvest();
  EXPECT_TRUE(direct_store(kTracked + kPage, 1));
  harvest();
  EXPECT_TRUE(direct_store(kTracked + kPage, 2));
  arena_->close_tracked_pages();
  EXPECT_EQ(harvest(), Pages{1});
  EXPECT_EQ(harvest(), Pages{});
}

TEST_F(FastmemTest, TrackingThatIsTurnedOnClosesThePages) {
  EXPECT_TRUE(direct_store(kRam, 1));
  ASSERT_TRUE(memory_->set_dirty_tracking(ram_, DirtyTracking::kOn).ok());
  const std::uint64_t opened = arena_->statistics().pages_opened;
  EXPECT_TRUE(direct_store(kRam, 2));
  EXPECT_EQ(arena_->statistics().pages_opened, opened + 1);
  EXPECT_EQ(memory_->dirty_page_count(ram_).value(), 1u);
  ASSERT_TRUE(memory_->set_dirty_tracking(ram_, DirtyTracking::kOff).ok());
  EXPECT_TRUE(direct_store(kRam + kPage, 2));
  EXPECT_EQ(arena_->statistics().pages_opened, opened + 1);
}

TEST_F(FastmemTest, AProtectedPageFaultsInAllItsMirrorsUntilUnprotected) {
  ASSERT_TRUE(arena_->protect(ram_, 2 * kPage + 100, 1).ok());
  std::uint64_t value = 0;
  EXPECT_FALSE(direct_store(kRam + 2 * kPage, 1));
  EXPECT_FALSE(direct_store(kMirror, 1));
  EXPECT_TRUE(direct_load(kMirror, value));
  EXPECT_TRUE(direct_store(kRam + 3 * kPage, 1)) << "its neighbour";
  EXPECT_EQ(store(kRam + 2 * kPage, 5), 0u) << "the helper's view stays writable";
  EXPECT_EQ(word(kRam + 2 * kPage), 5u);
  EXPECT_TRUE(direct_load(kMirror, value));
  EXPECT_EQ(value, 5u);
  arena_->unprotect(ram_, 2 * kPage, kPage);
  EXPECT_TRUE(direct_store(kRam + 2 * kPage, 6));
  EXPECT_TRUE(direct_store(kMirror, 7));
  EXPECT_EQ(word(kRam + 2 * kPage), 7u);
}

TEST_F(FastmemTest, ProtectionOutlivesAChangeOfTheMap) {
  ASSERT_TRUE(arena_->protect(ram_, 0, kPage).ok());
  ASSERT_TRUE(memory_->move_region(ram_, GuestAddress{0x200000}).ok());
  EXPECT_FALSE(direct_store(0x200000, 1));
  EXPECT_TRUE(direct_store(0x200000 + kPage, 1));
}

TEST_F(FastmemTest, AProtectedPageOfTrackedMemoryIsMarkedByTheHelper) {
  harvest();
  ASSERT_TRUE(arena_->protect(tracked_, 0, kPage).ok());
  EXPECT_FALSE(direct_store(kTracked, 1));
  EXPECT_EQ(harvest(), Pages{});
  EXPECT_EQ(store(kTracked, 1), 0u);
  EXPECT_EQ(harvest(), Pages{0});
}

TEST_F(FastmemTest, FollowsTheMap) {
  ASSERT_TRUE(direct_store(kRam, 11));
  ASSERT_TRUE(memory_->move_region(ram_, GuestAddress{0x300000}).ok());
  std::uint64_t value = 0;
  EXPECT_FALSE(direct_load(kRam, value));
  EXPECT_TRUE(direct_load(0x300000, value));
  EXPECT_EQ(value, 11u);
  ASSERT_TRUE(memory_->set_protection(ram_, Protection::kRead).ok());
  EXPECT_TRUE(direct_load(0x300000, value));
  EXPECT_FALSE(direct_store(0x300000, 1));
  ASSERT_TRUE(memory_->set_protection(ram_, Protection::kNone).ok());
  EXPECT_FALSE(direct_load(0x300000, value));
  const auto above =
      memory_->add_ram(range(kTracked + kPage, kPage), {.backing = Backing::kMemfd, .priority = 1});
  ASSERT_TRUE(above.ok());
  EXPECT_TRUE(direct_store(kTracked + kPage, 5));
  EXPECT_TRUE(direct_load(kTracked + 2 * kPage, value));
  ASSERT_TRUE(memory_->remove_region(*above, vm_mem::RemovePolicy::kWait).ok());
  EXPECT_TRUE(direct_load(kTracked + kPage, value));
  EXPECT_EQ(value, 0u);
  EXPECT_EQ(arena_->mode(), FastmemMode::kFastmem) << arena_->reason();
}

TEST_F(FastmemTest, MemoryThatCannotBeShownFaultsAndIsNamed) {
  ASSERT_TRUE(memory_->add_ram(range(0x400000, kPage)).ok());
  EXPECT_EQ(arena_->mode(), FastmemMode::kSoftTlb);
  EXPECT_NE(arena_->reason().find("without a descriptor"), std::string::npos) << arena_->reason();
  EXPECT_FALSE(direct_store(0x400000, 1));
  EXPECT_EQ(store(0x400000, 21), 0u);
  EXPECT_EQ(load(0x400000), 21u);
  EXPECT_TRUE(direct_store(kRam, 1)) << "the rest stays";
}

TEST_F(FastmemTest, ALostPageOfAFileIsABusError) {
  const vm_test::TemporaryFile file(std::string(2 * kPage, 'a'));
  ASSERT_TRUE(
      memory_->add_ram(range(0x500000, 2 * kPage), {.backing = Backing::kFile, .file = file.path()})
          .ok());
  EXPECT_TRUE(direct_store(0x500000 + kPage, 3));
  file.resize(kPage);
  std::uint64_t value = 0;
  EXPECT_FALSE(direct_load(0x500000 + kPage, value));
  EXPECT_EQ(fault().rc, std::uint32_t{VME_BUS});
  EXPECT_EQ(fault().gva, 0x500000 + kPage);
  EXPECT_EQ(vme_read(made_, &value, 0x500000 + kPage, 8, 0), 8u);
  EXPECT_EQ(fault().rc, std::uint32_t{VME_BUS});
}

// The arena would let it through: something else of the host is in the way.
TEST_F(FastmemTest, AStoreThatAProtectionKeyForbidsTakesTheHelper) {
  const int key = pkey_alloc(0, PKEY_DISABLE_WRITE);
  if (key < 0) GTEST_SKIP() << "the host has no protection keys";
  ASSERT_TRUE(direct_store(kRam, 1));
  ASSERT_EQ(pkey_mprotect(arena_->base() + kRam, kPage, PROT_READ | PROT_WRITE, key), 0);
  EXPECT_FALSE(direct_store(kRam, 2));
  EXPECT_EQ(store(kRam, 3), 0u);
  EXPECT_EQ(word(kRam), 3u);
  ASSERT_EQ(pkey_mprotect(arena_->base() + kRam, kPage, PROT_READ | PROT_WRITE, 0), 0);
  pkey_free(key);
}

TEST_F(FastmemTest, AForkBesideChangesOfTheArenaLeavesTheChildNoLock) {
  if (vm_test::kWithTsan) GTEST_SKIP() << "a child of many threads is none of TSan's";
  if (vm_test::is_emulated()) GTEST_SKIP() << "qemu's own locks may be held in a child";
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    while (!stop) {
      EXPECT_TRUE(arena_->protect(ram_, 0, kPage).ok());
      arena_->unprotect(ram_, 0, kPage);
    }
  });
  for (int i = 0; i < 8; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      const bool closed =
          arena_->protect(ram_, kPage, kPage).ok() && !direct_store(kRam + kPage, 1);
      arena_->close_tracked_pages();
      _exit(closed && store(kRam + kPage, 2) == 0 ? 42 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << status;
  }
  stop = true;
  changes.join();
}

TEST_F(FastmemTest, AttachingRefusesWhatIsNotItsOwn) {
  vme_cpu foreign{};
  EXPECT_EQ(arena_->attach(nullptr).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(arena_->attach(&foreign).code(), absl::StatusCode::kInvalidArgument);
  vm_test::Machine other;
  EXPECT_EQ(arena_->attach(other.cpu.get()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(other.cpu->fastmem_base, nullptr);
  arena_->detach(other.cpu.get());
  arena_->detach(made_);
  EXPECT_EQ(made_->fastmem_base, nullptr);
  EXPECT_EQ(arena_->map(0, range(kRam, kPage)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FastmemTest, PagesAreProtectedAndOpenedWhileOthersStore) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<vm_engine::CpuPtr> cpus;
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 2; ++i) {
    vme_cpu* cpu = nullptr;
    ASSERT_EQ(vme_cpu_create(engine_.get(), &cpu), VME_OK);
    cpus.emplace_back(cpu);
    threads.emplace_back([&, cpu, i] {
      if (vme_thread_attach(cpu) != VME_OK || !arena_->attach(cpu).ok()) ++wrong;
      for (std::uint64_t round = 1; !stop; ++round) {
        const std::uint64_t gva = kTracked + (round % kRamPages) * kPage + 64 * (i + 1);
        std::uint64_t faulted = 7;
        vm_test_store(cpu->fastmem_base, gva, round, &faulted);
        if (faulted != 0 && vme_store(cpu, gva, round, 3 << VME_ELEM_SHIFT) != 0) ++wrong;
        if (vm_test_load(cpu->fastmem_base, gva, &faulted) != round || faulted != 0) ++wrong;
        if (round % 8 == 0) vme_cpu_refresh(cpu);
      }
      arena_->detach(cpu);
      vme_thread_detach();
    });
  }
  for (std::uint64_t round = 0; round < 150; ++round) {
    const std::uint64_t page = round * 5 % kRamPages;
    if (!arena_->protect(tracked_, page * kPage, kPage).ok()) ++wrong;
    harvest();
    arena_->unprotect(tracked_, page * kPage, kPage);
    if (round % 16 == 0 &&
        !memory_->move_region(ram_, GuestAddress{0x200000 + round * 0x10000}).ok()) {
      ++wrong;
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

// While pages are protected nobody stores to them: what is read there stays.
TEST_F(FastmemTest, AProtectedPageIsNotStoredTo) {
  vme_cpu* cpu = nullptr;
  ASSERT_EQ(vme_cpu_create(engine_.get(), &cpu), VME_OK);
  const vm_engine::CpuPtr owner(cpu);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    EXPECT_EQ(vme_thread_attach(cpu), VME_OK);
    EXPECT_TRUE(arena_->attach(cpu).ok());
    std::uint64_t faulted = 0;
    for (std::uint64_t value = 1; !stop; ++value) {
      vm_test_store(cpu->fastmem_base, kTracked, value, &faulted);
    }
    arena_->detach(cpu);
    vme_thread_detach();
  });
  std::uint64_t stale = 0;
  for (int round = 0; round < 40; ++round) {
    ASSERT_TRUE(arena_->protect(tracked_, 0, kPage).ok());
    const std::uint64_t before = word(kTracked);
    for (int i = 0; i < 50; ++i) stale += word(kTracked) != before ? 1u : 0u;
    arena_->unprotect(tracked_, 0, kPage);
    while (word(kTracked) == before) std::this_thread::yield();
  }
  stop = true;
  writer.join();
  EXPECT_EQ(stale, 0u);
}

class FastmemHugeTest : public FastmemTest {
 protected:
  static constexpr std::uint64_t kHuge = 2 * kMiB;
  static constexpr std::uint64_t kAt = 4 * kMiB;

  void add_huge(DirtyTracking tracking) {
    const auto added = memory_->add_ram(range(kAt, 2 * kHuge),
                                        {.backing = Backing::kHugetlb, .dirty_tracking = tracking});
    if (!added.ok()) GTEST_SKIP() << added.status();
    huge_ = *added;
  }
  RegionId huge_{};
};

TEST_F(FastmemHugeTest, IsShownAndProtectedByItsOwnPages) {
  add_huge(DirtyTracking::kOff);
  if (IsSkipped()) return;
  EXPECT_EQ(arena_->mode(), FastmemMode::kFastmem) << arena_->reason();
  EXPECT_TRUE(direct_store(kAt + 2 * kHuge - 8, 7));
  EXPECT_EQ(word(kAt + 2 * kHuge - 8), 7u);
  ASSERT_TRUE(arena_->protect(huge_, kHuge + 5 * kPage, 1).ok());
  EXPECT_FALSE(direct_store(kAt + kHuge, 1)) << "all of the huge page";
  EXPECT_TRUE(direct_store(kAt + kHuge - 8, 1)) << "not the one before it";
  EXPECT_EQ(store(kAt + kHuge, 9), 0u);
  EXPECT_EQ(load(kAt + kHuge), 9u);
  arena_->unprotect(huge_, kHuge + 5 * kPage, 1);
  EXPECT_TRUE(direct_store(kAt + kHuge, 1));
}

TEST_F(FastmemHugeTest, TheFirstStoreMarksAllOfItsPage) {
  add_huge(DirtyTracking::kOn);
  if (IsSkipped()) return;
  EXPECT_TRUE(direct_store(kAt + kHuge, 1));
  EXPECT_EQ(memory_->dirty_page_count(huge_).value(), kHuge / kPage);
  EXPECT_EQ(arena_->statistics().pages_opened, 1u);
}

TEST_F(FastmemHugeTest, AMirrorBetweenItsPagesFaultsAndIsNamed) {
  add_huge(DirtyTracking::kOff);
  if (IsSkipped()) return;
  ASSERT_TRUE(memory_->add_alias(range(10 * kMiB + kPage, kHuge), huge_, 0).ok());
  EXPECT_EQ(arena_->mode(), FastmemMode::kSoftTlb);
  EXPECT_NE(arena_->reason().find("0x200000"), std::string::npos) << arena_->reason();
  EXPECT_FALSE(direct_store(10 * kMiB + kPage, 1));
  EXPECT_EQ(store(10 * kMiB + kPage, 3), 0u);
  EXPECT_EQ(word(kAt), 3u);
  EXPECT_TRUE(direct_store(kAt, 1)) << "the rest stays";
}

class FastmemVirtualTest : public FastmemTest {
 protected:
  FastmemVirtualTest() : FastmemTest(small_arena(FastmemSpace::kVirtual)) {}
};

TEST_F(FastmemVirtualTest, ShowsWhatIsMapped) {
  constexpr std::uint64_t kGva = 0x800000;
  std::uint64_t value = 0;
  EXPECT_FALSE(direct_load(kRam, value));
  ASSERT_TRUE(arena_->map(kGva, range(kRam, 4 * kPage)).ok());
  ASSERT_TRUE(arena_->map(kGva + 4 * kPage, range(kRam, kPage), Protection::kRead).ok());
  EXPECT_TRUE(direct_store(kGva + 8, 31));
  EXPECT_TRUE(direct_load(kGva + 4 * kPage + 8, value));
  EXPECT_EQ(value, 31u);
  EXPECT_FALSE(direct_store(kGva + 4 * kPage + 8, 32));
  ASSERT_TRUE(arena_->unmap(kGva + kPage, kPage).ok());
  EXPECT_TRUE(direct_store(kGva, 1));
  EXPECT_FALSE(direct_store(kGva + kPage, 1));
  EXPECT_TRUE(direct_store(kGva + 2 * kPage, 2));
  EXPECT_EQ(word(kRam + 2 * kPage), 2u);
  ASSERT_TRUE(arena_->unmap(0, arena_->bytes()).ok());
  EXPECT_FALSE(direct_load(kGva, value));
}

TEST_F(FastmemVirtualTest, UnmappingMarksWhatWasOpen) {
  ASSERT_TRUE(arena_->map(0, range(kTracked, 8 * kPage)).ok());
  harvest();
  EXPECT_TRUE(direct_store(5 * kPage, 1));
  EXPECT_EQ(harvest(), Pages{5});
  EXPECT_TRUE(direct_store(5 * kPage, 2));
  ASSERT_TRUE(arena_->unmap(4 * kPage, 2 * kPage).ok());
  EXPECT_EQ(harvest(), Pages{5});
}

TEST_F(FastmemVirtualTest, FollowsTheMapBehindItsPlaces) {
  ASSERT_TRUE(arena_->map(0, range(kRam, 2 * kPage)).ok());
  EXPECT_TRUE(direct_store(0, 1));
  ASSERT_TRUE(memory_->set_protection(ram_, Protection::kRead).ok());
  EXPECT_FALSE(direct_store(0, 1));
  ASSERT_TRUE(memory_->move_region(ram_, GuestAddress{0x200000}).ok());
  std::uint64_t value = 0;
  EXPECT_FALSE(direct_load(0, value));
}

TEST_F(FastmemVirtualTest, RefusesBadPlaces) {
  ASSERT_TRUE(arena_->map(0, range(kRam, 2 * kPage)).ok());
  const auto code_of = [&](std::uint64_t gva, vm_mem::GuestRange what) {
    return arena_->map(gva, what).code();
  };
  EXPECT_EQ(code_of(kPage, range(kRam, kPage)), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code_of(kPage + 1, range(kRam, kPage)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(8 * kPage, range(kRam + 8, kPage)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(8 * kPage, range(kRam, 0)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of(arena_->bytes(), range(kRam, kPage)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(arena_->unmap(1, kPage).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
