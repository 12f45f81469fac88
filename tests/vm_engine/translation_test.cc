// What a translator is told of, and what it is not.
#include "vm_engine/translation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "vm_engine/engine.h"
#include "vm_mem/memory_manager.h"

namespace vm_engine {
namespace {

using vm_mem::GuestAddress;
using vm_test::range;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRam = 0x10000;
constexpr std::uint64_t kRom = 0x40000;
constexpr std::uint64_t kPlain = 0x60000;  // RAM whose code cannot be watched
constexpr std::uint64_t kDevice = 0x80000;
constexpr std::uint64_t kAlias = 0x90000;  // the second page of RAM once more

// Takes everything, but refuses a write that `refuse` is called in.
class QuietDevice : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    value = 0;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    if (!refuse) return vm_mem::AccessFault::kNone;
    refuse();
    return vm_mem::AccessFault::kDevice;
  }

  std::function<void()> refuse;
};

// Keeps what it is told.
struct Translator {
  static void on_written(void* opaque, const vme_tc_event* events, size_t n) {
    auto& self = *static_cast<Translator*>(opaque);
    const std::lock_guard lock(self.mutex);
    self.events.insert(self.events.end(), events, events + n);
  }
  std::vector<vme_tc_event> take() {
    const std::lock_guard lock(mutex);
    return std::exchange(events, {});
  }

  std::mutex mutex;
  std::vector<vme_tc_event> events;
};

class TranslationTest : public testing::Test {
 protected:
  TranslationTest() {
    ram =
        memory->add_ram(range(kRam, 8 * kPage), {.code_watch = vm_mem::CodeWatching::kOn}).value();
    memory->add_rom(range(kRom, kPage), std::vector<std::byte>(kPage)).value();
    memory->add_ram(range(kPlain, kPage)).value();
    memory->add_mmio(range(kDevice, kPage), &device).value();
    alias = memory->add_alias(range(kAlias, kPage), ram, kPage).value();
    engine.reset(create_engine(*memory, {}).value());
    cpu = new_cpu();
    EXPECT_EQ(vme_tc_register(engine.get(), Translator::on_written, &translator, &tc), VME_OK);
    EXPECT_EQ(vme_thread_attach(cpu.get()), VME_OK);
  }
  ~TranslationTest() override {
    vme_thread_detach();
    vme_tc_unregister(tc);
  }

  CpuPtr new_cpu() {
    vme_cpu* made = nullptr;
    EXPECT_EQ(vme_cpu_create(engine.get(), &made), VME_OK);
    return CpuPtr(made);
  }
  vme_translation translate(std::uint64_t gpa, std::uint64_t bytes) {
    vme_translation made{};
    EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), gpa, bytes, &made), VME_OK);
    return made;
  }
  std::uint32_t exit_request() { return __atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED); }
  // One event, of those bytes of RAM.
  vme_tc_event expect_told(std::uint64_t offset, std::uint64_t bytes) {
    const std::vector<vme_tc_event> events = translator.take();
    EXPECT_EQ(events.size(), 1u);
    if (events.empty()) return {};
    EXPECT_EQ(events[0].written.ram_id, static_cast<std::uint64_t>(ram));
    EXPECT_EQ(events[0].written.ram_off, offset);
    EXPECT_EQ(events[0].written.len, bytes);
    return events[0];
  }
  void expect_told(std::uint64_t offset, std::uint64_t bytes, vme_tc_why why) {
    EXPECT_EQ(expect_told(offset, bytes).why, std::uint32_t{why});
  }
  void expect_told_of_store(std::uint64_t offset, std::uint64_t bytes) {
    const vme_tc_event event = expect_told(offset, bytes);
    EXPECT_TRUE(event.why == VME_TC_STORE || event.why == VME_TC_COPY) << event.why;
    EXPECT_EQ(event.by, cpu.get());
  }

  QuietDevice device;
  std::unique_ptr<vm_mem::MemoryManager> memory = vm_mem::MemoryManager::create({}).value();
  vm_mem::RegionId ram{}, alias{};
  EnginePtr engine;
  CpuPtr cpu;
  Translator translator;
  vme_tc* tc = nullptr;
};

TEST_F(TranslationTest, AStoreToTranslatedCodeIsToldOnce) {
  vme_translation block = translate(kRam + 0x100, 32);
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 1);
  ASSERT_EQ(store(*cpu, kRam + 0x108, std::uint32_t{7}), VME_OK);
  expect_told_of_store(0x108, 4);
  vme_tc_release(tc, &block);
  EXPECT_EQ(block.n, 0u);
  ASSERT_EQ(store(*cpu, kRam + 0x108, std::uint32_t{8}), VME_OK);
  EXPECT_TRUE(translator.take().empty());
}

TEST_F(TranslationTest, AStoreToThePageThatWasOpenBeforeIsTold) {
  ASSERT_EQ(store(*cpu, kRam, std::uint64_t{1}), VME_OK);
  ASSERT_EQ(store(*cpu, kRam, std::uint64_t{2}), VME_OK);
  vme_translation block = translate(kRam, 8);
  translator.take();  // what was stored before it was watched may be told
  ASSERT_EQ(store(*cpu, kRam, std::uint64_t{3}), VME_OK);
  expect_told_of_store(0, 8);
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 0);
  EXPECT_EQ(block.n, 0u);
}

TEST_F(TranslationTest, DataBesideCodeIsNotTold) {
  vme_translation block = translate(kRam + 0x100, 32);
  ASSERT_EQ(store(*cpu, kRam + 0x180, std::uint64_t{7}), VME_OK);
  ASSERT_EQ(store(*cpu, kRam + 0xf8, std::uint64_t{7}), VME_OK);
  EXPECT_TRUE(translator.take().empty());
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 1);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, TellsOfEveryHelperThatWrites) {
  vme_translation block = translate(kRam + 0x40, 64);
  const std::array<std::byte, 16> from{};
  ASSERT_EQ(vme_write(cpu.get(), kRam + 0x40, from.data(), from.size(), 0), 0u);
  expect_told(0x40, 16, VME_TC_COPY);
  ASSERT_EQ(vme_fill(cpu.get(), kRam + 0x40, 1, 32, 0), 0u);
  expect_told(0x40, 32, VME_TC_COPY);
  ASSERT_EQ(vme_copy(cpu.get(), kRam + 0x48, kRam + 0x1000, 8, 0), 0u);
  expect_told(0x48, 8, VME_TC_COPY);
  std::uint32_t previous = 0;
  ASSERT_EQ(fetch_add(*cpu, kRam + 0x50, std::uint32_t{1}, previous), VME_OK);
  const std::vector<vme_tc_event> atomic = translator.take();
  ASSERT_FALSE(atomic.empty());
  EXPECT_EQ(atomic[0].by, cpu.get());
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, TellsOfTheHostAndOfAliases) {
  vme_translation block = translate(kRam + kPage, 64);
  ASSERT_TRUE(memory->store(GuestAddress{kAlias + 8}, std::uint64_t{5}).ok());
  expect_told(kPage + 8, 8, VME_TC_STORE);
  ASSERT_EQ(vme_tc_written(engine.get(), kAlias, 4, VME_TC_HOST), VME_OK);
  expect_told(kPage, 4, VME_TC_HOST);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, ABlockMadeThroughAnAliasIsTheSameMemory) {
  vme_translation block = translate(kAlias, 16);
  ASSERT_EQ(store(*cpu, kRam + kPage, std::uint64_t{5}), VME_OK);
  expect_told_of_store(kPage, 8);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, ABlockAcrossTwoPagesIsToldOfBoth) {
  vme_translation block = translate(kRam + kPage - 8, 16);
  EXPECT_EQ(block.n, 1u);
  ASSERT_EQ(store(*cpu, kRam + kPage + 4, std::uint32_t{5}), VME_OK);
  expect_told_of_store(kPage + 4, 4);
  ASSERT_EQ(store(*cpu, kRam + kPage - 4, std::uint32_t{5}), VME_OK);
  expect_told_of_store(kPage - 4, 4);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, AWriteWhileItIsTranslatedThrowsTheBlockAway) {
  vme_translation block = translate(kRam, 64);
  ASSERT_TRUE(memory->store(GuestAddress{kRam + 4}, std::uint32_t{5}).ok());
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 0);
  translator.take();
  ASSERT_EQ(store(*cpu, kRam + 4, std::uint32_t{6}), VME_OK);
  EXPECT_TRUE(translator.take().empty()) << "a block that was thrown away is released";
}

TEST_F(TranslationTest, AWriteOfEqualBytesIsAWrite) {
  vme_translation block = translate(kRam, 64);
  ASSERT_EQ(store(*cpu, kRam, std::uint64_t{0}), VME_OK);
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 0);
}

TEST_F(TranslationTest, CodeFetchedBitByBitIsOneRangeWithOneUserAChunk) {
  vme_translation block{};
  std::uint32_t word = 0;
  ASSERT_EQ(store(*cpu, kRam + 0x38, std::uint32_t{0x1234}), VME_OK);
  for (std::uint64_t at = 0x38; at < 0x90; at += 4) {
    ASSERT_EQ(vme_tc_fetch(tc, cpu.get(), kRam + at, &word, 4, 0, &block), 0u);
    if (at == 0x38) {
      EXPECT_EQ(word, 0x1234u);
    }
  }
  EXPECT_EQ(block.n, 1u);
  EXPECT_EQ(block.ranges[0].ram_off, 0x38u);
  EXPECT_EQ(block.ranges[0].len, 0x58u);
  vme_tc_release(tc, &block);
  for (const std::uint64_t chunk : {0x0u, 0x40u, 0x80u}) {
    EXPECT_FALSE(memory->code_watch().is_watched(ram, chunk)) << chunk;
  }
}

TEST_F(TranslationTest, AFetchAcrossPagesStopsAtTheFirstByteOutOfReach) {
  std::array<std::byte, 32> code{};
  vme_translation block{};
  EXPECT_EQ(vme_tc_fetch(tc, cpu.get(), kRam + 8 * kPage - 12, code.data(), 32, 0, &block), 20u);
  EXPECT_EQ(cpu->fault.rc, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(cpu->fault.gva, kRam + 8 * kPage);
  EXPECT_EQ(cpu->fault.done, 12u);
  EXPECT_EQ(cpu->fault.access, VME_ACCESS_EXECUTE);
  EXPECT_EQ(block.ranges[0].len, 12u);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, WhatCannotBeWatchedIsSaid) {
  vme_translation block{};
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), kPlain, 8, &block), VME_ENOTSUP);
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), kDevice, 8, &block), VME_MMIO);
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), 0x1000, 8, &block), VME_UNMAPPED);
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), kRam, 0, &block), VME_EINVAL);
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), ~0ull - 3, 8, &block), VME_EINVAL);
  EXPECT_EQ(vme_tc_begin_translate(nullptr, cpu.get(), kRam, 8, &block), VME_EINVAL);
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), kRam, 8, nullptr), VME_EINVAL);
  EXPECT_EQ(block.n, 0u);
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), kRam + 8 * kPage - 4, 8, &block), VME_UNMAPPED);
  EXPECT_EQ(block.n, 0u);
  EXPECT_FALSE(memory->code_watch().is_watched(ram, 8 * kPage - 4));
}

TEST_F(TranslationTest, CodeInRomCanBeTranslated) {
  vme_translation block = translate(kRom + 16, 64);
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 1);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, MemoryThatIsRemovedIsTold) {
  vme_translation block = translate(kRam, 64);
  ASSERT_TRUE(memory->remove_region(alias, vm_mem::RemovePolicy::kRefuse).ok());
  ASSERT_TRUE(memory->remove_region(ram, vm_mem::RemovePolicy::kRefuse).ok());
  const std::vector<vme_tc_event> events = translator.take();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().why, std::uint32_t{VME_TC_UNMAP});
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 0);
}

TEST_F(TranslationTest, ACopyOverTheRunningBlockCompletesAndSaysSo) {
  vme_translation block = translate(kRam + 0x200, 64);
  std::uint16_t parcel = 0;
  ASSERT_EQ(vme_tc_fetch(tc, cpu.get(), kRam + 0x200, &parcel, 2, 0, &block), 0u);
  cpu->cur_blk_lo = kRam + 0x200;
  cpu->cur_blk_hi = kRam + 0x240;
  EXPECT_EQ(vme_copy(cpu.get(), kRam + 0x210, kRam + kPage, 16, 0), 0u);
  EXPECT_EQ(cpu->fault.rc, std::uint32_t{VME_CODE_HIT});
  EXPECT_EQ(cpu->exit_request, 1u | VME_EXIT_CODE);
  cpu->exit_request = 0;
  cpu->fault.rc = VME_OK;
  // Of another block: the translator is told, the running one goes on.
  vme_translation other = translate(kRam + 0x400, 64);
  EXPECT_EQ(vme_copy(cpu.get(), kRam + 0x400, kRam + kPage, 16, 0), 0u);
  EXPECT_EQ(cpu->fault.rc, std::uint32_t{VME_OK});
  EXPECT_EQ(cpu->exit_request, 0u);
  vme_tc_release(tc, &block);
  vme_tc_release(tc, &other);
}

TEST_F(TranslationTest, AMoveThatRunsAgainstItsDirectionSaysSoToo) {
  vme_translation block = translate(kRam + 0x200, 64);
  cpu->cur_blk_lo = kRam + 0x200;
  cpu->cur_blk_hi = kRam + 0x240;
  EXPECT_EQ(vme_copy(cpu.get(), kRam + 0x210, kRam + 0x1f0, 64, 0), 0u);
  EXPECT_EQ(cpu->fault.rc, std::uint32_t{VME_CODE_HIT});
  EXPECT_EQ(cpu->exit_request & 1, 1u);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, TheEmbeddersBitsOfExitRequestStay) {
  vme_translation block = translate(kRam + 0x200, 64);
  cpu->cur_blk_lo = kRam + 0x200;
  cpu->cur_blk_hi = kRam + 0x240;
  cpu->exit_request = 2;
  EXPECT_EQ(vme_copy(cpu.get(), kRam + 0x210, kRam + kPage, 16, 0), 0u);
  EXPECT_EQ(cpu->exit_request, 3u | VME_EXIT_CODE);
  vme_tc_release(tc, &block);
}

// Changes the map once, as soon as pages are guarded: between the look at it and the watch.
class MapChanger : public vm_mem::CodeWatcher {
 public:
  explicit MapChanger(std::function<void()> change) : change_(std::move(change)) {}
  void code_written(std::span<const vm_mem::CodeWrite>) noexcept override {}
  bool pages_guarded(std::span<const vm_mem::CodeRange>) noexcept override {
    if (change_) std::exchange(change_, nullptr)();
    return true;
  }

 private:
  std::function<void()> change_;
};

TEST_F(TranslationTest, WhatIsWatchedIsWhatTheMapShowsAfterwards) {
  vm_mem::RegionId above{};
  MapChanger changer([&] {
    std::vector<std::byte> content(kPage, std::byte{0x12});
    above = memory->add_rom(range(kRam, kPage), content, {.priority = 1}).value();
  });
  ASSERT_TRUE(memory->code_watch().add_watcher(&changer).ok());
  vme_translation block{};
  std::uint32_t word = 0;
  ASSERT_EQ(vme_tc_fetch(tc, cpu.get(), kRam, &word, 4, 0, &block), 0u);
  EXPECT_EQ(word, 0x12121212u);
  EXPECT_EQ(block.n, 1u);
  EXPECT_EQ(block.ranges[0].ram_id, static_cast<std::uint64_t>(above));
  EXPECT_FALSE(memory->code_watch().is_watched(ram, 0));
  vme_tc_release(tc, &block);
  memory->code_watch().remove_watcher(&changer);
}

// While the device is at work another thread watches the running block's page, which this
// vCPU has open: it is closed, and told of, when the call ends.
TEST_F(TranslationTest, AFailureStaysOneWhereTheRunningBlockIsToldOfToo) {
  ASSERT_EQ(store(*cpu, kRam, std::uint64_t{1}), VME_OK);
  cpu->cur_blk_lo = kRam + 0x200;
  cpu->cur_blk_hi = kRam + 0x240;
  vme_translation block{};
  std::thread other;
  device.refuse = [&] {
    other = std::thread(
        [&] { EXPECT_EQ(vme_tc_begin_translate(tc, nullptr, kRam + 0x200, 64, &block), VME_OK); });
    while ((exit_request() & VME_EXIT_FLUSH) == 0) std::this_thread::yield();
  };
  EXPECT_EQ(vme_store(cpu.get(), kDevice, 1, 3 << VME_ELEM_SHIFT), 8u);
  other.join();
  EXPECT_EQ(cpu->fault.rc, std::uint32_t{VME_MMIO});
  EXPECT_EQ(cpu->fault.gva, kDevice);
  EXPECT_EQ(exit_request() & 1, 1u) << "the block is left all the same";
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, DevicesAreLeftOutOfWhatTheHostWrote) {
  EXPECT_EQ(vme_tc_written(engine.get(), kDevice, kPage, VME_TC_HOST), VME_OK);
  EXPECT_EQ(vme_tc_written(engine.get(), kDevice, 2 * kPage, VME_TC_HOST), VME_UNMAPPED);
  EXPECT_EQ(vme_tc_written(engine.get(), kRam, 8, VME_TC_RESTORE + 1), VME_EINVAL);
  EXPECT_TRUE(translator.take().empty());
}

TEST_F(TranslationTest, WhatIsNoTranslationIsRefused) {
  vme_translation block{};
  block.n = VME_TC_RANGES + 1;
  std::uint32_t word = 0;
  EXPECT_EQ(vme_tc_fetch(tc, cpu.get(), kRam, &word, 4, 0, &block), 4u);
  EXPECT_EQ(cpu->fault.rc, std::uint32_t{VME_EINVAL});
  EXPECT_EQ(vme_tc_begin_translate(tc, cpu.get(), kRam, 4, &block), VME_EINVAL);
  EXPECT_EQ(vme_tc_end_translate(tc, &block), 0);
}

TEST_F(TranslationTest, AVcpuOfAnotherEngineIsRefused) {
  const EnginePtr other(create_engine(*memory, {}).value());
  vme_cpu* made = nullptr;
  ASSERT_EQ(vme_cpu_create(other.get(), &made), VME_OK);
  const CpuPtr foreign(made);
  vme_translation block{};
  std::uint32_t word = 0;
  EXPECT_EQ(vme_tc_begin_translate(tc, made, kRam, 4, &block), VME_EINVAL);
  EXPECT_EQ(vme_tc_fetch(tc, made, kRam, &word, 4, 0, &block), 4u);
  EXPECT_EQ(made->fault.rc, std::uint32_t{VME_EINVAL});
}

TEST_F(TranslationTest, APageThatIsWrittenAgainAndAgainIsHot) {
  vme_tc_hot_limit(tc, 3, 60'000);
  vme_translation block = translate(kRam, 64);
  std::vector<std::uint32_t> flags;
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(store(*cpu, kRam, std::uint64_t{0}), VME_OK);
    for (const vme_tc_event& event : translator.take()) flags.push_back(event.flags);
  }
  EXPECT_EQ(flags, (std::vector<std::uint32_t>{0, 0, VME_TC_HOT, VME_TC_HOT}));
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, AWriteOverTwoPagesCountsForBoth) {
  vme_tc_hot_limit(tc, 2, 60'000);
  vme_translation block = translate(kRam + kPage - 64, 128);
  ASSERT_EQ(vme_fill(cpu.get(), kRam + kPage - 64, 1, 128, 0), 0u);
  EXPECT_EQ(vme_fill(cpu.get(), kRam + kPage, 1, 8, 0), 0u);
  const std::vector<vme_tc_event> events = translator.take();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.front().flags, 0u);
  EXPECT_EQ(events.back().flags, std::uint32_t{VME_TC_HOT});
  vme_tc_release(tc, &block);
}

TEST_F(TranslationTest, EveryTranslatorIsTold) {
  Translator second;
  vme_tc* other = nullptr;
  ASSERT_EQ(vme_tc_register(engine.get(), Translator::on_written, &second, &other), VME_OK);
  vme_translation block = translate(kRam, 8);
  ASSERT_EQ(store(*cpu, kRam, std::uint64_t{1}), VME_OK);
  EXPECT_EQ(translator.take().size(), 1u);
  EXPECT_EQ(second.take().size(), 1u);
  vme_tc_release(tc, &block);
  vme_tc_unregister(other);
}

TEST_F(TranslationTest, SaysWhereAByteLies) {
  vme_tc_range at{};
  ASSERT_EQ(vme_tc_locate(engine.get(), kAlias + 12, &at), VME_OK);
  EXPECT_EQ(at.ram_id, static_cast<std::uint64_t>(ram));
  EXPECT_EQ(at.ram_off, kPage + 12);
  EXPECT_EQ(at.len, kPage - 12);
  EXPECT_EQ(vme_tc_locate(engine.get(), kDevice, &at), VME_MMIO);
  EXPECT_EQ(vme_tc_locate(engine.get(), 0, &at), VME_UNMAPPED);
  EXPECT_EQ(vme_tc_locate(nullptr, kRam, &at), VME_EINVAL);
}

TEST(TranslationOfCallbacksTest, IsNotSupported) {
  const vme_memory_ops ops = {
      .read = [](void*, uint64_t, void*, uint64_t n, uint32_t*) { return n; },
      .write = [](void*, uint64_t, const void*, uint64_t n, uint32_t*) { return n; },
      .probe = nullptr};
  const vme_config config = {.abi_version = VME_ABI_VERSION,
                             .flags = 0,
                             .memory = &ops,
                             .memory_opaque = nullptr,
                             .translate = nullptr,
                             .translate_opaque = nullptr};
  vme_engine* made = nullptr;
  ASSERT_EQ(vme_engine_create(&config, &made), VME_OK);
  const EnginePtr engine(made);
  vme_tc* tc = nullptr;
  EXPECT_EQ(vme_tc_register(made, Translator::on_written, nullptr, &tc), VME_ENOTSUP);
  EXPECT_EQ(vme_tc_register(nullptr, Translator::on_written, nullptr, &tc), VME_EINVAL);
  EXPECT_EQ(vme_tc_register(made, nullptr, nullptr, &tc), VME_EINVAL);
  EXPECT_EQ(tc, nullptr);
}

}  // namespace
}  // namespace vm_engine
