// A guest whose memory has descriptors, an arena over it, and code that reaches it.
#ifndef TESTS_VM_ENGINE_FASTMEM_MACHINE_H_
#define TESTS_VM_ENGINE_FASTMEM_MACHINE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/vm_engine/fault_sites.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"
#include "vm_engine/fastmem.h"
#include "vm_mem/memory_manager.h"

namespace vm_test {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kRam = 0x10000;
inline constexpr std::uint64_t kTracked = 0x40000;
inline constexpr std::uint64_t kRom = 0x80000;
inline constexpr std::uint64_t kDevice = 0xa0000;
inline constexpr std::uint64_t kMirror = 0xc0000;
inline constexpr std::uint64_t kRamPages = 16;

// A small arena: emulators of other processors note each page of what is reserved.
inline vm_engine::FastmemOptions small_arena(
    vm_engine::FastmemSpace space = vm_engine::FastmemSpace::kPhysical) {
  return {.bytes = 16 * kMiB, .guard_bytes = kMiB, .space = space};
}

class FastmemTest : public testing::Test {
 protected:
  explicit FastmemTest(const vm_engine::FastmemOptions& options = small_arena())
      : memory_(vm_mem::MemoryManager::create({}).value()) {
    const vm_mem::RamOptions plain = {.backing = vm_mem::Backing::kMemfd};
    const vm_mem::RamOptions tracked = {.backing = vm_mem::Backing::kMemfd,
                                        .dirty_tracking = vm_mem::DirtyTracking::kOn};
    ram_ = memory_->add_ram(range(kRam, kRamPages * kPage), plain).value();
    tracked_ = memory_->add_ram(range(kTracked, kRamPages * kPage), tracked).value();
    rom_ = memory_->add_rom(range(kRom, 2 * kPage), noise(2 * kPage, 5)).value();
    EXPECT_TRUE(memory_->add_mmio(range(kDevice, kPage), &device_).ok());
    EXPECT_TRUE(memory_->add_alias(range(kMirror, 4 * kPage), ram_, 2 * kPage).ok());
    engine_.reset(vm_engine::create_engine(*memory_, {}).value());
    EXPECT_EQ(vme_cpu_create(engine_.get(), &made_), VME_OK);
    cpu_.reset(made_);
    EXPECT_EQ(vme_fault_install(0), VME_OK);
    EXPECT_EQ(vme_thread_attach(made_), VME_OK);
    code_ = std::make_unique<FaultCode>(engine_.get());
    arena_ = vm_engine::FastmemArena::create(*memory_, options).value();
    EXPECT_EQ(arena_->mode(), vm_engine::FastmemMode::kFastmem) << arena_->reason();
    EXPECT_TRUE(arena_->attach(made_).ok());
  }
  ~FastmemTest() override {
    arena_->detach(made_);
    vme_thread_detach();
  }

  const vme_fault& fault() const { return made_->fault; }

  // Through the arena alone: false where it faulted.
  bool direct_load(std::uint64_t gva, std::uint64_t& value) const {
    std::uint64_t faulted = 7;
    value = vm_test_load(made_->fastmem_base, gva, &faulted);
    return faulted == 0;
  }
  bool direct_store(std::uint64_t gva, std::uint64_t value) const {
    std::uint64_t faulted = 7;
    vm_test_store(made_->fastmem_base, gva, value, &faulted);
    return faulted == 0;
  }
  // What emitted code does: directly, or by the helper.
  std::uint64_t load(std::uint64_t gva) const {
    std::uint64_t value = 0;
    if (!direct_load(gva, value)) vme_read(made_, &value, gva, 8, 3 << VME_ELEM_SHIFT);
    return value;
  }
  std::uint64_t store(std::uint64_t gva, std::uint64_t value) const {
    return direct_store(gva, value) ? 0 : vme_write(made_, gva, &value, 8, 3 << VME_ELEM_SHIFT);
  }
  std::uint64_t word(std::uint64_t gpa) const {
    std::uint64_t value = 0;
    EXPECT_TRUE(memory_->load(vm_mem::GuestAddress{gpa}, value).ok());
    return value;
  }
  std::vector<std::uint64_t> harvest() {
    if (client_ == vm_mem::DirtyClient{}) client_ = memory_->add_dirty_client("test").value();
    vm_mem::DirtyPages pages;
    EXPECT_TRUE(memory_->harvest_dirty(client_, tracked_, pages).ok());
    std::vector<std::uint64_t> dirty;
    for (std::uint64_t page = 0; page < kRamPages; ++page) {
      if (pages.is_dirty(page)) dirty.push_back(page);
    }
    return dirty;
  }
  using Pages = std::vector<std::uint64_t>;

  LoggingDevice device_;
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  vm_mem::RegionId ram_, tracked_, rom_;
  vm_engine::EnginePtr engine_;
  vme_cpu* made_ = nullptr;
  vm_engine::CpuPtr cpu_;
  std::unique_ptr<FaultCode> code_;
  std::unique_ptr<vm_engine::FastmemArena> arena_;
  vm_mem::DirtyClient client_{};
};

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_FASTMEM_MACHINE_H_
