#include "vm_engine/engine.h"

#include <gtest/gtest.h>

#include "tests/vm_engine/machine.h"

namespace vm_engine {
namespace {

using vm_mem::GuestAddress;
using vm_mem::RemovePolicy;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::PageTable;

TEST(EngineTest, LoadsWhatWasStored) {
  Machine m;
  std::uint64_t value = 0;
  ASSERT_EQ(store(*m.cpu, Machine::kRam + 8, std::uint64_t{0x1122334455667788}), VME_OK);
  ASSERT_EQ(load(*m.cpu, Machine::kRam + 8, value), VME_OK);
  EXPECT_EQ(value, 0x1122334455667788u);
  std::uint16_t part = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kRam + 10, part), VME_OK);
  EXPECT_EQ(part, 0x5566);
  std::uint64_t seen = 0;
  ASSERT_TRUE(m.memory->load(GuestAddress{Machine::kRam + 8}, seen).ok());
  EXPECT_EQ(seen, value);
}

TEST(EngineTest, AlignmentAndPageCrossingDoNotChangeTheValue) {
  Machine m;
  m.put(Machine::kRam, vm_test::noise(3 * kPage, 1));
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t at = kPage - 16; at < kPage + 16; ++at) {
      std::uint64_t value = 0;
      std::uint64_t want = 0;
      ASSERT_EQ(load(*m.cpu, Machine::kRam + at, value), VME_OK);
      ASSERT_TRUE(m.memory->load(GuestAddress{Machine::kRam + at}, want).ok());
      EXPECT_EQ(value, want) << at;
      ASSERT_EQ(store(*m.cpu, Machine::kRam + at, ~value), VME_OK);
      ASSERT_TRUE(m.memory->load(GuestAddress{Machine::kRam + at}, want).ok());
      EXPECT_EQ(want, ~value) << at;
    }
  }
}

TEST(EngineTest, AHitAsksNobody) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam};
  Machine m(table);
  std::uint32_t value = 0;
  ASSERT_EQ(load(*m.cpu, 0x5000, value), VME_OK);
  const auto walks = table.walks;
  for (int i = 0; i < 10; ++i) ASSERT_EQ(load(*m.cpu, 0x5008, value), VME_OK);
  EXPECT_EQ(table.walks, walks);
}

TEST(EngineTest, OneAccessToADeviceIsOneAccess) {
  Machine m;
  std::uint32_t value = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kDevice + 4, value), VME_OK);
  EXPECT_EQ(value, 0x01010101u);
  ASSERT_EQ(store(*m.cpu, Machine::kDevice + 8, std::uint64_t{5}), VME_OK);
  const std::vector<vm_test::DeviceAccess> want = {{false, 4, 4, 0x01010101}, {true, 8, 8, 5}};
  EXPECT_EQ(m.device.log, want);
}

TEST(EngineTest, FaultsAreExactAndLeaveTheValueAlone) {
  Machine m;
  std::uint64_t value = 42;
  EXPECT_EQ(load(*m.cpu, Machine::kRam + 8 * kPage - 4, value), VME_UNMAPPED);
  EXPECT_EQ(value, 42u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_READ);
  EXPECT_EQ(m.cpu->fault.gva, Machine::kRam + 8 * kPage);
  EXPECT_EQ(m.cpu->fault.gpa, Machine::kRam + 8 * kPage);
  EXPECT_EQ(m.cpu->fault.acc_gva, Machine::kRam + 8 * kPage - 4);
  EXPECT_EQ(m.cpu->fault.acc_size, 8u);
  EXPECT_EQ(m.cpu->fault.done, 0u);
  EXPECT_EQ(m.cpu->fault.site, VME_NO_SITE);

  const auto before = m.bytes(Machine::kRam + 8 * kPage - 4, 4);
  EXPECT_EQ(store(*m.cpu, Machine::kRam + 8 * kPage - 4, ~std::uint64_t{0}), VME_UNMAPPED);
  EXPECT_EQ(m.bytes(Machine::kRam + 8 * kPage - 4, 4), before);
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_WRITE);
}

TEST(EngineTest, RomIsReadFastAndNeverWritten) {
  Machine m;
  for (int i = 0; i < 2; ++i) {
    std::uint8_t value = 0;
    ASSERT_EQ(load(*m.cpu, Machine::kRom + 3, value), VME_OK);
    EXPECT_EQ(value, 21);
    EXPECT_EQ(store(*m.cpu, Machine::kRom + 3, std::uint8_t{1}), VME_PROT);
  }
  EXPECT_EQ(detail::entry_of(*m.cpu, Machine::kRom, 0).read, Machine::kRom);
  EXPECT_EQ(detail::entry_of(*m.cpu, Machine::kRom, 0).write, ~std::uint64_t{0});
}

TEST(EngineTest, OnlyMemoryEntersTheTlbAsFast) {
  Machine m;
  std::uint8_t value = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kDevice, value), VME_OK);
  EXPECT_EQ(detail::entry_of(*m.cpu, Machine::kDevice, 0).read, Machine::kDevice | VME_TLB_SLOW);
  ASSERT_EQ(load(*m.cpu, Machine::kDevice + 2 * kPage - 1 - kPage, value), VME_OK);
  EXPECT_EQ(load(*m.cpu, 0x1000, value), VME_UNMAPPED);
  EXPECT_EQ(detail::entry_of(*m.cpu, 0x1000, 0).read, ~std::uint64_t{0});
}

TEST(EngineTest, AStoreMarksThePageBeforeItBecomesFast) {
  Machine m;
  std::uint32_t value = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kTracked, value), VME_OK);
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 0u);
  EXPECT_NE(detail::entry_of(*m.cpu, Machine::kTracked, 0).write, Machine::kTracked);
  ASSERT_EQ(store(*m.cpu, Machine::kTracked + 4, 7u), VME_OK);
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 1u);
  EXPECT_EQ(detail::entry_of(*m.cpu, Machine::kTracked, 0).write, Machine::kTracked);
  ASSERT_EQ(store(*m.cpu, Machine::kTracked + kPage, 7u), VME_OK);
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 2u);
}

TEST(EngineTest, PermissionsOfTheTranslationHold) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam, VME_ACCESS_READ};
  table.pages[0x6000] = {Machine::kRam, VME_ACCESS_WRITE};
  Machine m(table);
  std::uint8_t value = 0;
  EXPECT_EQ(load(*m.cpu, 0x5000, value), VME_OK);
  EXPECT_EQ(store(*m.cpu, 0x5000, value), VME_PROT);
  EXPECT_EQ(m.cpu->fault.gpa, ~std::uint64_t{0});
  EXPECT_EQ(store(*m.cpu, 0x6000, value), VME_OK);
  EXPECT_EQ(load(*m.cpu, 0x6000, value), VME_PROT);
  EXPECT_EQ(load(*m.cpu, 0x7000, value), VME_XLAT);
  EXPECT_EQ(m.cpu->fault.gva, 0x7000u);
}

TEST(EngineTest, AFirstWriteAsksAgainWhereReadingLeftItOut) {
  struct Walker {
    std::vector<std::uint32_t> asked;
    static vme_rc walk(void* opaque, std::uint64_t, std::uint32_t access, std::uint32_t,
                       std::uint64_t* gpa, std::uint32_t* permitted) {
      static_cast<Walker*>(opaque)->asked.push_back(access);
      *gpa = Machine::kRam;
      *permitted = VME_ACCESS_READ | access;
      return VME_OK;
    }
  } walker;
  Machine m({.translate = &Walker::walk, .translate_opaque = &walker});
  std::uint8_t value = 0;
  ASSERT_EQ(load(*m.cpu, 0x5000, value), VME_OK);
  ASSERT_EQ(store(*m.cpu, 0x5000, value), VME_OK);
  ASSERT_EQ(store(*m.cpu, 0x5001, value), VME_OK);
  const std::vector<std::uint32_t> want = {VME_ACCESS_READ, VME_ACCESS_WRITE};
  EXPECT_EQ(walker.asked, want);
}

TEST(EngineTest, ModesHaveTheirOwnTranslations) {
  struct ByMode {
    static vme_rc walk(void*, std::uint64_t, std::uint32_t, std::uint32_t mode, std::uint64_t* gpa,
                       std::uint32_t* permitted) {
      *gpa = Machine::kRam + mode * kPage;
      *permitted = vm_test::kAllAccess;
      return VME_OK;
    }
  };
  Machine m({.translate = &ByMode::walk});
  for (std::uint32_t mode = 0; mode < VME_MMU_MODES; ++mode) {
    ASSERT_EQ(store(*m.cpu, 0x9000, mode + 1, mode), VME_OK);
  }
  for (std::uint32_t mode = 0; mode < VME_MMU_MODES; ++mode) {
    std::uint32_t value = 0;
    ASSERT_EQ(load(*m.cpu, 0x9000, value, mode), VME_OK);
    EXPECT_EQ(value, mode + 1);
    ASSERT_TRUE(m.memory->load(GuestAddress{Machine::kRam + mode * kPage}, value).ok());
    EXPECT_EQ(value, mode + 1);
  }
}

TEST(EngineTest, FlushingAPageForgetsItAlone) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam};
  table.pages[0x6000] = {Machine::kRam + kPage};
  Machine m(table);
  ASSERT_EQ(store(*m.cpu, 0x5000, 1u), VME_OK);
  ASSERT_EQ(store(*m.cpu, 0x6000, 2u), VME_OK);
  table.pages[0x5000] = {Machine::kRam + 2 * kPage};
  table.pages[0x6000] = {Machine::kRam + 2 * kPage};
  vme_tlb_flush_page(m.cpu.get(), 0x5123);
  std::uint32_t value = 9;
  ASSERT_EQ(load(*m.cpu, 0x5000, value), VME_OK);
  EXPECT_EQ(value, 0u);
  ASSERT_EQ(load(*m.cpu, 0x6000, value), VME_OK);
  EXPECT_EQ(value, 2u);
  vme_tlb_flush(m.cpu.get());
  ASSERT_EQ(load(*m.cpu, 0x6000, value), VME_OK);
  EXPECT_EQ(value, 0u);
}

TEST(EngineTest, EntriesThatWereReplacedLastComeBackWithoutAWalk) {
  PageTable table;
  constexpr std::uint64_t kAway = VME_TLB_ENTRIES * kPage;
  for (std::uint64_t i = 0; i < 10; ++i) {
    table.pages[0x5000 + i * kAway] = {Machine::kRam + i % 8 * kPage};
  }
  Machine m(table);
  const auto touch = [&](std::uint64_t i) {
    std::uint32_t value = 0;
    EXPECT_EQ(load(*m.cpu, 0x5000 + i * kAway, value), VME_OK);
    return value;
  };
  for (std::uint64_t i = 0; i < 9; ++i) {
    ASSERT_EQ(store(*m.cpu, 0x5000 + i * kAway, static_cast<std::uint32_t>(i)), VME_OK);
  }
  const auto walks = table.walks;
  for (std::uint64_t round = 0; round < 3; ++round) {
    for (std::uint64_t i = 1; i < 9; ++i) EXPECT_EQ(touch(i), i);
  }
  EXPECT_EQ(table.walks, walks);
  touch(9);
  EXPECT_EQ(table.walks, walks + 1);
  touch(3);
  vme_tlb_flush_page(m.cpu.get(), 0x5000 + 9 * kAway);
  touch(9);
  EXPECT_GE(table.walks, walks + 2);
}

TEST(EngineTest, AFlushedRangeIsForgottenWhereverItsPagesAre) {
  PageTable table;
  constexpr std::uint64_t kTop = ~std::uint64_t{0} - kPage + 1;
  for (const std::uint64_t page : {std::uint64_t{0}, std::uint64_t{0x1000}, kTop - kPage, kTop}) {
    table.pages[page] = {Machine::kRam};
  }
  table.pages[0x101000] = {Machine::kRam + kPage};  // drives 0x1000 out
  Machine m(table);
  const auto walks_of = [&](std::uint64_t gva) {
    const auto before = table.walks;
    std::uint8_t value = 0;
    EXPECT_EQ(load(*m.cpu, gva, value), VME_OK);
    return table.walks - before;
  };
  const auto enter_all = [&] {
    for (const auto& [page, entry] : table.pages) walks_of(page);
    walks_of(0x101000);
  };
  enter_all();
  vme_tlb_flush_range(m.cpu.get(), kTop + 5, 2 * kPage - 10);
  EXPECT_EQ(walks_of(kTop), 1u);
  EXPECT_EQ(walks_of(0), 1u);
  EXPECT_EQ(walks_of(0x1000), 0u);
  EXPECT_EQ(walks_of(kTop - kPage), 0u);
  enter_all();
  vme_tlb_flush_range(m.cpu.get(), 0x1fff, 1);
  EXPECT_EQ(walks_of(0x101000), 0u);
  EXPECT_EQ(walks_of(0x1000), 1u);
  vme_tlb_flush_range(m.cpu.get(), 0x5000, 0);
  EXPECT_EQ(walks_of(kTop), 0u);
  vme_tlb_flush_range(m.cpu.get(), 0x5123, ~std::uint64_t{0});
  EXPECT_EQ(walks_of(kTop), 1u);
  EXPECT_EQ(walks_of(0x1000), 1u);
}

TEST(EngineTest, ACpuIsParkedAndRefreshedThroughTheCInterface) {
  Machine m;
  ASSERT_EQ(store(*m.cpu, Machine::kRam, std::uint32_t{77}), VME_OK);
  vme_cpu_park(m.cpu.get());
  ASSERT_TRUE(m.memory->remove_region(m.ram, RemovePolicy::kWait).ok());
  vme_cpu_refresh(m.cpu.get());
  std::uint32_t value = 0;
  EXPECT_EQ(load(*m.cpu, Machine::kRam, value), VME_UNMAPPED);
  vme_cpu foreign{};
  vme_cpu_park(&foreign);
  vme_cpu_refresh(nullptr);
  vme_tlb_flush_range(&foreign, 0, 1);
}

TEST(EngineTest, AStaleEntryNeverDanglesAndFaultsAfterRefresh) {
  Machine m;
  ASSERT_EQ(store(*m.cpu, Machine::kRam, std::uint32_t{77}), VME_OK);
  ASSERT_TRUE(m.memory->remove_region(m.ram, RemovePolicy::kRefuse).ok());
  std::uint32_t value = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kRam, value), VME_OK);
  EXPECT_EQ(value, 77u);
  refresh(*m.cpu);
  EXPECT_EQ(load(*m.cpu, Machine::kRam, value), VME_UNMAPPED);
}

TEST(EngineTest, AHelperCallNoticesAChangeOfTheMap) {
  Machine m;
  ASSERT_EQ(store(*m.cpu, Machine::kRam, std::uint32_t{77}), VME_OK);
  ASSERT_TRUE(m.memory->remove_region(m.ram, RemovePolicy::kRefuse).ok());
  std::uint32_t value = 0;
  ASSERT_EQ(vme_read(m.cpu.get(), &value, Machine::kRom, 4, 0), 0u);
  EXPECT_EQ(load(*m.cpu, Machine::kRam, value), VME_UNMAPPED);
}

TEST(EngineTest, ADeviceThatChangesTheMapIsNoticedOnTheWayOut) {
  struct Unplugger : vm_mem::MmioHandler {
    vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
      value = 1;
      return m->memory->remove_region(m->ram, RemovePolicy::kRefuse).ok()
                 ? vm_mem::AccessFault::kNone
                 : vm_mem::AccessFault::kDevice;
    }
    vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
      return vm_mem::AccessFault::kDevice;
    }
    Machine* m = nullptr;
  } unplugger;
  Machine m;
  unplugger.m = &m;
  ASSERT_TRUE(m.memory->add_mmio(vm_test::range(0x50000, kPage), &unplugger).ok());
  ASSERT_EQ(store(*m.cpu, Machine::kRam, std::uint32_t{77}), VME_OK);
  std::uint32_t value = 0;
  ASSERT_EQ(load(*m.cpu, 0x50000, value), VME_OK);
  EXPECT_EQ(load(*m.cpu, Machine::kRam, value), VME_UNMAPPED);
}

TEST(EngineTest, AParkedCpuHoldsNoMemory) {
  Machine m;
  ASSERT_EQ(store(*m.cpu, Machine::kRam, std::uint32_t{77}), VME_OK);
  park(*m.cpu);
  ASSERT_TRUE(m.memory->remove_region(m.ram, RemovePolicy::kWait).ok());
  std::uint32_t value = 0;
  EXPECT_EQ(load(*m.cpu, Machine::kRam, value), VME_UNMAPPED);
  EXPECT_EQ(load(*m.cpu, Machine::kRom, value), VME_OK);
}

TEST(EngineTest, ACpuHoldsNoMapBeforeItRuns) {
  Machine m;
  const std::weak_ptr<const vm_mem::MemoryMap> map = m.memory->map();
  ASSERT_TRUE(m.memory->remove_region(m.ram, RemovePolicy::kRefuse).ok());
  EXPECT_TRUE(map.expired());
  std::uint32_t value = 0;
  EXPECT_EQ(load(*m.cpu, Machine::kRom, value), VME_OK);
}

TEST(EngineTest, CreationRefusesWhatItCannotServe) {
  vme_engine* engine = nullptr;
  vme_config config{};
  EXPECT_EQ(vme_engine_create(nullptr, &engine), VME_EINVAL);
  config.abi_version = VME_ABI_VERSION + 1;
  EXPECT_EQ(vme_engine_create(&config, &engine), VME_EABI);
  config.abi_version = VME_ABI_VERSION;
  EXPECT_EQ(vme_engine_create(&config, nullptr), VME_EINVAL);
  EXPECT_EQ(vme_engine_create(&config, &engine), VME_EINVAL);
  EXPECT_EQ(engine, nullptr);
  vme_cpu* cpu = nullptr;
  EXPECT_EQ(vme_cpu_create(nullptr, &cpu), VME_EINVAL);
  Machine m;
  EXPECT_EQ(vme_cpu_create(m.engine.get(), nullptr), VME_EINVAL);
  vme_cpu_destroy(nullptr);
  vme_engine_destroy(nullptr);
}

TEST(EngineTest, AForeignCpuIsRefused) {
  vme_cpu foreign{};
  std::uint32_t value = 0;
  EXPECT_EQ(vme_read(&foreign, &value, 0, 4, 0), 4u);
  EXPECT_EQ(vme_write(nullptr, 0, &value, 4, 0), 4u);
  EXPECT_EQ(vme_copy(&foreign, 0, 0, 9, 0), 9u);
  EXPECT_EQ(vme_fill(&foreign, 0, 0, 9, 0), 9u);
  EXPECT_EQ(vme_probe(&foreign, 0, 1, VME_ACCESS_READ, 0, nullptr), VME_EINVAL);
  vme_tlb_flush(&foreign);
  vme_cpu_destroy(&foreign);
}

TEST(EngineTest, EveryResultCodeHasItsName) {
  EXPECT_STREQ(vme_rc_name(VME_OK), "VME_OK");
  EXPECT_STREQ(vme_rc_name(VME_EABI), "VME_EABI");
  EXPECT_STREQ(vme_rc_name(static_cast<vme_rc>(31)), "unknown");
  EXPECT_EQ(vme_abi_version(), std::uint32_t{VME_ABI_VERSION});
}

}  // namespace
}  // namespace vm_engine
