// Checksums, and which memory is populated.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string_view>
#include <vector>

#include "tests/support/temporary_file.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/crc32c.h"
#include "vm_mem/internal/file_calls.h"
#include "vm_mem/internal/populated.h"
#include "vm_mem/snapshot_info.h"

namespace vm_mem::internal {
namespace {

TEST(Crc32cTest, HasTheValuesOfTheStandard) {
  for (const auto crc : {crc32c, crc32c_by_table}) {
    EXPECT_EQ(crc(std::as_bytes(std::span(std::string_view("123456789"))), 0), 0xe3069283);
    EXPECT_EQ(crc(std::vector<std::byte>(32), 0), 0x8a9136aa);
    EXPECT_EQ(crc(std::vector<std::byte>(32, std::byte{0xff}), 0), 0x62a8ab43);
    EXPECT_EQ(crc({}, 0), 0);
  }
}

TEST(Crc32cTest, BothWaysAgreeAtEveryLengthAndInParts) {
  std::vector<std::byte> bytes(4200);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i * 7919 >> 3 & 0xff);
  const std::span<const std::byte> all(bytes);
  for (std::size_t length = 0; length < 300; ++length) {
    EXPECT_EQ(crc32c(all.subspan(length % 9, length)),
              crc32c_by_table(all.subspan(length % 9, length)));
  }
  for (const std::size_t cut : {0U, 1U, 7U, 8U, 4096U, 4199U}) {
    const auto whole = crc32c(all);
    EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), whole);
    EXPECT_EQ(crc32c_by_table(all.subspan(cut), crc32c_by_table(all.first(cut))), whole);
  }
}

// Of pages of this host. Without huge pages, so that one touch is one page.
class PopulatedTest : public testing::Test {
 protected:
  static HostMapping mapping(std::size_t pages) {
    HostMappingOptions options;
    options.host.huge_pages = HugePageAdvice::kOff;
    return *HostMapping::anonymous(pages * page(), options);
  }
  static std::size_t page() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }
  static ByteRun pages(std::size_t first, std::size_t end) {
    return {.begin = first * page(), .end = end * page()};
  }
};

TEST_F(PopulatedTest, EveryWayFindsThePagesThatWereTouched) {
  const HostMapping memory = mapping(70000);
  for (const std::size_t touched : {0U, 1U, 5U, 65535U, 65536U, 69999U}) {
    memory.bytes()[touched * page()] = std::byte{1};
  }
  const std::vector<ByteRun> wanted = {pages(0, 2), pages(5, 6), pages(65535, 65537),
                                       pages(69999, 70000)};
  EXPECT_TRUE(populated_private(memory.bytes()) == wanted ||
              populated_private(memory.bytes()) == std::vector{pages(0, 70000)});
  EXPECT_EQ(populated_by_scan(memory.bytes()).value_or(wanted), wanted);
  EXPECT_EQ(populated_by_mincore(memory.bytes()).value_or(wanted), wanted);
}

TEST_F(PopulatedTest, MoreRunsThanOneAnswerHolds) {
  const HostMapping memory = mapping(4000);
  for (std::size_t touched = 0; touched < 4000; touched += 2) {
    memory.bytes()[touched * page()] = std::byte{1};
  }
  const auto found = populated_by_scan(memory.bytes());
  if (!found) GTEST_SKIP() << "this host has no PAGEMAP_SCAN";
  EXPECT_EQ(found->size(), 2000);
}

TEST_F(PopulatedTest, HolesOfFilesAreNotAndThePositionStays) {
  const vm_test::TemporaryFile file("");
  file.resize(100 * 4096);
  const int fd = ::open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::pwrite(fd, "x", 1, 64 * 4096), 1);
  ASSERT_EQ(::lseek(fd, 77, SEEK_SET), 77);
  const std::vector<ByteRun> found = populated_file(fd, 32 * 4096, 68 * 4096);
  ASSERT_EQ(found.size(), 1);
  EXPECT_LE(found[0].begin, 32 * 4096);
  EXPECT_GE(found[0].end, 33 * 4096);
  EXPECT_EQ(populated_file(fd, 0, 16 * 4096), std::vector<ByteRun>{});
  // What the file does not have is no hole.
  EXPECT_EQ(populated_file(fd, 0, 101 * 4096),
            (std::vector<ByteRun>{{.begin = 0, .end = 101 * 4096}}));
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 77);
  ::close(fd);
}

// With io_uring, kernels differ in what it does to a read of a file that is to wait.
TEST(FileCallsTest, AFileThatIsReadMayBeWaitedFor) {
  const vm_test::TemporaryFile file("x");
  std::uint64_t bytes = 0;
  const auto opened = open_to_read(file.path(), bytes);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(bytes, 1);
  EXPECT_EQ(::fcntl(opened->fd.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(SnapshotIdTest, IsAUuidAndNoTwoAreAlike) {
  const SnapshotId id = SnapshotId::make();
  EXPECT_NE(id, SnapshotId::make());
  EXPECT_FALSE(id.is_zero());
  EXPECT_TRUE(SnapshotId{}.is_zero());
  EXPECT_EQ(id.text().size(), 36);
  EXPECT_EQ(id.text()[14], '4');
  EXPECT_EQ(SnapshotId{}.text(), "00000000-0000-0000-0000-000000000000");
}

}  // namespace
}  // namespace vm_mem::internal
