#include "tools/vmmem/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace vmmem {
namespace {

TEST(MachineTest, FindsTheWordInBrackets) {
  EXPECT_EQ(chosen_word("always [madvise] never"), "madvise");
  EXPECT_EQ(chosen_word(""), "absent");
  EXPECT_EQ(chosen_word("always madvise]"), "absent");
}

TEST(MachineTest, NamesTheRegisterFilesOfXcr0) {
  EXPECT_EQ(saved_register_files(0x7), "SSE, YMM");
  EXPECT_EQ(saved_register_files(0xe7), "SSE, YMM, mask, ZMM");
  EXPECT_EQ(saved_register_files(0x67), "SSE, YMM, mask") << "half of the ZMM state is none";
  EXPECT_EQ(saved_register_files(0x602e7), "SSE, YMM, mask, ZMM, AMX");
  EXPECT_EQ(saved_register_files(0), "nothing that XCR0 names");
}

TEST(MachineTest, ReadsPoolsOfHugePagesSmallestFirst) {
  const std::filesystem::path folder = testing::TempDir() + "vm_pools_" + std::to_string(getpid());
  for (const char* name : {"hugepages-1048576kB", "hugepages-2048kB", "something"}) {
    std::filesystem::create_directories(folder / name);
    std::ofstream(folder / name / "nr_hugepages") << "7\n";
    std::ofstream(folder / name / "free_hugepages") << "3\n";
  }
  const auto pools = read_pools(folder);
  std::filesystem::remove_all(folder);
  ASSERT_EQ(pools.size(), 2u);
  EXPECT_EQ(pools[0].page_bytes, std::size_t{2} << 20);
  EXPECT_EQ(pools[1].page_bytes, std::size_t{1} << 30);
  EXPECT_EQ(pools[0].pages, 7u);
  EXPECT_EQ(pools[0].free_pages, 3u);
  EXPECT_TRUE(read_pools("/nowhere").empty());
}

TEST(MachineTest, LooksAtThisMachine) {
  const Machine machine = look_at_machine();
  EXPECT_EQ(machine.page_bytes, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(machine.libc.rfind("glibc ", 0), 0u);
  EXPECT_FALSE(machine.kernel.empty());
}

}  // namespace
}  // namespace vmmem
