#include "vm_mem/memory_manager.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "vm_mem/simd_memcpy.h"

namespace vm_mem {
namespace {

class MemoryManagerTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
};

TEST_F(MemoryManagerTest, DoesWhatTheDesignsExampleDoes) {
  const GuestAddress base{0x8000'0000};
  auto ram = mm().add_ram(*GuestRange::make(base, 64 << 20), {.backing = Backing::kMemfd});
  ASSERT_TRUE(ram.ok());
  std::array<std::byte, 4096> page{};
  memset_raw(page.data(), 0x5a, page.size());
  ASSERT_TRUE(mm().write(base, page).ok());
  ASSERT_TRUE(mm().copy_block(GuestAddress{base.value + 8192}, base, 4096).ok());
  std::uint64_t word = 0;
  ASSERT_TRUE(mm().load(GuestAddress{base.value + 8192}, word).ok());
  ASSERT_TRUE(mm().store(base, std::uint32_t{7}).ok());
  const auto hole = mm().read(GuestAddress{0x1000}, page);
  EXPECT_EQ(hole, (AccessResult{AccessFault::kUnmapped, AccessSide::kSource, false, 0,
                                GuestAddress{0x1000}}));
  EXPECT_EQ(word, 0x5a5a5a5a5a5a5a5a);
}

}  // namespace
}  // namespace vm_mem
