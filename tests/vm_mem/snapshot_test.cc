#include "vm_mem/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/foreign_writes.h"

namespace vm_mem {
namespace {

using testing::HasSubstr;
using vm_test::SnapshotWorld;

Snapshot opened(const std::string& path) {
  auto snapshot = Snapshot::open(path);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return *std::move(snapshot);
}

SnapshotSaved saved(SnapshotWorld& world, const std::string& path,
                    const SnapshotSaveOptions& options = {}) {
  const auto result = save_snapshot(world.memory(), path, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return *result;
}

std::vector<vm_test::TestRegion> two_regions(Backing backing) {
  return {{.begin = 0x1000, .pages = 40, .backing = backing},
          {.begin = 0x100000, .pages = 300, .backing = backing}};
}

class SnapshotBackingTest : public testing::TestWithParam<std::pair<Backing, SnapshotIo>> {};

TEST_P(SnapshotBackingTest, RestoresWhatWasSavedIntoFreshAndIntoUsedMemory) {
  const vm_test::TemporaryFolder folder;
  const auto [backing, io] = GetParam();
  SnapshotWorld world(two_regions(backing));
  for (const unsigned page : {0U, 3U, 4U, 39U, 40U, 41U, 100U, 339U}) world.fill(page, page + 1);
  world.fill(200, 0);  // populated, and zero
  const SnapshotSaved result = saved(world, folder.file("a"), {.io = io});
  EXPECT_EQ(result.data_pages, 8);
  const Snapshot snapshot = opened(folder.file("a"));
  EXPECT_TRUE(snapshot.verify({.io = io}).ok());

  SnapshotWorld fresh(two_regions(backing));
  const auto restored = restore_snapshot(fresh.memory(), snapshot, {.io = io});
  EXPECT_TRUE(restored.ok()) << restored;
  EXPECT_EQ(fresh.bytes(), world.bytes());

  SnapshotWorld used(two_regions(backing));
  for (std::uint64_t page = 0; page < used.page_count(); ++page) used.fill(page, 1000 + page);
  EXPECT_TRUE(restore_snapshot(used.memory(), snapshot, {.io = io}).ok());
  EXPECT_EQ(used.bytes(), world.bytes());
}

INSTANTIATE_TEST_SUITE_P(All, SnapshotBackingTest,
                         testing::Values(std::pair(Backing::kAnonymous, SnapshotIo::kRing),
                                         std::pair(Backing::kAnonymous, SnapshotIo::kThreads),
                                         std::pair(Backing::kAnonymous, SnapshotIo::kBuffered),
                                         std::pair(Backing::kMemfd, SnapshotIo::kRing),
                                         std::pair(Backing::kMemfd, SnapshotIo::kBuffered)));

TEST(SnapshotTest, MemoryThatNobodyTouchedIsNotReadAndNotThereAfterwards) {
  const vm_test::TemporaryFolder folder;
  for (const Backing backing : {Backing::kAnonymous, Backing::kMemfd}) {
    SnapshotWorld world({{.begin = 0, .pages = 1 << 16, .backing = backing}});
    world.fill(5, 1);
    const SnapshotSaved result = saved(world, folder.file("a"));
    EXPECT_LE(result.scanned_pages, 512);  // a huge page, at most
    SnapshotWorld other({{.begin = 0, .pages = 1 << 16, .backing = backing}});
    ASSERT_TRUE(restore_snapshot(other.memory(), opened(folder.file("a"))).ok());
    EXPECT_LE(saved(other, folder.file("b")).scanned_pages, 512);
  }
}

// Though the kernel has something in the place of each of its pages.
TEST(SnapshotTest, MemoryThatIsWatchedForForeignWritesIsNotReadEither) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world({{.begin = 0, .pages = 1 << 14}});
  world.fill(5, 1);
  const auto watch = ForeignWriteTracker::watch(world.memory().map()->sections()[0]);
  ASSERT_TRUE(watch.ok()) << watch.status();
  struct sysinfo about = {};
  if (::sysinfo(&about) != 0 || about.totalswap != 0) GTEST_SKIP() << "this host has swap";
  const SnapshotSaved result = saved(world, folder.file("a"));
  EXPECT_LE(result.scanned_pages, 512);
  EXPECT_EQ(result.data_pages, 1);
}

TEST(SnapshotTest, WhatIsNoFileIsNotReplaced) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world;
  ASSERT_EQ(::mkfifo(folder.file("a").c_str(), 0600), 0);
  const absl::Status refused = save_snapshot(world.memory(), folder.file("a")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(folder.file("a") + ": this is no regular"));
  EXPECT_TRUE(std::filesystem::is_fifo(folder.file("a")));
  EXPECT_EQ(save_snapshot(world.memory(), folder.file(std::string(250, 'a'))).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SnapshotTest, StatesWorkingSetAndInfoComeBack) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  for (std::uint64_t page = 0; page < 64; ++page) world.fill(page, page + 7);
  std::vector<std::byte> large(3 << 20, std::byte{0x5a});
  const std::vector<GuestAddress> working_set = {world.address_of(60), world.address_of(61),
                                                 world.address_of(2)};
  const SnapshotSaved result = saved(world, folder.file("a"),
                                     {.states = {{.id = "cpu/0", .version = 3, .bytes = {}},
                                                 {.id = "disk", .version = 1, .bytes = large}},
                                      .working_set = working_set});
  const Snapshot snapshot = opened(folder.file("a"));
  EXPECT_EQ(snapshot.info().id, result.id);
  EXPECT_TRUE(snapshot.info().parent.is_zero());
  EXPECT_EQ(snapshot.info().guest_pages, 64);
  EXPECT_EQ(snapshot.info().data_pages, 64);
  EXPECT_EQ(snapshot.info().file_bytes, std::filesystem::file_size(folder.file("a")));
  EXPECT_EQ(snapshot.info().regions,
            std::vector{*GuestRange::make(GuestAddress{0x10000}, 64 << 12)});
  EXPECT_EQ(snapshot.working_set(), working_set);
  ASSERT_EQ(snapshot.states().size(), 2);
  EXPECT_EQ(snapshot.state("cpu/0")->version, 3);
  EXPECT_EQ(snapshot.state("disk")->bytes, large);
  EXPECT_EQ(snapshot.state("net").status().code(), absl::StatusCode::kNotFound);
  // The working set is what the file begins with.
  const std::vector<std::byte> file = vm_test::file_bytes(folder.file("a"));
  const std::vector<std::byte> first(file.begin() + 4096, file.begin() + 8192);
  EXPECT_EQ(first, SnapshotWorld::page_of(67));
}

// More pages than there are would be refused by who reads the file.
TEST(SnapshotTest, AWorkingSetNamesEachPageOnce) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world({{.begin = 0, .pages = 4}});
  world.fill(2, 1);
  const GuestAddress page = world.address_of(2);
  saved(world, folder.file("a"),
        {.working_set = {page, world.address_of(1), page, page.offset_by(8), page, page}});
  EXPECT_EQ(opened(folder.file("a")).working_set(), (std::vector{page, world.address_of(1)}));
}

TEST(SnapshotTest, NamesWhatItRefusesAndLeavesNothing) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  const auto refused = [&](const std::string& path, const SnapshotSaveOptions& options) {
    return save_snapshot(world.memory(), path, options).status();
  };
  const absl::Status no_folder = refused(folder.file("none/a"), {});
  EXPECT_EQ(no_folder.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_folder.message()), HasSubstr(folder.file("none/a")));
  EXPECT_EQ(refused(folder.file("a"), {.states = {{.id = ""}}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused(folder.file("a"), {.states = {{.id = "x"}, {.id = "x"}}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused(folder.file("a"), {.working_set = {GuestAddress{0}}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      refused(folder.file("a"), {.progress = [](auto, auto) { return SnapshotStep::kCancel; }})
          .code(),
      absl::StatusCode::kCancelled);
  auto lease =
      world.memory().lease(*GuestRange::make(GuestAddress{0x10000}, 16), LeaseAccess::kReadWrite);
  const absl::Status leased = refused(folder.file("a"), {});
  EXPECT_EQ(leased.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(leased.message()), HasSubstr("0x10000 is held by 1 leases"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_TRUE(refused(folder.file("a"), {.leases = SnapshotLeases::kIgnore}).ok());
  EXPECT_EQ(restore_snapshot(world.memory(), opened(folder.file("a"))).code(),
            absl::StatusCode::kUnavailable);
}

TEST(SnapshotTest, RegionsThatOverlapAreRefused) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  RamOptions above;
  above.priority = 1;
  ASSERT_TRUE(world.memory().add_ram(*GuestRange::make(GuestAddress{0x11000}, 0x1000), above).ok());
  EXPECT_EQ(save_snapshot(world.memory(), folder.file("a")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SnapshotTest, RegionsCountFromTheirContainersAndRomIsLeftOut) {
  const vm_test::TemporaryFolder folder;
  auto memory = *MemoryManager::create({});
  const auto container = memory->add_container(*GuestRange::make(GuestAddress{0x40000}, 0x10000));
  RamOptions inside;
  inside.container = *container;
  ASSERT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0x1000}, 0x2000), inside).ok());
  ASSERT_TRUE(memory->add_rom(*GuestRange::make(GuestAddress{0}, 0x1000), {}).ok());
  ASSERT_TRUE(save_snapshot(*memory, folder.file("a")).ok());
  EXPECT_EQ(opened(folder.file("a")).info().regions,
            std::vector{*GuestRange::make(GuestAddress{0x41000}, 0x2000)});
}

TEST(SnapshotTest, MemoryWithOtherRegionsIsLeftAlone) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  world.fill(0, 1);
  saved(world, folder.file("a"));
  for (const vm_test::TestRegion& region : {vm_test::TestRegion{.begin = 0x10000, .pages = 65},
                                            vm_test::TestRegion{.begin = 0x11000, .pages = 64}}) {
    SnapshotWorld other({region});
    const absl::Status refused = restore_snapshot(other.memory(), opened(folder.file("a")));
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("0x40000 bytes at 0x10000"));
  }
}

TEST(SnapshotTest, ARestoreMarksRamDirtyAndTellsItsProgress) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  world.fill(9, 1);
  saved(world, folder.file("a"));
  SnapshotWorld other;
  const auto client = other.memory().add_dirty_client("test");
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  const auto progress = [&](std::uint64_t done, std::uint64_t of) {
    last = done;
    total = of;
    return SnapshotStep::kContinue;
  };
  ASSERT_TRUE(
      restore_snapshot(other.memory(), opened(folder.file("a")), {.progress = progress}).ok());
  EXPECT_EQ(last, 4096);
  EXPECT_EQ(total, 4096);
  DirtyPages pages;
  ASSERT_TRUE(other.memory().harvest_dirty(*client, other.ids()[0], pages).ok());
  EXPECT_EQ(pages.page_count(), 64);
}

TEST(SnapshotTest, ACancelledRestoreLeavesFreshMemoryFresh) {
  const vm_test::TemporaryFolder folder;
  SnapshotWorld world;
  for (std::uint64_t page = 0; page < 64; ++page) world.fill(page, 1);
  saved(world, folder.file("a"));
  SnapshotWorld other;
  const auto cancel = [](auto, auto) { return SnapshotStep::kCancel; };
  const absl::Status cancelled =
      restore_snapshot(other.memory(), opened(folder.file("a")), {.progress = cancel});
  EXPECT_EQ(cancelled.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(other.bytes(), SnapshotWorld().bytes());
}

TEST(SnapshotTest, SeveralThreadsMayUseOne) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world(two_regions(Backing::kAnonymous));
  for (std::uint64_t page = 0; page < world.page_count(); page += 3) world.fill(page, page + 1);
  saved(world, folder.file("a"), {.states = {{.id = "cpu", .bytes = {std::byte{1}}}}});
  const Snapshot snapshot = opened(folder.file("a"));
  const std::vector<std::byte> wanted = world.bytes();
  std::vector<std::thread> threads;
  for (const SnapshotIo io : {SnapshotIo::kRing, SnapshotIo::kThreads, SnapshotIo::kBuffered}) {
    threads.emplace_back([&, io] {
      SnapshotWorld other(two_regions(Backing::kAnonymous));
      EXPECT_TRUE(restore_snapshot(other.memory(), snapshot, {.io = io}).ok());
      EXPECT_EQ(other.bytes(), wanted);
      EXPECT_TRUE(snapshot.verify({.io = io}).ok());
      EXPECT_TRUE(snapshot.state("cpu").ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(SnapshotTest, RegionsOfFilesAndOfTheCallerAreSavedAndRestored) {
  const vm_test::TemporaryFolder folder;
  const vm_test::TemporaryFile file(std::string(16 * 4096, 'f'));
  alignas(4096) static std::byte owned[16 * 4096];
  std::vector<std::vector<std::byte>> images;
  for (const FileSharing sharing : {FileSharing::kShared, FileSharing::kPrivate}) {
    auto memory = *MemoryManager::create({});
    RamOptions options{.backing = Backing::kFile};
    options.file = file.path();
    options.sharing = sharing;
    ASSERT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0}, 16 * 4096), options).ok());
    RamOptions callers{.backing = Backing::kCallerOwned};
    callers.memory = owned;
    ASSERT_TRUE(
        memory->add_ram(*GuestRange::make(GuestAddress{0x100000}, sizeof owned), callers).ok());
    ASSERT_TRUE(memory->fill_block(GuestAddress{0x1000}, std::byte{0}, 4096).ok());
    ASSERT_TRUE(memory->fill_block(GuestAddress{0x101000}, std::byte{3}, 4096).ok());
    ASSERT_TRUE(save_snapshot(*memory, folder.file("a")).ok());
    ASSERT_TRUE(memory->fill_block(GuestAddress{0}, std::byte{9}, 16 * 4096).ok());
    ASSERT_TRUE(memory->fill_block(GuestAddress{0x100000}, std::byte{9}, sizeof owned).ok());
    const absl::Status restored = restore_snapshot(*memory, opened(folder.file("a")));
    ASSERT_TRUE(restored.ok()) << restored;
    std::vector<std::byte> image(16 * 4096);
    ASSERT_TRUE(memory->read(GuestAddress{0}, image).ok());
    EXPECT_EQ(image[0], std::byte{'f'});
    EXPECT_EQ(image[0x1000], std::byte{0});
    EXPECT_EQ(image[0xffff], std::byte{'f'});
    EXPECT_EQ(owned[0], std::byte{0});
    EXPECT_EQ(owned[0x1000], std::byte{3});
  }
}

// Of the pool, that nobody has or is promised.
long free_huge_pages() {
  std::ifstream file("/proc/meminfo");
  long pages = 0;
  for (std::string name, line; file >> name && std::getline(file, line);) {
    if (name == "HugePages_Free:") pages += std::stol(line);
    if (name == "HugePages_Rsvd:") pages -= std::stol(line);
  }
  return pages;
}

TEST(SnapshotTest, HugePagesOfThePoolAreKept) {
  constexpr std::uint64_t kHuge = 2 << 20;
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  auto memory = *MemoryManager::create({});
  RamOptions options{.backing = Backing::kHugetlb};
  options.huge_page_bytes = kHuge;
  if (!memory->add_ram(*GuestRange::make(GuestAddress{0}, 2 * kHuge), options).ok()) {
    GTEST_SKIP() << "this host has no two huge pages free";
  }
  const long free_before = free_huge_pages();
  ASSERT_TRUE(memory->fill_block(GuestAddress{0}, std::byte{1}, 8192).ok());
  ASSERT_TRUE(save_snapshot(*memory, folder.file("a")).ok());
  ASSERT_TRUE(memory->fill_block(GuestAddress{4096}, std::byte{9}, 2 * kHuge - 4096).ok());
  ASSERT_TRUE(restore_snapshot(*memory, opened(folder.file("a"))).ok());
  EXPECT_EQ(free_huge_pages(), free_before);
  std::vector<std::byte> image(2 * kHuge);
  ASSERT_TRUE(memory->read(GuestAddress{0}, image).ok());
  std::vector<std::byte> wanted(2 * kHuge);
  std::fill_n(wanted.begin(), 8192, std::byte{1});
  EXPECT_EQ(image, wanted);
}

TEST(SnapshotTest, MemoryThatTheHostLostIsAnErrorOfTheSave) {
  const vm_test::TemporaryFolder folder;
  const vm_test::TemporaryFile file(std::string(16 * 4096, 'f'));
  auto memory = *MemoryManager::create({});
  RamOptions options{.backing = Backing::kFile};
  options.file = file.path();
  ASSERT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0}, 16 * 4096), options).ok());
  file.resize(8 * 4096);
  const auto result = save_snapshot(*memory, folder.file("a"));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss) << result.status();
}

}  // namespace
}  // namespace vm_mem
