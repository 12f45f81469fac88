#include "vm_mem/host_mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/guarded_buffer.h"
#include "tests/support/host_probes.h"

namespace vm_mem {
namespace {

using vm_test::is_mapped;
using vm_test::is_readable;
using vm_test::open_descriptors;
using vm_test::page_bytes;

bool all_are(std::span<const std::byte> bytes, unsigned char value) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [value](std::byte byte) { return byte == std::byte{value}; });
}

void fill(std::span<std::byte> bytes, unsigned char value) {
  std::fill(bytes.begin(), bytes.end(), std::byte{value});
}

TEST(HostMappingTest, AnonymousMemoryIsZeroAndWritable) {
  HostMapping mapping = HostMapping::anonymous(8192).value();
  EXPECT_EQ(mapping.fd(), -1);
  EXPECT_TRUE(all_are(mapping.bytes(), 0));
  mapping.bytes().back() = std::byte{7};
  EXPECT_EQ(mapping.bytes().back(), std::byte{7});
}

TEST(HostMappingTest, SizesAreRoundedUpToPages) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_EQ(HostMapping::anonymous(1).value().bytes().size(), page);
  EXPECT_EQ(HostMapping::memfd(page + 1).value().bytes().size(), 2 * page);
}

TEST(HostMappingTest, RefusesNoBytes) {
  for (const auto& mapping : {HostMapping::anonymous(0).status(), HostMapping::memfd(0).status()}) {
    EXPECT_EQ(mapping.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(mapping.message(), "a host mapping of 0x0 bytes");
  }
}

TEST(HostMappingTest, TellsWhatTheHostRefused) {
  for (const std::size_t bytes : {std::size_t{1} << 60, ~std::size_t{0}}) {
    const absl::Status status = HostMapping::anonymous(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_NE(std::string(status.message()).find("errno 12"), std::string::npos) << status;
  }
  EXPECT_EQ(HostMapping::memfd(std::size_t{1} << 62).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(HostMappingTest, AMemfdShowsTheSameBytesToASecondMapping) {
  HostMapping mapping = HostMapping::memfd(4096).value();
  void* other = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, mapping.fd(), 0);
  ASSERT_NE(other, MAP_FAILED);
  mapping.bytes()[100] = std::byte{0x42};
  EXPECT_EQ(static_cast<const std::byte*>(other)[100], std::byte{0x42});
  ::munmap(other, 4096);
}

TEST(HostMappingTest, AMemfdCannotBeResized) {
  HostMapping mapping = HostMapping::memfd(8192).value();
  EXPECT_NE(::ftruncate(mapping.fd(), 4096), 0);
  EXPECT_NE(::ftruncate(mapping.fd(), 16384), 0);
  struct stat status = {};
  ASSERT_EQ(::fstat(mapping.fd(), &status), 0);
  EXPECT_EQ(status.st_size, 8192);
}

TEST(HostMappingTest, DestructionUnmapsAndCloses) {
  const std::byte* at = nullptr;
  int fd = -1;
  {
    HostMapping mapping = HostMapping::memfd(4096).value();
    at = mapping.bytes().data();
    fd = mapping.fd();
    EXPECT_TRUE(is_mapped(at));
  }
  EXPECT_FALSE(is_mapped(at));
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST(HostMappingTest, MovingLeavesNothingBehind) {
  HostMapping first = HostMapping::anonymous(4096).value();
  const std::byte* at = first.bytes().data();
  HostMapping second = std::move(first);
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_EQ(second.bytes().data(), at);
  second = HostMapping::anonymous(8192).value();
  EXPECT_EQ(second.bytes().size(), 8192u);
}

TEST(HostMappingTest, MovedMemoryKeepsItsDescriptorAndGivesItUpOnce) {
  const int before = open_descriptors();
  {
    HostMapping first = HostMapping::memfd(4096).value();
    HostMapping second = std::move(first);
    EXPECT_EQ(first.fd(), -1);
    EXPECT_GE(second.fd(), 0);
    second = HostMapping::memfd(4096).value();
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(HostMappingTest, LargeMemoryIsAlignedForHugePages) {
  constexpr std::uintptr_t kHuge = 2 << 20;
  for (int i = 0; i < 4; ++i) {
    const HostMapping mapping = HostMapping::anonymous(kHuge + 4096).value();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.bytes().data()) % kHuge, 0u);
  }
}

TEST(HostMappingTest, RefusesAMaximumBelowTheSize) {
  const absl::Status status = HostMapping::anonymous(0x10000, {.max_bytes = 0x8000}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "max_bytes 0x8000 is below the size 0x10000");
}

TEST(HostMappingTest, AMemfdHasItsMaximumSizeFromTheBeginning) {
  HostMapping mapping = HostMapping::memfd(0x10000, {.max_bytes = 0x40000}).value();
  struct stat status = {};
  ASSERT_EQ(::fstat(mapping.fd(), &status), 0);
  EXPECT_EQ(status.st_size, 0x40000);
  EXPECT_EQ(mapping.fd_offset(), 0u);
  EXPECT_NE(::ftruncate(mapping.fd(), 0x10000), 0);
}

TEST(HostMappingTest, AMemfdAboveTheFileLimitIsRefusedNotFatal) {
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit low = old;
  low.rlim_cur = 0x10000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
  const absl::Status status = HostMapping::memfd(0x20000).status();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("RLIMIT_FSIZE is 0x10000"), absl::string_view::npos) << status;
}

// --- Resizing, the same for both kinds of memory.

class ResizeTest : public testing::TestWithParam<bool> {
 protected:
  static HostMapping make(std::size_t bytes, std::size_t max_bytes) {
    const HostMappingOptions options = {.max_bytes = max_bytes};
    return GetParam() ? HostMapping::memfd(bytes, options).value()
                      : HostMapping::anonymous(bytes, options).value();
  }
};

TEST_P(ResizeTest, GrowsInPlaceKeepsWhatIsThereAndAddsZeros) {
  HostMapping mapping = make(0x10000, 0x50000);
  EXPECT_EQ(mapping.max_bytes(), 0x50000u);
  const std::byte* at = mapping.bytes().data();
  EXPECT_FALSE(is_readable(at + 0x10000));
  fill(mapping.bytes(), 0x5a);
  ASSERT_TRUE(mapping.resize(0x50000).ok());
  EXPECT_EQ(mapping.bytes().data(), at);
  EXPECT_EQ(mapping.bytes().size(), 0x50000u);
  EXPECT_TRUE(all_are(mapping.bytes().first(0x10000), 0x5a));
  EXPECT_TRUE(all_are(mapping.bytes().subspan(0x10000), 0));
  fill(mapping.bytes(), 1);
}

TEST_P(ResizeTest, WhatIsCutOffIsInaccessibleAndComesBackAsZeros) {
  HostMapping mapping = make(0x40000, 0x40000);
  fill(mapping.bytes(), 0x77);
  ASSERT_TRUE(mapping.resize(0x10000).ok());
  EXPECT_TRUE(is_readable(mapping.bytes().data() + 0xffff));
  EXPECT_FALSE(is_readable(mapping.bytes().data() + 0x10000));
  ASSERT_TRUE(mapping.resize(0x20000).ok());
  EXPECT_TRUE(all_are(mapping.bytes().first(0x10000), 0x77));
  EXPECT_TRUE(all_are(mapping.bytes().subspan(0x10000), 0));
}

TEST_P(ResizeTest, RefusesNothingAndTooMuch) {
  HostMapping mapping = make(0x10000, 0x20000);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{0x20001}, ~std::size_t{0}}) {
    EXPECT_EQ(mapping.resize(bytes).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(mapping.bytes().size(), 0x10000u);
  }
  EXPECT_TRUE(mapping.resize(0x10000).ok());
}

TEST_P(ResizeTest, AFailureInWhatIsAddedLeavesTheRestAlone) {
  int calls = 0;
  HostMappingOptions options = {.max_bytes = 0x40000};
  options.host.prefault_threads = 1;
  options.host.prefault_progress = [&calls](std::uint64_t, std::uint64_t) {
    return ++calls == 2 ? PrefaultStep::kCancel : PrefaultStep::kContinue;
  };
  HostMapping mapping = GetParam() ? HostMapping::memfd(0x10000, options).value()
                                   : HostMapping::anonymous(0x10000, options).value();
  fill(mapping.bytes(), 3);
  EXPECT_EQ(mapping.resize(0x40000).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(mapping.bytes().size(), 0x10000u);
  EXPECT_TRUE(all_are(mapping.bytes(), 3));
  EXPECT_FALSE(is_readable(mapping.bytes().data() + 0x10000));
  EXPECT_TRUE(mapping.resize(0x40000).ok());
}

TEST_P(ResizeTest, TheReservationGoesWithTheMapping) {
  const std::byte* at = nullptr;
  {
    HostMapping mapping = make(0x10000, 0x40000);
    at = mapping.bytes().data();
    EXPECT_TRUE(is_mapped(at + 0x3f000));
  }
  EXPECT_FALSE(is_mapped(at));
  EXPECT_FALSE(is_mapped(at + 0x3f000));
}

TEST_P(ResizeTest, DiscardedPagesReadAsZeroAndTakeMemoryAgain) {
  HostMapping mapping = make(0x40000, 0);
  fill(mapping.bytes(), 0x11);
  ASSERT_TRUE(mapping.discard(0x10000, 0x20000).ok());
  EXPECT_TRUE(all_are(mapping.bytes().first(0x10000), 0x11));
  EXPECT_TRUE(all_are(mapping.bytes().subspan(0x10000, 0x20000), 0));
  EXPECT_TRUE(all_are(mapping.bytes().subspan(0x30000), 0x11));
  fill(mapping.bytes(), 0x22);
  EXPECT_TRUE(all_are(mapping.bytes(), 0x22));
}

TEST_P(ResizeTest, DiscardRefusesWhatIsMisalignedOrOutside) {
  HostMapping mapping = make(0x20000, 0x40000);
  fill(mapping.bytes(), 1);
  const std::size_t page = mapping.page_bytes();
  const struct {
    std::size_t offset;
    std::size_t bytes;
  } cases[] = {{1, page}, {0, page - 1}, {0x20000, page}, {page, 0x20000}, {~page + 1, 2 * page}};
  for (const auto& [offset, bytes] : cases) {
    EXPECT_EQ(mapping.discard(offset, bytes).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(mapping.discard(0x20000, 0).ok());
  EXPECT_TRUE(all_are(mapping.bytes(), 1));
}

INSTANTIATE_TEST_SUITE_P(, ResizeTest, testing::Bool(), [](const auto& memfd) {
  return std::string(memfd.param ? "memfd" : "anonymous");
});

TEST(HostMappingTest, ADiscardReachesEverySharerOfAMemfd) {
  HostMapping mapping = HostMapping::memfd(0x10000).value();
  void* other = ::mmap(nullptr, 0x10000, PROT_READ, MAP_SHARED, mapping.fd(), 0);
  ASSERT_NE(other, MAP_FAILED);
  fill(mapping.bytes(), 9);
  ASSERT_TRUE(mapping.discard(0, 0x10000).ok());
  EXPECT_TRUE(all_are({static_cast<const std::byte*>(other), 0x10000}, 0));
  ::munmap(other, 0x10000);
}

TEST(HostMappingTest, ADiscardGivesMemoryBackToTheHost) {
  HostMapping mapping = HostMapping::anonymous(0x40000).value();
  fill(mapping.bytes(), 1);
  ASSERT_EQ(vm_test::resident_pages(mapping.bytes()), 0x40000 / page_bytes());
  ASSERT_TRUE(mapping.discard(0, 0x40000).ok());
  EXPECT_EQ(vm_test::resident_pages(mapping.bytes()), 0u);
}

TEST(HostMappingTest, ReadOnlyMemoryIsNotDiscardedAndGrowsReadOnly) {
  HostMapping mapping = HostMapping::anonymous(0x10000, {.max_bytes = 0x20000}).value();
  fill(mapping.bytes(), 4);
  EXPECT_TRUE(mapping.writable());
  ASSERT_TRUE(mapping.make_read_only().ok());
  EXPECT_FALSE(mapping.writable());
  EXPECT_EQ(mapping.discard(0, 0x10000).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(all_are(mapping.bytes(), 4));
  ASSERT_TRUE(mapping.resize(0x20000).ok());
  EXPECT_DEATH(mapping.bytes().back() = std::byte{1}, "");
}

// --- Memory of the caller's.

class CallerOwnedTest : public testing::Test {
 protected:
  vm_test::GuardedBuffer memory_{0x40000};
  std::span<std::byte> bytes_ = memory_.all();
};

TEST_F(CallerOwnedTest, IsShownAndNeverUnmapped) {
  fill(bytes_, 0x66);
  {
    HostMapping mapping = HostMapping::caller_owned(bytes_, 0x20000).value();
    EXPECT_EQ(mapping.bytes().data(), bytes_.data());
    EXPECT_EQ(mapping.bytes().size(), 0x20000u);
    EXPECT_EQ(mapping.fd(), -1);
    mapping.bytes()[5] = std::byte{1};
  }
  EXPECT_EQ(bytes_[5], std::byte{1});
  EXPECT_EQ(bytes_[6], std::byte{0x66});
}

TEST_F(CallerOwnedTest, IsResizedWithinItselfWithoutLosingAByte) {
  HostMapping mapping = HostMapping::caller_owned(bytes_, 0x10000, {.max_bytes = 0x40000}).value();
  fill(bytes_, 0x66);
  ASSERT_TRUE(mapping.resize(0x40000).ok());
  ASSERT_TRUE(mapping.resize(0x10000).ok());
  EXPECT_EQ(mapping.bytes().size(), 0x10000u);
  EXPECT_TRUE(all_are(bytes_, 0x66));
  EXPECT_EQ(mapping.resize(0x41000).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CallerOwnedTest, IsNotDiscarded) {
  HostMapping mapping = HostMapping::caller_owned(bytes_, 0x10000).value();
  fill(bytes_, 0x66);
  EXPECT_EQ(mapping.discard(0, 0x10000).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(all_are(bytes_, 0x66));
}

TEST_F(CallerOwnedTest, RefusesWhatIsMisalignedEmptyOrShort) {
  const absl::Status misaligned = HostMapping::caller_owned(bytes_.subspan(8), 0x1000).status();
  EXPECT_EQ(misaligned.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(misaligned.message().find("begins 0x8 bytes past a page"), absl::string_view::npos);
  const absl::Status refused[] = {
      HostMapping::caller_owned({}, 0x1000).status(),
      HostMapping::caller_owned(bytes_, 0).status(),
      HostMapping::caller_owned(bytes_, 0x50000).status(),
      HostMapping::caller_owned(bytes_, 0x10000, {.max_bytes = 0x50000}).status(),
  };
  for (const absl::Status& status : refused) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
}

TEST_F(CallerOwnedTest, PrefaultIsTheOnlyHostOption) {
  fill(bytes_, 0x66);
  HostMappingOptions options;
  options.host.prefault_threads = 2;
  EXPECT_TRUE(HostMapping::caller_owned(bytes_, 0x40000, options).ok());
  EXPECT_TRUE(all_are(bytes_, 0x66));
  options.host.guards = GuardPages::kBothSides;
  EXPECT_EQ(HostMapping::caller_owned(bytes_, 0x40000, options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// --- What errors leave behind.

TEST(HostMappingTest, NoErrorLeavesADescriptorOpen) {
  const int before = open_descriptors();
  HostMappingOptions cancelled;
  cancelled.host.prefault_threads = 1;
  cancelled.host.prefault_progress = [](auto, auto) { return PrefaultStep::kCancel; };
  HostMappingOptions merged;
  merged.host.merge = PageMerging::kOn;
  const absl::Status refused[] = {
      HostMapping::memfd(0).status(),
      HostMapping::memfd(std::size_t{1} << 62).status(),
      HostMapping::memfd(std::size_t{1} << 60).status(),
      HostMapping::memfd(0x10000, cancelled).status(),
      HostMapping::memfd(0x10000, merged).status(),
      HostMapping::memfd(0x10000, {.max_bytes = 0x1000}).status(),
      HostMapping::hugetlb(std::size_t{1} << 60, 2 << 20).status(),
  };
  for (const absl::Status& status : refused) EXPECT_FALSE(status.ok());
  EXPECT_EQ(open_descriptors(), before);
}

TEST(HostMappingTest, ACancelledMappingIsGoneAgain) {
  const std::size_t bytes = std::size_t{64} << 20;
  HostMappingOptions options;
  options.host.prefault_threads = 1;
  options.host.prefault_progress = [](auto, auto) { return PrefaultStep::kCancel; };
  const auto mapped_pages = [] {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages;
  };
  EXPECT_FALSE(HostMapping::anonymous(bytes, options).ok());  // warms the heap
  const std::size_t before = mapped_pages();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(HostMapping::anonymous(bytes, options).status().code(), absl::StatusCode::kCancelled);
    EXPECT_FALSE(HostMapping::memfd(bytes, options).ok());
  }
  EXPECT_LT(mapped_pages(), before + bytes / page_bytes());
}

TEST(HostMappingDeathTest, ReadOnlyMemoryCannotBeWritten) {
  HostMapping mapping = HostMapping::anonymous(4096).value();
  mapping.bytes()[0] = std::byte{9};
  ASSERT_TRUE(mapping.make_read_only().ok());
  EXPECT_EQ(mapping.bytes()[0], std::byte{9});
  EXPECT_DEATH(mapping.bytes()[0] = std::byte{1}, "");
}

}  // namespace
}  // namespace vm_mem
