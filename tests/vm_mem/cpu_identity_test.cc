#include "vm_mem/internal/cpu_identity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace vm_mem::internal {
namespace {

// A folder of caches as the kernel shows them, which goes with the test.
class CacheFolderTest : public testing::Test {
 protected:
  CacheFolderTest() : path_(testing::TempDir() + "vm_caches_" + std::to_string(getpid())) {}
  ~CacheFolderTest() override { std::filesystem::remove_all(path_); }

  void add(const std::string& level, const std::string& type, const std::string& size) {
    const std::string cache = path_ + "/index" + std::to_string(count_++);
    std::filesystem::create_directories(cache);
    std::ofstream(cache + "/level") << level << '\n';
    std::ofstream(cache + "/type") << type << '\n';
    std::ofstream(cache + "/size") << size << '\n';
    std::ofstream(cache + "/coherency_line_size") << "64\n";
  }

  const std::string path_;
  int count_ = 0;
};

TEST_F(CacheFolderTest, ReadsWhatTheKernelShows) {
  add("1", "Data", "48K");
  add("1", "Instruction", "32K");
  add("2", "Unified", "1024K");
  add("3", "Unified", "32M");
  EXPECT_EQ(read_cache_folder(path_),
            (CacheSizes{.l1d = 48 << 10, .l2 = 1 << 20, .l3 = 32 << 20, .line = 64}));
}

TEST_F(CacheFolderTest, LeavesOutWhatIsNotThereOrIsNoSize) {
  add("1", "Data", "?");
  EXPECT_EQ(read_cache_folder(path_), (CacheSizes{.l1d = 0, .l2 = 0, .l3 = 0, .line = 64}));
  EXPECT_EQ(read_cache_folder("/nowhere"), CacheSizes{});
}

TEST(HostCpuTest, IsTheSameObjectEachTime) {
  EXPECT_EQ(&host_cpu(), &host_cpu());
  EXPECT_FALSE(host_cpu().vendor_name.empty());
}

TEST(HostCpuTest, IdentityTellsKindsApartAndHasAWordForTheNameless) {
  HostCpu cpu;
  cpu.vendor_name = "Maker";
  cpu.family = 0x1a;
  cpu.model = 2;
  EXPECT_EQ(cpu_identity(cpu), "unnamed CPU (Maker family 0x1a model 0x2)");
  cpu.brand = "Fast One";
  EXPECT_EQ(cpu_identity(cpu), "Fast One (Maker family 0x1a model 0x2)");
}

}  // namespace
}  // namespace vm_mem::internal
