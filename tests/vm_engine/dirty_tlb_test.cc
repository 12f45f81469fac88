// Pages that are open for direct stores in a soft TLB, beside harvests of dirty pages.
#include <gtest/gtest.h>

#include <cstdint>

#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"

namespace vm_engine {
namespace {

using vm_mem::DirtyRun;
using vm_test::kPage;
using vm_test::Machine;

class DirtyTlbTest : public testing::Test {
 protected:
  void store_to(std::uint64_t gva) { ASSERT_EQ(store(*m_.cpu, gva, ++value_), VME_OK); }
  bool hits(std::uint64_t gva) { return detail::entry_of(*m_.cpu, gva, 0).write == gva; }
  // The pages of the tracked region that a harvest tells, as bits.
  std::uint64_t harvest() {
    EXPECT_EQ(m_.memory->harvest_dirty(client_, m_.tracked, pages_), absl::OkStatus());
    return pages_.words()[0];
  }

  Machine m_;
  vm_mem::DirtyClient client_ = m_.memory->add_dirty_client("test").value();
  vm_mem::DirtyPages pages_;
  std::uint32_t value_ = 0;
};

TEST_F(DirtyTlbTest, AHarvestClosesPagesAtTheNextRefresh) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  EXPECT_TRUE(hits(Machine::kTracked));
  refresh(*m_.cpu);
  EXPECT_FALSE(hits(Machine::kTracked));
}

TEST_F(DirtyTlbTest, StoresAfterAHarvestAreToldByTheNextOne) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  store_to(Machine::kTracked);
  refresh(*m_.cpu);
  EXPECT_EQ(harvest(), 1u);
  refresh(*m_.cpu);
  EXPECT_EQ(harvest(), 0u);
}

TEST_F(DirtyTlbTest, StoresWithoutARefreshAreToldOnceItComes) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 0u);
  refresh(*m_.cpu);
  EXPECT_EQ(harvest(), 1u);
}

TEST_F(DirtyTlbTest, AParkedCpuOwesNothing) {
  store_to(Machine::kTracked + kPage);
  EXPECT_EQ(harvest(), 2u);
  store_to(Machine::kTracked + kPage);
  park(*m_.cpu);
  EXPECT_EQ(harvest(), 2u);
  EXPECT_EQ(harvest(), 0u);
}

TEST_F(DirtyTlbTest, ADestroyedCpuOwesNothing) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  store_to(Machine::kTracked);
  m_.cpu.reset();
  EXPECT_EQ(harvest(), 1u);
}

TEST_F(DirtyTlbTest, AFlushedPageIsMarkedAgain) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  store_to(Machine::kTracked);
  vme_tlb_flush_page(m_.cpu.get(), Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
}

TEST_F(DirtyTlbTest, AChangeOfTheMapMarksWhatWasOpen) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  store_to(Machine::kTracked);
  ASSERT_TRUE(m_.memory->remove_region(m_.behind, vm_mem::RemovePolicy::kRefuse).ok());
  refresh(*m_.cpu);
  EXPECT_EQ(harvest(), 1u);
}

TEST_F(DirtyTlbTest, ARemovedRegionThatWasOpenIsLetGo) {
  store_to(Machine::kTracked);
  EXPECT_EQ(harvest(), 1u);
  ASSERT_TRUE(m_.memory->remove_region(m_.tracked, vm_mem::RemovePolicy::kRefuse).ok());
  store_to(Machine::kTracked);
  refresh(*m_.cpu);
  EXPECT_EQ(store(*m_.cpu, Machine::kTracked, value_), VME_UNMAPPED);
}

TEST(DirtyTlbReplacementTest, AReplacedEntryIsMarkedAgain) {
  vm_test::PageTable table;
  constexpr std::uint64_t kOther = 0x20000 + VME_TLB_ENTRIES * kPage;
  table.pages[0x20000] = {Machine::kTracked, vm_test::kAllAccess};
  table.pages[kOther] = {Machine::kTracked + kPage, vm_test::kAllAccess};
  Machine m(table);
  const auto client = m.memory->add_dirty_client("test").value();
  vm_mem::DirtyPages pages;
  ASSERT_EQ(store(*m.cpu, 0x20000, std::uint32_t{1}), VME_OK);
  ASSERT_TRUE(m.memory->harvest_dirty(client, m.tracked, pages).ok());
  ASSERT_EQ(store(*m.cpu, 0x20000, std::uint32_t{2}), VME_OK);
  refresh(*m.cpu);
  ASSERT_EQ(store(*m.cpu, 0x20000, std::uint32_t{3}), VME_OK);
  ASSERT_TRUE(m.memory->harvest_dirty(client, m.tracked, pages).ok());
  ASSERT_EQ(store(*m.cpu, 0x20000, std::uint32_t{4}), VME_OK);
  std::uint32_t value = 0;
  ASSERT_EQ(load(*m.cpu, kOther, value), VME_OK);
  ASSERT_TRUE(m.memory->harvest_dirty(client, m.tracked, pages).ok());
  EXPECT_EQ(pages.words()[0], 1u);
}

}  // namespace
}  // namespace vm_engine
