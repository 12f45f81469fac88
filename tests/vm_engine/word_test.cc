// vme_load and vme_store: what the slow paths of emitted code call.
#include <gtest/gtest.h>

#include "tests/vm_engine/machine.h"
#include "vm_engine/soft_tlb.h"
#include "vm_engine/vm_engine.h"

namespace {

using vm_test::DeviceAccess;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::noise;
using vm_test::PageTable;

constexpr std::uint32_t elements(unsigned log2) { return log2 << VME_ELEM_SHIFT; }
using Bytes = std::vector<std::byte>;

TEST(WordTest, WordsOfEverySizeGoBothWaysAtEveryOffsetOfAPageBorder) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam};
  table.pages[0x6000] = {Machine::kTracked};
  Machine m(table);
  for (const std::uint32_t order : {VME_ORDER_RELAXED, VME_ORDER_ACQREL_ENDS, VME_ORDER_TSO_ELEM}) {
    for (unsigned log2 = 0; log2 < 4; ++log2) {
      const unsigned bits = 8u << log2;
      for (std::uint64_t gva = 0x6000 - 9; gva <= 0x6000; ++gva) {
        const std::uint64_t value = 0x8192a3b4c5d6e7f8 + gva;
        ASSERT_EQ(vme_store(m.cpu.get(), gva, value, order | elements(log2)), 0u);
        const vme_value got = vme_load(m.cpu.get(), gva, order | elements(log2));
        EXPECT_EQ(got.left, 0u);
        EXPECT_EQ(got.value, value << (64 - bits) >> (64 - bits));
      }
    }
  }
}

TEST(WordTest, WordsTellTheirFaultsAndTouchNothing) {
  Machine m;
  const std::uint64_t end = Machine::kRam + 8 * kPage;
  m.put(end - 4, noise(4, 3));
  const Bytes before = m.bytes(end - 4, 4);
  EXPECT_EQ(vme_store(m.cpu.get(), end - 4, 0, elements(3)), 8u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(m.cpu->fault.gva, end);
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_WRITE);
  EXPECT_EQ(m.bytes(end - 4, 4), before);
  const vme_value got = vme_load(m.cpu.get(), end - 2, elements(2));
  EXPECT_EQ(got.left, 4u);
  EXPECT_EQ(got.value, 0u);
  EXPECT_EQ(m.cpu->fault.acc_gva, end - 2);
  EXPECT_EQ(vme_store(m.cpu.get(), Machine::kRom, 0, elements(0)), 1u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_PROT});
}

TEST(WordTest, AWordOfADeviceIsOneAccess) {
  Machine m;
  const vme_value got = vme_load(m.cpu.get(), Machine::kDevice + 4, elements(2));
  EXPECT_EQ(got.value, 0x01010101u);
  EXPECT_EQ(vme_store(m.cpu.get(), Machine::kDevice + 8, 0x55aa, elements(1)), 0u);
  EXPECT_EQ(m.device.log,
            (std::vector<DeviceAccess>{{false, 4, 4, 0x01010101}, {true, 8, 2, 0x55aa}}));
  EXPECT_EQ(vme_load(m.cpu.get(), Machine::kDevice, elements(2) | VME_NO_MMIO).left, 4u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_MMIO});
}

TEST(WordTest, AWordOpensItsPageForDirectAccess) {
  Machine m;
  ASSERT_EQ(vme_load(m.cpu.get(), Machine::kTracked, elements(2)).left, 0u);
  const vme_tlb_entry& entry = vm_engine::detail::entry_of(*m.cpu, Machine::kTracked, 0);
  EXPECT_EQ(entry.read, Machine::kTracked);
  EXPECT_NE(entry.write, Machine::kTracked);
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 0u);
  ASSERT_EQ(vme_store(m.cpu.get(), Machine::kTracked, 1, elements(2)), 0u);
  EXPECT_EQ(entry.write, Machine::kTracked);
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 1u);
}

TEST(WordTest, AWordRefusesWhatOnlyBulkHas) {
  Machine m;
  vme_cpu foreign{};
  for (const std::uint32_t flags : {std::uint32_t{VME_BACKWARD}, std::uint32_t{VME_POLL}, 1u << 20,
                                    std::uint32_t{VME_MMU_MODES}, elements(4), 3u << 18}) {
    m.cpu->fault = {};
    EXPECT_NE(vme_load(m.cpu.get(), Machine::kRam, flags).left, 0u) << flags;
    EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_EINVAL}) << flags;
    EXPECT_NE(vme_store(m.cpu.get(), Machine::kRam, 0, flags), 0u) << flags;
  }
  EXPECT_EQ(vme_load(&foreign, 0, elements(2)).left, 4u);
  EXPECT_EQ(vme_load(nullptr, 0, elements(3)).left, 8u);
  EXPECT_EQ(vme_store(&foreign, 0, 1, elements(1)), 2u);
}

}  // namespace
