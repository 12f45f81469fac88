#include "vm_mem/internal/region_resize.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "tests/support/guest_range.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

class RegionResizeTest : public testing::TestWithParam<Backing> {
 protected:
  MemoryManager& mm() { return *memory_; }
  RegionId ram() const { return ram_; }
  const std::byte* host() { return mm().map()->find(GuestAddress{0x10000})->host; }
  void store(std::uint64_t at, std::uint8_t value) {
    ASSERT_TRUE(mm().store(GuestAddress{at}, value).ok());
  }
  int load(std::uint64_t at) {
    std::uint8_t value = 0;
    return mm().load(GuestAddress{at}, value).ok() ? value : -1;
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ = memory_
                      ->add_ram(range(0x10000, 0x4000), {.backing = GetParam(),
                                                         .dirty_tracking = DirtyTracking::kOn,
                                                         .max_bytes = 0x8000})
                      .value();
};

TEST_P(RegionResizeTest, GrowsInPlaceWithZeros) {
  const std::byte* before = host();
  store(0x13fff, 7);
  ASSERT_TRUE(mm().resize_region(ram(), 0x8000).ok());
  EXPECT_EQ(host(), before);
  EXPECT_EQ(load(0x13fff), 7);
  EXPECT_EQ(load(0x14000), 0);
  store(0x17fff, 9);
  EXPECT_EQ(load(0x17fff), 9);
  EXPECT_EQ(mm().region_info(ram())->range, range(0x10000, 0x8000));
}

TEST_P(RegionResizeTest, WhatGrowsIsDirty) {
  ASSERT_TRUE(mm().resize_region(ram(), 0x7000).ok());
  EXPECT_EQ(mm().dirty_page_count(ram()).value(), 3u);
}

TEST_P(RegionResizeTest, WhatIsCutIsGoneForGood) {
  store(0x10000, 1);
  store(0x12000, 2);
  ASSERT_TRUE(mm().resize_region(ram(), 0x1000).ok());
  EXPECT_EQ(load(0x12000), -1);
  ASSERT_TRUE(mm().resize_region(ram(), 0x4000).ok());
  EXPECT_EQ(load(0x10000), 1);
  EXPECT_EQ(load(0x12000), 0);
}

TEST_P(RegionResizeTest, WhoStillSeesThePartSeesBytesOrZeros) {
  store(0x12000, 2);
  const auto map = mm().map();
  ASSERT_TRUE(mm().resize_region(ram(), 0x1000).ok());
  std::byte* const stale = map->sections()[0].host + 0x2000;
  EXPECT_EQ(*stale, std::byte{0});
  *stale = std::byte{5};  // a late write
  ASSERT_TRUE(mm().resize_region(ram(), 0x4000).ok());
  EXPECT_EQ(load(0x12000), 0);
}

TEST_P(RegionResizeTest, AnUndoneChangeLosesNothing) {
  store(0x12000, 2);
  const absl::Status status = mm().change([&]() -> absl::Status {
    EXPECT_TRUE(mm().resize_region(ram(), 0x1000).ok());
    EXPECT_TRUE(mm().resize_region(ram(), 0x8000).ok());
    return absl::AbortedError("no");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(load(0x12000), 2);
  EXPECT_EQ(load(0x14000), -1);
}

TEST_P(RegionResizeTest, OneChangeMayCutAndGrow) {
  store(0x12000, 2);
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    EXPECT_TRUE(mm().resize_region(ram(), 0x1000).ok());
                    return mm().resize_region(ram(), 0x3000);
                  })
                  .ok());
  EXPECT_EQ(load(0x12000), 2);
  EXPECT_EQ(load(0x13000), -1);
}

TEST_P(RegionResizeTest, ACutAndAGrowthInOneChangeAreOneResize) {
  store(0x11000, 7);
  store(0x13000, 9);
  ASSERT_TRUE(mm().change([&] {
                    absl::Status status = mm().resize_region(ram(), 0x1000);
                    status.Update(mm().resize_region(ram(), 0x3000));
                    return status;
                  })
                  .ok());
  EXPECT_EQ(load(0x11000), 7);
  EXPECT_EQ(load(0x13000), -1);
  ASSERT_TRUE(mm().resize_region(ram(), 0x4000).ok());
  EXPECT_EQ(load(0x13000), 0);
}

TEST_P(RegionResizeTest, RefusesMoreThanTheMostAndWhatIsTaken) {
  const auto map = mm().map();
  EXPECT_EQ(mm().resize_region(ram(), 0x9000).message(),
            "0x9000 bytes for region 0x1, which can have at most 0x8000");
  EXPECT_EQ(mm().resize_region(ram(), 0).message(), "empty range at 0x10000");
  EXPECT_EQ(mm().map(), map);
  ASSERT_TRUE(mm().add_ram(range(0x14000, 0x1000)).ok());
  EXPECT_EQ(mm().resize_region(ram(), 0x5000).message(),
            "range [0x10000, 0x15000) overlaps region 0x2 at [0x14000, 0x15000)");
}

TEST_P(RegionResizeTest, ALeaseStopsACutAndNotAGrowth) {
  MemoryLease window = mm().lease(range(0x10000, 8), LeaseAccess::kReadWrite).value();
  EXPECT_EQ(mm().resize_region(ram(), 0x3000).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(mm().resize_region(ram(), 0x5000).ok());
  window.bytes()[0] = std::byte{3};
  window.release();
  EXPECT_EQ(load(0x10000), 3);
}

INSTANTIATE_TEST_SUITE_P(PerBacking, RegionResizeTest,
                         testing::Values(Backing::kAnonymous, Backing::kMemfd),
                         [](const auto& backing) {
                           return backing.param == Backing::kMemfd ? "Memfd" : "Anonymous";
                         });

// A part that is cut off and added again, in a region of 4 pages of a file.
class RegionResizeOfFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GE(file_, 0);
    const std::vector<std::byte> content(kBytes, std::byte{3});
    ASSERT_EQ(::pwrite(file_, content.data(), kBytes, 0), ssize_t{kBytes});
  }
  void TearDown() override { ::close(file_); }

  void add(RamOptions options) {
    options.max_bytes = kBytes;
    ram_ = memory_->add_ram(range(0x10000, kBytes), options).value();
  }
  void remove() { ASSERT_TRUE(memory_->remove_region(ram_, RemovePolicy::kWait).ok()); }
  void store(std::uint64_t at, std::uint8_t value) {
    ASSERT_TRUE(memory_->store(GuestAddress{at}, value).ok());
  }
  int load(std::uint64_t at) {
    std::uint8_t value = 0;
    return memory_->load(GuestAddress{at}, value).ok() ? value : -1;
  }
  absl::StatusCode try_resize(std::uint64_t bytes) {
    return memory_->resize_region(ram_, bytes).code();
  }
  void resize(std::uint64_t bytes) { ASSERT_EQ(try_resize(bytes), absl::StatusCode::kOk); }
  int in_file(std::uint64_t offset) const {
    std::uint8_t value = 0;
    return ::pread(file_, &value, 1, static_cast<off_t>(offset)) == 1 ? value : -1;
  }
  int file() const { return file_; }

  static constexpr std::uint64_t kBytes = 0x4000;

 private:
  const int file_ = ::memfd_create("content", MFD_CLOEXEC);
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_{};
};

TEST_F(RegionResizeOfFilesTest, ASharedFileKeepsWhatIsCutOff) {
  add({.backing = Backing::kFile, .fd = file()});
  store(0x12000, 7);
  resize(0x1000);
  EXPECT_EQ(in_file(0x2000), 7);
  EXPECT_EQ(in_file(0x3fff), 3);
  resize(0x4000);
  EXPECT_EQ(load(0x12000), 7);
  EXPECT_EQ(load(0x13fff), 3);
  EXPECT_EQ(in_file(0x2000), 7);
}

TEST_F(RegionResizeOfFilesTest, APrivateFileShowsItselfAgain) {
  add({.backing = Backing::kFile, .fd = file(), .sharing = FileSharing::kPrivate});
  store(0x10000, 6);
  store(0x12000, 7);
  resize(0x1000);
  resize(0x4000);
  EXPECT_EQ(load(0x10000), 6);
  EXPECT_EQ(load(0x12000), 3);
  EXPECT_EQ(in_file(0x2000), 3);
}

TEST_F(RegionResizeOfFilesTest, AFileThatBecameTooShortIsRefused) {
  for (const FileSharing sharing : {FileSharing::kShared, FileSharing::kPrivate}) {
    SCOPED_TRACE(static_cast<int>(sharing));
    ASSERT_EQ(::ftruncate(file(), kBytes), 0);
    add({.backing = Backing::kFile, .fd = file(), .sharing = sharing});
    resize(0x1000);
    ASSERT_EQ(::ftruncate(file(), 0x2000), 0);
    EXPECT_EQ(try_resize(0x4000), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(load(0x11000), -1);
    resize(0x2000);
    EXPECT_EQ(load(0x11000), 3);
    remove();
  }
}

TEST_F(RegionResizeOfFilesTest, TheCallersMemoryKeepsWhatIsCutOff) {
  HostMapping owner = HostMapping::anonymous(kBytes).value();
  add({.backing = Backing::kCallerOwned, .memory = owner.bytes()});
  store(0x12000, 7);
  resize(0x1000);
  EXPECT_EQ(owner.bytes()[0x2000], std::byte{7});
  resize(0x4000);
  EXPECT_EQ(load(0x12000), 7);
}

// By whole pages of the host's pool, one guest page of 2 MiB after the other.
TEST(RegionResizeOfHugePagesTest, GoesByWholeHugePages) {
  constexpr std::uint64_t kHuge = std::uint64_t{2} << 20;
  const auto memory = MemoryManager::create({}).value();
  const RamOptions options{.backing = Backing::kHugetlb, .max_bytes = 2 * kHuge};
  const auto ram = memory->add_ram(range(0, kHuge), options);
  if (!ram.ok()) GTEST_SKIP() << ram.status();
  const auto map = memory->map();
  for (const std::uint64_t bytes : {kHuge + 0x1000, kHuge - 0x1000, 3 * kHuge}) {
    EXPECT_EQ(memory->resize_region(*ram, bytes).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(memory->map(), map);
  EXPECT_EQ(memory->resize_region(*ram, kHuge + 0x1000).message(),
            "0x201000 bytes for region 0x1, whose pages in the host have 0x200000");
  const absl::Status grown = memory->resize_region(*ram, 2 * kHuge);
  if (absl::IsResourceExhausted(grown)) GTEST_SKIP() << grown;
  ASSERT_TRUE(grown.ok()) << grown;
  ASSERT_TRUE(memory->store(GuestAddress{kHuge}, 7).ok());
  ASSERT_TRUE(memory->resize_region(*ram, kHuge).ok());
  int word = 7;
  EXPECT_EQ(memory->load(GuestAddress{kHuge}, word).fault, AccessFault::kUnmapped);
  ASSERT_TRUE(memory->resize_region(*ram, 2 * kHuge).ok());
  ASSERT_TRUE(memory->load(GuestAddress{kHuge}, word).ok());
  EXPECT_EQ(word, 0);
}

TEST(RegionResizeOfOthersTest, DevicesAndContainersTakeAnySize) {
  const auto memory = MemoryManager::create({}).value();
  const RegionId box = memory->add_container(range(0x1000, 0x1000)).value();
  EXPECT_TRUE(memory->resize_region(box, std::uint64_t{1} << 40).ok());
  const RegionId rom = memory->add_rom(range(0x1000, 0x2000), {}, {.priority = 1}).value();
  EXPECT_TRUE(memory->resize_region(rom, 0x1000).ok());
  EXPECT_TRUE(memory->resize_region(rom, 0x2000).ok());
  EXPECT_EQ(memory->resize_region(rom, 0x3000).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vm_mem
