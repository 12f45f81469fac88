#include "vm_mem/host_memory_options.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/host_probes.h"
#include "tests/support/temporary_file.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::advice_reaches_the_host;
using vm_test::has_flag;
using vm_test::is_readable;
using vm_test::page_bytes;

constexpr std::size_t kBytes = std::size_t{4} << 20;

absl::StatusOr<HostMapping> anonymous(const HostMemoryOptions& host, std::size_t max_bytes = 0) {
  return HostMapping::anonymous(kBytes, {.max_bytes = max_bytes, .host = host});
}

// The address and thread sanitizers answer mlock themselves, and need mappings of their own.
bool mlock_reaches_the_host() {
  const HostMapping page = HostMapping::anonymous(page_bytes()).value();
  return ::mlock(page.bytes().data(), page_bytes()) == 0 && has_flag(page.bytes().data(), "lo");
}

TEST(HostMemoryOptionsTest, GuardPagesAreInaccessibleOnBothSides) {
  for (const std::size_t bytes : {page_bytes(), kBytes}) {
    const HostMappingOptions options = {.host = {.guards = GuardPages::kBothSides}};
    for (HostMapping& mapping : std::array{HostMapping::anonymous(bytes, options).value(),
                                           HostMapping::memfd(bytes, options).value()}) {
      const std::byte* at = mapping.bytes().data();
      EXPECT_TRUE(is_readable(at));
      EXPECT_TRUE(is_readable(at + bytes - 1));
      EXPECT_TRUE(vm_test::is_mapped(at - page_bytes()));
      EXPECT_TRUE(vm_test::is_mapped(at + bytes));
      EXPECT_FALSE(is_readable(at - 1));
      EXPECT_FALSE(is_readable(at + bytes));
    }
  }
}

TEST(HostMemoryOptionsTest, AGuardPageFollowsTheLargestSize) {
  HostMapping mapping = anonymous({.guards = GuardPages::kBothSides}, 2 * kBytes).value();
  ASSERT_TRUE(mapping.resize(2 * kBytes).ok());
  EXPECT_TRUE(vm_test::is_mapped(mapping.bytes().data() + 2 * kBytes));
  EXPECT_FALSE(is_readable(mapping.bytes().data() + 2 * kBytes));
}

TEST(HostMemoryOptionsTest, AdviceReachesTheHostForWhatIsThereAndWhatIsAdded) {
  if (!advice_reaches_the_host()) GTEST_SKIP() << "madvise has no effect that smaps shows";
  HostMapping mapping = anonymous({.dump = CoreDump::kExcluded}, 2 * kBytes).value();
  EXPECT_TRUE(has_flag(mapping.bytes().data(), "dd"));
  ASSERT_TRUE(mapping.resize(2 * kBytes).ok());
  EXPECT_TRUE(has_flag(mapping.bytes().data() + kBytes, "dd"));
  EXPECT_FALSE(has_flag(anonymous({}).value().bytes().data(), "dd"));
}

TEST(HostMemoryOptionsTest, HugePagesAreAdvisedEitherWay) {
  if (!advice_reaches_the_host()) GTEST_SKIP() << "madvise has no effect that smaps shows";
  const auto always =
      HostMapping::anonymous(page_bytes(), {.host = {.huge_pages = HugePageAdvice::kAlways}});
  if (absl::IsUnimplemented(always.status())) GTEST_SKIP() << always.status();
  ASSERT_TRUE(always.ok()) << always.status();
  EXPECT_TRUE(has_flag(always->bytes().data(), "hg"));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(always->bytes().data()) % (2 << 20), 0u);
  const HostMapping never = anonymous({.huge_pages = HugePageAdvice::kOff}).value();
  EXPECT_TRUE(has_flag(never.bytes().data(), "nh"));
}

TEST(HostMemoryOptionsTest, PrivateMemoryMergesWhereTheHostCan) {
  if (!advice_reaches_the_host()) GTEST_SKIP() << "madvise has no effect that smaps shows";
  const auto merged = anonymous({.merge = PageMerging::kOn});
  if (absl::IsUnimplemented(merged.status())) GTEST_SKIP() << merged.status();
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_TRUE(has_flag(merged->bytes().data(), "mg"));
}

TEST(HostMemoryOptionsTest, SharedMemoryRefusesToMerge) {
  const HostMappingOptions options = {.host = {.merge = PageMerging::kOn}};
  const vm_test::TemporaryFile file(std::string(page_bytes(), 'x'));
  for (const absl::Status& status :
       {HostMapping::memfd(kBytes, options).status(),
        HostMapping::file(page_bytes(), {.path = file.path()}, options).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
}

TEST(HostMemoryOptionsTest, LockedPagesAreThereAndLocked) {
  if (!mlock_reaches_the_host()) GTEST_SKIP() << "mlock has no effect that smaps shows";
  const HostMappingOptions options = {.host = {.lock = PageLock::kLocked}};
  auto locked = HostMapping::anonymous(4 * page_bytes(), options);
  if (absl::IsResourceExhausted(locked.status())) GTEST_SKIP() << locked.status();
  ASSERT_TRUE(locked.ok()) << locked.status();
  EXPECT_TRUE(has_flag(locked->bytes().data(), "lo"));
  EXPECT_EQ(vm_test::resident_pages(locked->bytes()), 4u);
  locked->bytes()[0] = std::byte{5};
  const absl::Status discarded = locked->discard(0, 4 * page_bytes());
  if (absl::IsFailedPrecondition(discarded)) GTEST_SKIP() << discarded;
  if (!advice_reaches_the_host()) GTEST_SKIP() << "madvise has no effect that smaps shows";
  EXPECT_TRUE(discarded.ok()) << discarded;
  EXPECT_EQ(locked->bytes()[0], std::byte{0});
}

// In a child, which gives up the privilege that lifts the limit.
[[noreturn]] void exit_with_what_lock_says() {
  const rlimit low = {0x4000, 0x4000};
  if (::setrlimit(RLIMIT_MEMLOCK, &low) != 0 || ::setuid(65534) != 0) std::_Exit(2);
  const absl::Status status = anonymous({.lock = PageLock::kLocked}).status();
  const bool clear = absl::IsResourceExhausted(status) &&
                     status.message().find("RLIMIT_MEMLOCK is 0x4000") != absl::string_view::npos;
  std::_Exit(clear ? 0 : 1);
}

TEST(HostMemoryOptionsDeathTest, ALimitOnLockingIsNamed) {
  if (!mlock_reaches_the_host()) GTEST_SKIP() << "mlock has no effect that smaps shows";
  if (::geteuid() != 0) GTEST_SKIP() << "only root can change to a user without privileges";
  EXPECT_EXIT(exit_with_what_lock_says(), testing::ExitedWithCode(0), "");
}

TEST(HostMemoryOptionsTest, PagesArePlacedOnTheNodesAskedFor) {
  const auto bound =
      anonymous({.prefault_threads = 1, .numa_policy = NumaPolicy::kBind, .numa_nodes = {0}});
  if (absl::IsUnimplemented(bound.status()) || absl::IsPermissionDenied(bound.status())) {
    GTEST_SKIP() << bound.status();
  }
  ASSERT_TRUE(bound.ok()) << bound.status();
  int mode = -1;
  std::array<unsigned long, 16> mask{};
  constexpr unsigned long kOfAddress = 2;  // MPOL_F_ADDR
  if (::syscall(SYS_get_mempolicy, &mode, mask.data(), 1024UL, bound->bytes().data(), kOfAddress) !=
      0) {
    GTEST_SKIP() << "get_mempolicy: errno " << errno;
  }
  EXPECT_EQ(mode, 2);  // MPOL_BIND
  EXPECT_EQ(mask[0], 1UL);
}

TEST(HostMemoryOptionsTest, RefusesNodesThatDoNotFitThePolicyOrTheHost) {
  const HostMemoryOptions contradictory[] = {
      {.numa_nodes = {0}},
      {.numa_policy = NumaPolicy::kBind},
      {.numa_policy = NumaPolicy::kPreferred, .numa_nodes = {0, 1}},
      {.numa_policy = NumaPolicy::kInterleave, .numa_nodes = {1024}},
  };
  for (const HostMemoryOptions& options : contradictory) {
    EXPECT_EQ(anonymous(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
  const absl::Status offline =
      anonymous({.numa_policy = NumaPolicy::kBind, .numa_nodes = {1023}}).status();
  if (absl::IsUnimplemented(offline) || absl::IsPermissionDenied(offline)) {
    GTEST_SKIP() << offline;
  }
  EXPECT_EQ(offline.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(offline.message().find("nodes 1023: not all are online"), absl::string_view::npos);
}

// One mapping, split into as many as the host still allows.
std::span<std::byte> use_up_mappings(std::size_t limit) {
  const std::size_t page = page_bytes();
  const std::size_t bytes = (limit + 2) * page;
  void* all = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) std::_Exit(2);
  for (std::size_t i = 0; i < limit; i += 2) {
    if (::mprotect(static_cast<std::byte*>(all) + i * page, page, PROT_READ) != 0) break;
  }
  return {static_cast<std::byte*>(all), bytes};
}

bool names_the_limit(const absl::Status& status) {
  return absl::IsResourceExhausted(status) &&
         status.message().find("errno 12") != absl::string_view::npos &&
         status.message().find("max_map_count") != absl::string_view::npos;
}

[[noreturn]] void exit_with_what_too_many_mappings_say(std::size_t limit) {
  use_up_mappings(limit);
  const HostMappingOptions options = {.host = {.guards = GuardPages::kBothSides}};
  absl::Status status;
  std::vector<HostMapping> kept;
  kept.reserve(16);
  while (status.ok() && kept.size() < kept.capacity()) {
    auto mapping = HostMapping::anonymous(page_bytes(), options);
    status = mapping.status();
    if (mapping.ok()) kept.push_back(*std::move(mapping));
  }
  std::_Exit(names_the_limit(status) ? 0 : 1);
}

[[noreturn]] void exit_with_what_a_manager_says_of_too_many_regions(std::size_t limit) {
  const auto memory = MemoryManager::create({}).value();
  const auto add = [&](std::uint64_t page) {
    const auto range = GuestRange::make(GuestAddress{page * 4096}, 4096).value();
    return memory->add_ram(range, {.host = {.guards = GuardPages::kBothSides}}).status();
  };
  const std::span<std::byte> all = use_up_mappings(limit);
  absl::Status status;
  std::uint64_t regions = 0;
  while (status.ok() && regions < 16) {
    status = add(regions);
    regions += status.ok() ? 1u : 0u;
  }
  if (!names_the_limit(status)) std::_Exit(1);
  if (memory->map()->sections().size() != regions) std::_Exit(3);
  std::uint64_t word = 0;
  if (memory->load(GuestAddress{regions * 4096}, word).fault != AccessFault::kUnmapped) {
    std::_Exit(4);
  }
  // Once the host has room, the same region is added.
  ::munmap(all.data(), all.size());
  if (!add(regions).ok() || !memory->store(GuestAddress{regions * 4096}, word).ok()) std::_Exit(5);
  std::_Exit(0);
}

std::size_t limit_of_mappings() {
  std::size_t limit = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> limit;
  return limit;
}

TEST(HostMemoryOptionsDeathTest, TooManyMappingsAreRefusedWithTheLimitsName) {
  if (!mlock_reaches_the_host() || !advice_reaches_the_host()) {
    GTEST_SKIP() << "a sanitizer or an emulator needs mappings of its own";
  }
  const std::size_t limit = limit_of_mappings();
  if (limit == 0 || limit > 200'000) GTEST_SKIP() << "vm.max_map_count is " << limit;
  EXPECT_EXIT(exit_with_what_too_many_mappings_say(limit), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exit_with_what_a_manager_says_of_too_many_regions(limit), testing::ExitedWithCode(0),
              "");
}

}  // namespace
}  // namespace vm_mem
