// A small guest for the tests of vm_device: RAM and a bus.
#ifndef TESTS_VM_DEVICE_GUEST_H_
#define TESTS_VM_DEVICE_GUEST_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vm_device/interrupt_line.h"
#include "vm_device/mmio_bus.h"
#include "vm_mem/memory_manager.h"

namespace vm_device {

inline constexpr std::uint64_t kRamBase = 0x8000'0000;
inline constexpr std::uint64_t kRamBytes = 1 << 20;
inline constexpr std::uint64_t kRamEnd = kRamBase + kRamBytes;

inline vm_mem::GuestRange guest_range(std::uint64_t begin, std::uint64_t bytes) {
  return vm_mem::GuestRange::make(vm_mem::GuestAddress{begin}, bytes).value();
}

class RecordingLine : public InterruptLine {
 public:
  void set(Level level) override {
    if (level == Level::kHigh && level_ == Level::kLow) ++rises_;
    level_ = level;
  }
  Level level() const { return level_; }
  int rises() const { return rises_; }

 private:
  Level level_ = Level::kLow;
  int rises_ = 0;
};

struct Guest {
  explicit Guest(const vm_mem::RamOptions& options = {})
      : memory(std::move(vm_mem::MemoryManager::create({}).value())), bus(*memory) {
    ram = memory->add_ram(guest_range(kRamBase, kRamBytes), options).value();
  }

  template <typename T>
  T get(std::uint64_t address) const {
    T value{};
    EXPECT_TRUE(memory->load(vm_mem::GuestAddress{address}, value).ok()) << std::hex << address;
    return value;
  }
  template <typename T>
  void put(std::uint64_t address, T value) {
    EXPECT_TRUE(memory->store(vm_mem::GuestAddress{address}, value).ok()) << std::hex << address;
  }
  std::vector<std::byte> bytes(std::uint64_t address, std::size_t count) const {
    std::vector<std::byte> to(count);
    EXPECT_TRUE(memory->read(vm_mem::GuestAddress{address}, to).ok()) << std::hex << address;
    return to;
  }
  void put_bytes(std::uint64_t address, std::span<const std::byte> from) {
    EXPECT_TRUE(memory->write(vm_mem::GuestAddress{address}, from).ok()) << std::hex << address;
  }

  std::unique_ptr<vm_mem::MemoryManager> memory;
  MmioBus bus;
  vm_mem::RegionId ram;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_GUEST_H_
