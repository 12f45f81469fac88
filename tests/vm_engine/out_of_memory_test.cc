// Every allocation of a call of the C interface fails: once, and with all that follow. The call
// says so, nothing is thrown, and nothing is watched that was not.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "tests/support/failing_allocations.h"
#include "tests/support/guest_range.h"
#include "vm_engine/engine.h"
#include "vm_engine/exclusive.h"
#include "vm_engine/translation.h"

namespace vm_engine {
namespace {

using vm_test::Failing;
using vm_test::range;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRam = 0x10000;
constexpr std::uint64_t kRom = 0x40000;
constexpr std::uint32_t k8 = 3 << VME_ELEM_SHIFT;

class OutOfMemoryTest : public testing::Test {
 protected:
  OutOfMemoryTest() {
    ram =
        memory->add_ram(range(kRam, 4 * kPage), {.code_watch = vm_mem::CodeWatching::kOn}).value();
    rom = memory->add_rom(range(kRom, kPage), std::vector<std::byte>(kPage)).value();
    engine.reset(create_engine(*memory, {}).value());
    vme_cpu* made = nullptr;
    EXPECT_EQ(vme_cpu_create(engine.get(), &made), VME_OK);
    cpu.reset(made);
    EXPECT_EQ(vme_tc_register(engine.get(), ignore, nullptr, &tc), VME_OK);
  }
  ~OutOfMemoryTest() override { vme_tc_unregister(tc); }

  static void ignore(void*, const vme_tc_event*, size_t) {}
  bool is_watched() {
    return memory->code_watch().is_watched(ram, 0) || memory->code_watch().is_watched(rom, 0);
  }
  // Fails each allocation of `call` in turn, until none is left to fail; `undo` follows each
  // call. What it returned where one failed.
  std::vector<vme_rc> fail_each_allocation_of(
      const std::function<vme_rc()>& call, const std::function<void()>& undo = [] {}) {
    std::vector<vme_rc> failures;
    for (const Failing failing : {Failing::kOne, Failing::kAllFurther}) {
      vm_test::failing = failing;
      for (int successes = 0;; ++successes) {
        vm_test::failed_allocations = 0;
        const vme_rc rc = vm_test::with_failing_allocation(successes, call);
        const bool failed = vm_test::failed_allocations != 0;
        undo();
        if (!failed) {
          EXPECT_EQ(rc, VME_OK);
          break;
        }
        failures.push_back(rc);
      }
    }
    vm_test::failing = Failing::kOne;
    return failures;
  }
  void expect_no_memory(const std::vector<vme_rc>& failures) {
    EXPECT_FALSE(failures.empty());
    for (const vme_rc rc : failures) EXPECT_EQ(rc, VME_ENOMEM) << vme_rc_name(rc);
  }
  // With no memory at all.
  void release() {
    vm_test::failing = Failing::kAllFurther;
    vm_test::allocations_left = 0;
    vme_tc_release(tc, &block);
    vm_test::allocations_left = -1;
    EXPECT_FALSE(is_watched());
  }

  std::unique_ptr<vm_mem::MemoryManager> memory = vm_mem::MemoryManager::create({}).value();
  vm_mem::RegionId ram{}, rom{};
  EnginePtr engine;
  CpuPtr cpu;
  vme_tc* tc = nullptr;
  vme_translation block{};
};

TEST_F(OutOfMemoryTest, CodeIsWatchedOrIsNot) {
  const auto watch = [&](std::uint64_t gpa) {
    expect_no_memory(fail_each_allocation_of(
        [&] { return vme_tc_begin_translate(tc, cpu.get(), gpa, 3 * kPage / 4, &block); },
        [&] { release(); }));
  };
  watch(kRam);
  watch(kRam + kPage / 2);
  watch(kRom);
}

TEST_F(OutOfMemoryTest, CodeIsFetchedOrIsNot) {
  std::array<std::byte, 32> code{};
  expect_no_memory(fail_each_allocation_of(
      [&] {
        const auto left = vme_tc_fetch(tc, cpu.get(), kRam, code.data(), code.size(), 0, &block);
        return left == 0 ? VME_OK : static_cast<vme_rc>(cpu->fault.rc);
      },
      [&] { release(); }));
}

TEST_F(OutOfMemoryTest, ABlockWhoseMemoryIsGoneEnds) {
  ASSERT_EQ(vme_tc_begin_translate(tc, cpu.get(), kRam, 8, &block), VME_OK);
  const vme_translation made = block;
  ASSERT_TRUE(memory->remove_region(ram, vm_mem::RemovePolicy::kRefuse).ok());
  for (const vme_rc rc : fail_each_allocation_of([&] {
         block = made;
         return vme_tc_end_translate(tc, &block) == 0 ? VME_OK : VME_BUS;
       })) {
    EXPECT_EQ(rc, VME_OK);
  }
}

TEST_F(OutOfMemoryTest, WhatTheHostWroteIsTold) {
  ASSERT_EQ(vme_tc_begin_translate(tc, cpu.get(), kRam, 8, &block), VME_OK);
  fail_each_allocation_of([&] { return vme_tc_written(engine.get(), kRam, 8, VME_TC_HOST); });
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 0);
}

TEST_F(OutOfMemoryTest, TranslatorsAndVcpusAreMadeOrAreNot) {
  vme_tc* other = nullptr;
  expect_no_memory(fail_each_allocation_of(
      [&] { return vme_tc_register(engine.get(), ignore, nullptr, &other); },
      [&] { vme_tc_unregister(std::exchange(other, nullptr)); }));
  vme_cpu* made = nullptr;
  expect_no_memory(fail_each_allocation_of([&] { return vme_cpu_create(engine.get(), &made); },
                                           [&] { vme_cpu_destroy(std::exchange(made, nullptr)); }));
}

TEST_F(OutOfMemoryTest, TheMonitorTakesNoMemory) {
  EXPECT_TRUE(fail_each_allocation_of([&] {
                if (vme_excl_load(cpu.get(), kRam, k8).left != 0) return VME_BUS;
                return vme_excl_store(cpu.get(), kRam, 1, k8).value == 0 ? VME_OK : VME_PROT;
              }).empty());
}

}  // namespace
}  // namespace vm_engine
