#include "tools/vmrun/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <initializer_list>
#include <vector>

#include "vm_mem/memory_manager.h"

namespace vmrun {
namespace {

Finding judged(std::initializer_list<const char*> functions) {
  std::vector<Place> stack;
  for (const char* function : functions) stack.push_back(place_of(function));
  return judge(stack);
}

TEST(ProfileTest, PlacesAreKnownByTheNamesOfFunctions) {
  EXPECT_EQ(place_of("vmrun::load_word(vmrun::Hart&, vmrun::BlockOp const&)"), Place::kMachine);
  EXPECT_EQ(place_of("vmrun::Terminal::wait(std::chrono::duration<long>)"), Place::kWaiting);
  EXPECT_EQ(place_of("vmrun::(anonymous namespace)::X86Jit::make_block(unsigned long)"),
            Place::kTranslation);
  EXPECT_EQ(place_of("vm_device::VirtioBlk::notify(unsigned short)"), Place::kDevices);
  EXPECT_EQ(place_of("non-virtual thunk to vm_device::X::y()"), Place::kDevices);
  EXPECT_EQ(place_of("vme_copy"), Place::kBulkEngine);
  EXPECT_EQ(place_of("vme_tlb_flush"), Place::kEngine);
  EXPECT_EQ(place_of("vm_mem::MemoryReader::copy_block(x)"), Place::kMemory);
  EXPECT_EQ(place_of("vm_mem::MemoryReader::load_bits(x)"), Place::kScalarMemory);
  EXPECT_EQ(place_of("absl::Mutex::Lock()"), Place::kElsewhere);
}

TEST(ProfileTest, MemoryIsOfTheRouteThatAskedForIt) {
  const Finding dma = judged({"vm_mem::internal::copy(x)", "vm_mem::MemoryManager::read(x)",
                              "vm_device::DmaSpace::read(x)", "vmrun::Hart::run(x)"});
  EXPECT_EQ(dma.activity, Activity::kDma);
  EXPECT_TRUE(dma.is_copy);
  EXPECT_EQ(judged({"vm_mem::x", "vm_engine::internal::y", "vme_copy"}).activity,
            Activity::kEngine);
  EXPECT_EQ(judged({"vm_mem::x", "vmrun::load_boot_files(x)"}).activity, Activity::kCpu);
  EXPECT_FALSE(judged({"vm_mem::MemoryReader::load_bits(x)", "vme_load"}).is_copy);
  EXPECT_TRUE(judged({"vm_engine::internal::run(x)", "vme_fill"}).is_copy);
  EXPECT_FALSE(judged({"vm_engine::internal::resolve(x)", "vme_load_slow"}).is_copy);
}

TEST(ProfileTest, LibrariesAreOfWhoeverCallsThem) {
  EXPECT_EQ(
      judged({"memcpy", "vm_mem::internal::copy(x)", "vm_device::DmaSpace::read(x)"}).activity,
      Activity::kDma);
  EXPECT_EQ(judged({"pread64", "vm_device::RawImage::read_at(x)"}).activity, Activity::kDma);
  EXPECT_EQ(judged({"poll", "vmrun::Terminal::wait(x)"}).activity, Activity::kWaiting);
  EXPECT_EQ(judged({"vmrun::decode(unsigned int)", "vmrun::X86Jit::make_block(x)"}).activity,
            Activity::kTranslation);
  EXPECT_EQ(judged({"malloc", "main"}).activity, Activity::kOther);
  EXPECT_EQ(judged({}).activity, Activity::kOther);
  EXPECT_EQ(judge(std::vector{Place::kTranslated, Place::kMachine}).activity,
            Activity::kTranslated);
}

// Nothing but copies for so long that they cannot be missed.
TEST(ProfileTest, CopiesAreFoundWhereThereIsNothingElse) {
  auto memory = vm_mem::MemoryManager::create({}).value();
  const auto range = *vm_mem::GuestRange::make(vm_mem::GuestAddress{0}, 2 << 20);
  ASSERT_TRUE(memory->add_ram(range).ok());
  auto profiler = Profiler::start();
  if (profiler.status().code() == absl::StatusCode::kUnimplemented) GTEST_SKIP();
  ASSERT_TRUE(profiler.ok()) << profiler.status();
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(
          memory->copy_block(vm_mem::GuestAddress{1 << 20}, vm_mem::GuestAddress{0}, 1 << 20).ok());
    }
  }
  const Profile profile = (*profiler)->stop();
  ASSERT_GT(profile.total(), 0u);
  EXPECT_GT(profile.copies_share(), 0.5);
  EXPECT_GT(profile.share(Activity::kCpu), 0.5);
}

}  // namespace
}  // namespace vmrun
