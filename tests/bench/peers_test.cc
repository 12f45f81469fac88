#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "bench/peers/unicorn.h"
#include "bench/peers/vm_memory.h"

namespace vm_bench {
namespace {

constexpr std::array<PeerRange, 2> kRanges = {{{0, 0x10000}, {0x100000, 0x10000}}};
const std::vector<std::uint64_t> kAddresses = {0x0, 0x8, 0xfff8, 0x100000, 0x10fff8};

class VmMemoryTest : public testing::TestWithParam<Tracked> {
 protected:
  void SetUp() override {
    if (!vm_memory_missing().empty()) GTEST_SKIP() << vm_memory_missing();
  }
};

TEST_P(VmMemoryTest, WordsAreReadAsTheyWereWritten) {
  const VmMemory memory(kRanges, GetParam());
  memory.write_obj(kAddresses, 10);
  EXPECT_EQ(memory.read_obj(kAddresses), 11U + 12 + 13 + 14 + 15);
  memory.store(kAddresses, 20);
  EXPECT_EQ(memory.load(kAddresses), 21U + 22 + 23 + 24 + 25);
  EXPECT_EQ(memory.read_obj(std::vector<std::uint64_t>{0xfff8}), 23U);
}

TEST_P(VmMemoryTest, BlocksAreReadAsTheyWereWritten) {
  const VmMemory memory(kRanges, GetParam());
  std::vector<std::byte> written(300, std::byte{7});
  std::vector<std::byte> read(300);
  memory.write_block(std::vector<std::uint64_t>{0x100100}, written);
  memory.read_block(std::vector<std::uint64_t>{0x0, 0x100100}, read);
  EXPECT_EQ(read, written);
}

TEST_P(VmMemoryTest, EachListBeginsAtTheBuffersBeginning) {
  const VmMemory memory(kRanges, GetParam());
  const std::vector<PeerRange> segments = {{0x10, 3}, {0x100000, 5}, {0x20, 3}, {0x100010, 5}};
  const std::vector<std::byte> written = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                                          std::byte{5}, std::byte{6}, std::byte{7}, std::byte{8}};
  memory.write_lists(segments, 2, written);
  std::vector<std::byte> read(8);
  memory.read_lists(std::vector<PeerRange>{{0x20, 3}, {0x100010, 5}}, 2, read);
  EXPECT_EQ(read, written);
  memory.read_block(std::vector<std::uint64_t>{0x100000}, read);
  EXPECT_EQ(read[0], std::byte{4});
}

TEST_P(VmMemoryTest, AnAccessThatFailsEndsTheProgram) {
  const VmMemory memory(kRanges, GetParam());
  EXPECT_EXIT(memory.read_obj(std::vector<std::uint64_t>{0x20000}), testing::ExitedWithCode(1),
              "failed 1 times to read");
}

INSTANTIATE_TEST_SUITE_P(Both, VmMemoryTest, testing::Values(Tracked::kNo, Tracked::kYes));

TEST(VmMemoryBitmapTest, HarvestTakesTheMarksAsRuns) {
  if (!vm_memory_missing().empty()) GTEST_SKIP() << vm_memory_missing();
  const VmMemoryBitmap bitmap(300);
  const auto offset_of = [](std::uint64_t page) { return page * 4096; };
  bitmap.mark(std::vector{offset_of(0), offset_of(63), offset_of(127), offset_of(299)}, 1);
  bitmap.mark(std::vector{offset_of(64) + 1, offset_of(128)}, 2 * 4096);
  // 0, 63-66, 127-129, 299.
  const VmMemoryBitmap::Harvest first = bitmap.harvest();
  EXPECT_EQ(first.runs, 4U);
  EXPECT_EQ(first.pages, 9U);
  EXPECT_EQ(bitmap.harvest().runs, 0U);
}

TEST(UnicornMemoryTest, WordsAreReadAsTheyWereWritten) {
  if (!unicorn_missing().empty()) GTEST_SKIP() << unicorn_missing();
  const UnicornMemory memory(kRanges);
  memory.write(kAddresses, 10);
  EXPECT_EQ(memory.read(kAddresses), 11U + 12 + 13 + 14 + 15);
}

}  // namespace
}  // namespace vm_bench
