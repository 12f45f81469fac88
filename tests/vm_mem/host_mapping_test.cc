#include "vm_mem/host_mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace vm_mem {
namespace {

bool is_mapped(const std::byte* page) {
  unsigned char resident = 0;
  void* at = const_cast<std::byte*>(page);
  return ::mincore(at, 1, &resident) == 0 || errno != ENOMEM;
}

TEST(HostMappingTest, AnonymousMemoryIsZeroAndWritable) {
  HostMapping mapping = HostMapping::anonymous(8192).value();
  EXPECT_EQ(mapping.fd(), -1);
  EXPECT_TRUE(std::all_of(mapping.bytes().begin(), mapping.bytes().end(),
                          [](std::byte byte) { return byte == std::byte{0}; }));
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

TEST(HostMappingDeathTest, ReadOnlyMemoryCannotBeWritten) {
  HostMapping mapping = HostMapping::anonymous(4096).value();
  mapping.bytes()[0] = std::byte{9};
  ASSERT_TRUE(mapping.make_read_only().ok());
  EXPECT_EQ(mapping.bytes()[0], std::byte{9});
  EXPECT_DEATH(mapping.bytes()[0] = std::byte{1}, "");
}

}  // namespace
}  // namespace vm_mem
