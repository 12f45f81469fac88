// What a debugger does to a machine that stands still: memory and breakpoints.
#ifndef VMRUN_GDB_TARGET_H_
#define VMRUN_GDB_TARGET_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tools/vmrun/machine.h"
#include "vm_mem/memory_reader.h"

namespace vmrun {

enum class BreakpointKind : std::uint8_t { kSoftware = 0, kHardware = 1 };

// Whether the debugger's accesses reach devices, which see them as the guest's.
enum class DeviceAccess : std::uint8_t { kRefused, kPermitted };

// Addresses are those of a hart: virtual where it has paging on and is not in M-mode, else
// physical. What page tables and PMP permit is not asked, and A and D stay as they are.
class GdbTarget {
 public:
  static constexpr std::size_t kMostBreakpoints = 4096;

  // Needs:  `machine` outlives this object, and does not run while a member is called.
  explicit GdbTarget(Machine& machine) : machine_(&machine), reader_(machine.memory()) {}

  Machine& machine() const { return *machine_; }
  Hart& hart(std::size_t number) { return machine_->hart(number); }

  // As write_gdb_register(); a hart that waits goes on at the pc that it is given.
  [[nodiscard]] bool write_register(std::size_t hart, std::uint64_t number, std::uint64_t value);
  // As much as there is from `address` on.
  std::string read_memory(std::size_t hart, std::uint64_t address, std::size_t bytes);
  // False: something is not there, or read-only; what lies before it was written.
  [[nodiscard]] bool write_memory(std::size_t hart, std::uint64_t address, std::string_view bytes);
  // nullopt: nothing is mapped there.
  std::optional<std::uint64_t> physical(std::size_t hart, std::uint64_t address);
  void set_device_access(DeviceAccess access) { devices_ = access; }

  // Of every hart, in every address space. False: an odd address, or too many.
  [[nodiscard]] bool insert(BreakpointKind kind, std::uint64_t address);
  void remove(BreakpointKind kind, std::uint64_t address);
  void remove_all() { breakpoints_.clear(); }
  // nullopt: none is there. Of both kinds, software.
  std::optional<BreakpointKind> breakpoint_at(std::uint64_t address) const;
  // Has the machine stop at them from here on.
  void arm();

 private:
  std::optional<std::uint64_t> entry_at(std::uint64_t at);
  bool read_piece(std::uint64_t at, std::span<std::byte> bytes);
  bool write_piece(std::uint64_t at, std::span<const std::byte> bytes);

  Machine* machine_;
  vm_mem::MemoryReader reader_;
  std::map<std::uint64_t, unsigned> breakpoints_;  // a bit for each kind
  DeviceAccess devices_ = DeviceAccess::kRefused;
};

}  // namespace vmrun

#endif  // VMRUN_GDB_TARGET_H_
