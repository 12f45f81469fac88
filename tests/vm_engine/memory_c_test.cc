#include "vm_engine/memory_c.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

#include "tests/support/failing_allocations.h"
#include "tests/vm_engine/memory_c.h"
#include "vm_engine/fastmem_c.h"
#include "vm_engine/translation.h"

namespace {

constexpr std::uint64_t kPage = 4096;

TEST(CMachineTest, RunsOnTheLibrarysMemoryAndArena) {
  EXPECT_EQ(vm_test_c_machine(), 0) << "the line of memory_c.c that failed";
}

std::uint32_t no_read(void*, std::uint64_t, std::uint32_t, std::uint64_t*) { return VME_MMIO; }
std::uint32_t no_write(void*, std::uint64_t, std::uint32_t, std::uint64_t) { return VME_MMIO; }

class MemoryCTest : public testing::Test {
 protected:
  MemoryCTest() {
    EXPECT_EQ(vme_memory_create(0, &memory_), VME_OK);
    EXPECT_EQ(vme_memory_add_ram(memory_, kPage, 4 * kPage, 0, &ram_), VME_OK);
  }
  ~MemoryCTest() override {
    vme_fastmem_destroy(arena_);
    vme_cpu_destroy(cpu_);
    vme_engine_destroy(engine_);
    vme_memory_destroy(memory_);
  }
  vme_config config() const {
    vme_config good{};
    good.abi_version = VME_ABI_VERSION;
    return good;
  }
  void make_engine() {
    const vme_config good = config();
    ASSERT_EQ(vme_engine_create_over(memory_, &good, &engine_), VME_OK);
    ASSERT_EQ(vme_cpu_create(engine_, &cpu_), VME_OK);
  }
  vme_rc make_arena(std::uint32_t flags) {
    const vme_fastmem_config small{VME_ABI_VERSION, flags, 4 << 20, 1 << 20, 0};
    return vme_fastmem_create(engine_, &small, &arena_);
  }

  const vme_device_ops ops_{no_read, no_write};
  vme_memory* memory_ = nullptr;
  vme_engine* engine_ = nullptr;
  vme_cpu* cpu_ = nullptr;
  vme_fastmem* arena_ = nullptr;
  std::uint64_t ram_ = 0;
};

TEST_F(MemoryCTest, RegionsThatAreWrongAreRefusedAndNothingChanges) {
  constexpr std::uint64_t kTop = ~std::uint64_t{0} - kPage + 1;
  std::uint64_t id = 99;
  EXPECT_EQ(vme_memory_add_ram(nullptr, 0, kPage, 0, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_ram(memory_, 1, kPage, 0, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_ram(memory_, 0, 0, 0, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_ram(memory_, 0, kPage, 2, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_ram(memory_, kTop, 2 * kPage, 0, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_ram(memory_, 2 * kPage, kPage, 0, &id), VME_EBUSY);
  EXPECT_EQ(vme_memory_add_ram(memory_, 1 << 20, std::uint64_t{1} << 62, 0, &id), VME_ENOMEM);
  EXPECT_EQ(vme_memory_add_rom(memory_, 0, kPage, nullptr, 1, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_rom(memory_, 0, kPage, this, kPage + 1, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_alias(memory_, 0, kPage, ram_ + 1, 0, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_alias(memory_, 0, kPage, ram_, 4 * kPage, &id), VME_EINVAL);
  const vme_device_ops half{no_read, nullptr};
  EXPECT_EQ(vme_memory_add_device(memory_, 0, kPage, nullptr, nullptr, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_device(memory_, 0, kPage, &half, nullptr, &id), VME_EINVAL);
  EXPECT_EQ(vme_memory_add_device(memory_, kPage, kPage, &ops_, nullptr, &id), VME_EBUSY);
  EXPECT_EQ(vme_memory_remove(memory_, 0), VME_EINVAL);
  EXPECT_EQ(vme_memory_remove(memory_, ram_ + 7), VME_EINVAL);
  EXPECT_EQ(id, 99u);
  EXPECT_EQ(vme_memory_add_rom(memory_, 0, kPage, nullptr, 0, nullptr), VME_OK);
}

TEST_F(MemoryCTest, AnErrorHasWordsThatAreCutToTheirRoom) {
  ASSERT_EQ(vme_memory_add_ram(memory_, 2 * kPage, kPage, 0, nullptr), VME_EBUSY);
  std::array<char, 256> all{};
  const std::uint64_t length = vme_memory_error(memory_, all.data(), all.size());
  const std::string words(all.data());
  EXPECT_EQ(words.size(), length);
  EXPECT_NE(words.find("0x2000"), std::string::npos) << words;
  std::array<char, 8> few;
  few.fill('x');
  EXPECT_EQ(vme_memory_error(memory_, few.data(), 6), length);
  EXPECT_EQ(std::string(few.data()), words.substr(0, 5));
  EXPECT_EQ(few[6], 'x');
  EXPECT_EQ(vme_memory_error(memory_, nullptr, 0), length);
  EXPECT_EQ(vme_memory_error(nullptr, nullptr, 0), 0u);
}

TEST_F(MemoryCTest, BytesAreReadAndWrittenUpToWhatIsThere) {
  std::array<std::uint8_t, 16> bytes{1, 2, 3};
  std::uint32_t why = 99;
  EXPECT_EQ(vme_memory_write(memory_, kPage, bytes.data(), 16, nullptr), 0u);
  EXPECT_EQ(vme_memory_read(memory_, kPage - 1, bytes.data(), 16, &why), 16u);
  EXPECT_EQ(why, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(vme_memory_read(memory_, 5 * kPage - 6, bytes.data(), 16, &why), 10u);
  EXPECT_EQ(vme_memory_read(memory_, kPage, nullptr, 16, &why), 16u);
  EXPECT_EQ(why, std::uint32_t{VME_EINVAL});
  EXPECT_EQ(vme_memory_write(nullptr, kPage, bytes.data(), 16, &why), 16u);
  ASSERT_EQ(vme_memory_add_device(memory_, 0, kPage, &ops_, nullptr, nullptr), VME_OK);
  EXPECT_EQ(vme_memory_read(memory_, 0, bytes.data(), 4, &why), 4u);
  EXPECT_EQ(why, std::uint32_t{VME_MMIO});
}

TEST_F(MemoryCTest, ARegionInUseIsOutOfTheMapAndRemovedByAFurtherCall) {
  make_engine();
  std::uint64_t value = 0;
  ASSERT_EQ(vme_read(cpu_, &value, kPage, 8, 0), 0u);
  EXPECT_EQ(vme_memory_remove(memory_, ram_), VME_INTR);
  void* host = nullptr;
  EXPECT_EQ(vme_memory_host(memory_, kPage, 8, &host), VME_UNMAPPED);
  vme_cpu_refresh(cpu_);
  EXPECT_EQ(vme_memory_remove(memory_, ram_), VME_OK);
  EXPECT_EQ(vme_memory_remove(memory_, ram_), VME_OK);
}

TEST_F(MemoryCTest, AThreadDoesNotWaitForItsOwnVcpu) {
  make_engine();
  ASSERT_EQ(vme_thread_attach(cpu_), VME_OK);
  std::uint64_t value = 0;
  ASSERT_EQ(vme_read(cpu_, &value, kPage, 8, 0), 0u);
  EXPECT_EQ(vme_memory_remove(memory_, ram_), VME_OK);
  vme_thread_detach();
}

TEST_F(MemoryCTest, WhatAnAliasShowsIsNotRemoved) {
  std::uint64_t alias = 0;
  ASSERT_EQ(vme_memory_add_alias(memory_, 16 * kPage, kPage, ram_, 0, &alias), VME_OK);
  EXPECT_EQ(vme_memory_remove(memory_, ram_), VME_EBUSY);
  void* host = nullptr;
  EXPECT_EQ(vme_memory_host(memory_, kPage, 8, &host), VME_OK);
  EXPECT_EQ(vme_memory_remove(memory_, alias), VME_OK);
  EXPECT_EQ(vme_memory_remove(memory_, ram_), VME_OK);
}

TEST_F(MemoryCTest, EnginesThatAreWrongAreRefused) {
  vme_config bad = config();
  EXPECT_EQ(vme_engine_create_over(nullptr, &bad, &engine_), VME_EINVAL);
  EXPECT_EQ(vme_engine_create_over(memory_, nullptr, &engine_), VME_EINVAL);
  EXPECT_EQ(vme_engine_create_over(memory_, &bad, nullptr), VME_EINVAL);
  bad.abi_version = VME_ABI_VERSION + 1;
  EXPECT_EQ(vme_engine_create_over(memory_, &bad, &engine_), VME_EABI);
  bad = config();
  bad.flags = 1;
  EXPECT_EQ(vme_engine_create_over(memory_, &bad, &engine_), VME_EINVAL);
  const vme_memory_ops callbacks{};
  bad = config();
  bad.memory = &callbacks;
  EXPECT_EQ(vme_engine_create_over(memory_, &bad, &engine_), VME_EINVAL);
  EXPECT_EQ(engine_, nullptr);
  EXPECT_EQ(vme_memory_create(1, &memory_), VME_EINVAL);
  EXPECT_EQ(vme_memory_create(0, nullptr), VME_EINVAL);
  vme_memory_destroy(nullptr);
}

TEST_F(MemoryCTest, ArenasThatAreWrongAreRefused) {
  make_engine();
  vme_fastmem_config bad{VME_ABI_VERSION, 0, kPage + 1, 0, 0};
  EXPECT_EQ(vme_fastmem_create(engine_, &bad, &arena_), VME_EINVAL);
  bad = {VME_ABI_VERSION, 2, kPage, 0, 0};
  EXPECT_EQ(vme_fastmem_create(engine_, &bad, &arena_), VME_EINVAL);
  bad = {VME_ABI_VERSION - 1, 0, kPage, 0, 0};
  EXPECT_EQ(vme_fastmem_create(engine_, &bad, &arena_), VME_EABI);
  EXPECT_EQ(vme_fastmem_create(nullptr, nullptr, &arena_), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_create(engine_, nullptr, nullptr), VME_EINVAL);
  const vme_memory_ops ops{
      [](void*, std::uint64_t, void*, std::uint64_t, std::uint32_t*) { return std::uint64_t{0}; },
      [](void*, std::uint64_t, const void*, std::uint64_t, std::uint32_t*) {
        return std::uint64_t{0};
      },
      nullptr};
  vme_config with_callbacks = config();
  with_callbacks.memory = &ops;
  vme_engine* engine = nullptr;
  ASSERT_EQ(vme_engine_create(&with_callbacks, &engine), VME_OK);
  EXPECT_EQ(vme_fastmem_create(engine, nullptr, &arena_), VME_ENOTSUP);
  vme_engine_destroy(engine);
  EXPECT_EQ(arena_, nullptr);
  EXPECT_EQ(vme_fastmem_is_complete(nullptr), 0);
  EXPECT_EQ(vme_fastmem_base(nullptr), nullptr);
  EXPECT_EQ(vme_fastmem_attach(nullptr, cpu_), VME_EINVAL);
  vme_fastmem_destroy(nullptr);
}

TEST_F(MemoryCTest, AnArenaOfVirtualAddressesShowsWhatIsMapped) {
  constexpr std::uint32_t kBoth = VME_ACCESS_READ | VME_ACCESS_WRITE;
  make_engine();
  ASSERT_EQ(make_arena(VME_FASTMEM_VIRTUAL), VME_OK);
  ASSERT_EQ(vme_fastmem_is_complete(arena_), 1);
  const auto* const base = static_cast<const volatile std::uint64_t*>(vme_fastmem_base(arena_));
  const std::uint64_t value = 42;
  ASSERT_EQ(vme_memory_write(memory_, 2 * kPage, &value, 8, nullptr), 0u);
  EXPECT_EQ(vme_fastmem_map(arena_, 0, 2 * kPage, kPage, kBoth), VME_OK);
  EXPECT_EQ(*base, 42u);
  EXPECT_EQ(vme_fastmem_map(arena_, 0, kPage, kPage, VME_ACCESS_READ), VME_EBUSY);
  EXPECT_EQ(vme_fastmem_map(arena_, kPage, kPage, kPage, VME_ACCESS_WRITE), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_map(arena_, kPage, ~std::uint64_t{0}, kPage, VME_ACCESS_READ), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_unmap(arena_, 1, kPage), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_unmap(arena_, 0, kPage), VME_OK);
  EXPECT_EQ(vme_fastmem_map(arena_, 0, kPage, kPage, VME_ACCESS_READ), VME_OK);
  EXPECT_EQ(*base, 0u);
  EXPECT_EQ(vme_fastmem_attach(arena_, nullptr), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_attach(arena_, cpu_), VME_OK);
  EXPECT_EQ(cpu_->fastmem_base, vme_fastmem_base(arena_));
  vme_fastmem_detach(arena_, cpu_);
  EXPECT_EQ(cpu_->fastmem_base, nullptr);
}

TEST_F(MemoryCTest, OnlyBytesThatThereAreAreProtected) {
  make_engine();
  ASSERT_EQ(make_arena(0), VME_OK);
  if (vme_fastmem_is_complete(arena_) == 0) GTEST_SKIP() << "the host allows no arena";
  EXPECT_EQ(vme_fastmem_protect(arena_, ram_, ~std::uint64_t{0} << 12, 2 * kPage), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_protect(arena_, ram_, std::uint64_t{1} << 60, kPage), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_protect(arena_, ram_ + 1000, 0, kPage), VME_EINVAL);
  EXPECT_EQ(vme_fastmem_is_complete(arena_), 1);
  EXPECT_EQ(vme_fastmem_protect(arena_, ram_, 0, kPage), VME_OK);
}

TEST_F(MemoryCTest, AnArenaSaysWhyItIsNone) {
  make_engine();
  const vme_fastmem_config huge{VME_ABI_VERSION, 0, ~std::uint64_t{0} << 12, 0, 0};
  ASSERT_EQ(vme_fastmem_create(engine_, &huge, &arena_), VME_OK);
  EXPECT_EQ(vme_fastmem_is_complete(arena_), 0);
  std::array<char, 200> words{};
  EXPECT_GT(vme_fastmem_reason(arena_, words.data(), words.size()), 0u);
  EXPECT_NE(std::string(words.data()).find("errno"), std::string::npos) << words.data();
  EXPECT_EQ(vme_fastmem_base(arena_), nullptr);
  EXPECT_EQ(vme_fastmem_bytes(arena_), 0u);
  EXPECT_EQ(vme_fastmem_attach(arena_, cpu_), VME_ENOTSUP);
  EXPECT_EQ(vme_fastmem_map(arena_, 0, kPage, kPage, VME_ACCESS_READ), VME_ENOTSUP);
  EXPECT_EQ(vme_fastmem_protect(arena_, ram_, 0, kPage), VME_OK);
  vme_fastmem_unprotect(arena_, ram_, 0, kPage);
}

// Every allocation of `call` fails in its turn, until none does.
template <typename Call>
void expect_no_memory_is_a_result(Call call) {
  vm_test::failing = vm_test::Failing::kAllFurther;
  bool failed = true;
  for (int successes = 0; failed; ++successes) {
    vm_test::failed_allocations = 0;
    const vme_rc rc = vm_test::with_failing_allocation(successes, call);
    failed = vm_test::failed_allocations != 0;
    EXPECT_EQ(rc, failed ? VME_ENOMEM : VME_OK) << successes;
  }
}

TEST_F(MemoryCTest, NoMemoryIsAResult) {
  make_engine();
  ASSERT_EQ(make_arena(VME_FASTMEM_VIRTUAL), VME_OK);
  vme_memory* made = nullptr;
  expect_no_memory_is_a_result([&] { return vme_memory_create(0, &made); });
  expect_no_memory_is_a_result([&] { return vme_memory_add_ram(made, 0, kPage, 0, nullptr); });
  expect_no_memory_is_a_result(
      [&] { return vme_memory_add_device(made, kPage, kPage, &ops_, nullptr, nullptr); });
  expect_no_memory_is_a_result(
      [&] { return vme_fastmem_map(arena_, 0, kPage, kPage, VME_ACCESS_READ); });
  vme_memory_destroy(made);
}

// What a failed one has left behind would be called by the next who watches.
TEST_F(MemoryCTest, AnArenaThatCouldNotBeMadeIsNotAsked) {
  constexpr std::uint64_t kCode = 32 * kPage;
  ASSERT_EQ(vme_memory_add_ram(memory_, kCode, kPage, VME_RAM_CODE_WATCH, nullptr), VME_OK);
  make_engine();
  vm_test::failing = vm_test::Failing::kAllFurther;
  bool failed = true;
  for (int successes = 0; failed; ++successes) {
    vm_test::failed_allocations = 0;
    const vme_rc rc = vm_test::with_failing_allocation(successes, [&] { return make_arena(0); });
    failed = vm_test::failed_allocations != 0;
    EXPECT_EQ(rc, failed ? VME_ENOMEM : VME_OK) << successes;
    vme_tc* tc = nullptr;
    ASSERT_EQ(vme_tc_register(
                  engine_, [](void*, const vme_tc_event*, std::size_t) {}, nullptr, &tc),
              VME_OK);
    vme_translation translation{};
    EXPECT_EQ(vme_tc_begin_translate(tc, nullptr, kCode, 64, &translation), VME_OK);
    vme_tc_release(tc, &translation);
    vme_tc_unregister(tc);
  }
}

}  // namespace
