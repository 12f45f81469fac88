// A small guest for the tests of the engine: RAM with and without dirty tracking, ROM,
// a device that keeps a log, and holes, reached through a page table that can refuse.
#ifndef TESTS_VM_ENGINE_MACHINE_H_
#define TESTS_VM_ENGINE_MACHINE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/guest_range.h"
#include "vm_engine/engine.h"
#include "vm_mem/memory_manager.h"

namespace vm_test {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint32_t kAllAccess = VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE;

struct DeviceAccess {
  bool write = false;
  std::uint64_t offset = 0;
  unsigned bytes = 0;
  std::uint64_t value = 0;
  friend bool operator==(const DeviceAccess&, const DeviceAccess&) = default;
  friend std::ostream& operator<<(std::ostream& out, const DeviceAccess& a) {
    return out << (a.write ? "write " : "read ") << a.bytes << " @" << a.offset << " = " << a.value;
  }
};

// Reads count up, so that an access made twice is seen. Refuses what touches
// `refused_offset`.
class LoggingDevice : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size,
                                std::uint64_t& value) override {
    if (refuses(offset, size)) return vm_mem::AccessFault::kDevice;
    value = next_value_ += 0x0101010101010101;
    log.push_back({false, offset, size, size == 8 ? value : value & ((1ull << (8 * size)) - 1)});
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size,
                                 std::uint64_t value) override {
    if (refuses(offset, size)) return vm_mem::AccessFault::kDevice;
    log.push_back({true, offset, size, value});
    return vm_mem::AccessFault::kNone;
  }

  std::vector<DeviceAccess> log;
  std::uint64_t refused_offset = ~0ull;

 private:
  bool refuses(std::uint64_t offset, unsigned size) const { return refused_offset - offset < size; }
  std::uint64_t next_value_ = 0;
};

using vm_test::range;

// Pages without an entry have no translation.
struct PageTable {
  struct Entry {
    std::uint64_t gpa = 0;
    std::uint32_t permitted = kAllAccess;
  };
  std::map<std::uint64_t, Entry> pages;
  std::uint64_t walks = 0;

  static vme_rc translate(void* opaque, std::uint64_t gva, std::uint32_t access, std::uint32_t,
                          std::uint64_t* gpa_page, std::uint32_t* permitted) {
    auto& table = *static_cast<PageTable*>(opaque);
    ++table.walks;
    const auto found = table.pages.find(gva / kPage * kPage);
    if (found == table.pages.end()) return VME_XLAT;
    if ((found->second.permitted & access) == 0) return VME_PROT;
    *gpa_page = found->second.gpa;
    *permitted = found->second.permitted;
    return VME_OK;
  }
};

// RAM 0x10000..0x18000, tracked RAM 0x20000..0x24000, ROM 0x30000..0x32000 (byte i is
// i * 7), device 0x40000..0x42000, more RAM right behind the device to 0x44000.
class Machine {
 public:
  static constexpr std::uint64_t kRam = 0x10000;
  static constexpr std::uint64_t kTracked = 0x20000;
  static constexpr std::uint64_t kRom = 0x30000;
  static constexpr std::uint64_t kDevice = 0x40000;
  static constexpr std::uint64_t kBehind = 0x42000;

  explicit Machine(vm_engine::EngineOptions options = {},
                   vm_mem::Backing backing = vm_mem::Backing::kAnonymous)
      : memory(std::move(vm_mem::MemoryManager::create({}).value())) {
    std::vector<std::byte> content(2 * kPage);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7);
    ram = memory->add_ram(range(kRam, 8 * kPage), {.backing = backing}).value();
    tracked = memory
                  ->add_ram(range(kTracked, 4 * kPage),
                            {.backing = backing, .dirty_tracking = vm_mem::DirtyTracking::kOn})
                  .value();
    rom = memory->add_rom(range(kRom, 2 * kPage), content).value();
    mmio = memory->add_mmio(range(kDevice, 2 * kPage), &device).value();
    behind = memory->add_ram(range(kBehind, 2 * kPage), {.backing = backing}).value();
    engine.reset(vm_engine::create_engine(*memory, options).value());
    cpu = new_cpu();
  }
  explicit Machine(PageTable& table)
      : Machine({.translate = &PageTable::translate, .translate_opaque = &table}) {}

  vm_engine::CpuPtr new_cpu() {
    vme_cpu* made = nullptr;
    if (vme_cpu_create(engine.get(), &made) != VME_OK) throw std::runtime_error("no vCPU");
    return vm_engine::CpuPtr(made);
  }

  std::vector<std::byte> bytes(std::uint64_t gpa, std::size_t n) {
    std::vector<std::byte> out(n);
    if (!memory->read(vm_mem::GuestAddress{gpa}, out).ok()) throw std::runtime_error("read");
    return out;
  }
  void put(std::uint64_t gpa, const std::vector<std::byte>& from) {
    if (!memory->write(vm_mem::GuestAddress{gpa}, from).ok()) throw std::runtime_error("write");
  }

  LoggingDevice device;
  std::unique_ptr<vm_mem::MemoryManager> memory;
  vm_mem::RegionId ram, tracked, rom, mmio, behind;
  vm_engine::EnginePtr engine;
  vm_engine::CpuPtr cpu;
};

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_MACHINE_H_
