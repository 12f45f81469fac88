// The hart's way to guest memory: vm_engine's soft TLB, and a count of the accesses
// that go through it.
#ifndef VMRUN_HART_MEMORY_H_
#define VMRUN_HART_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "tools/vmrun/hart_state.h"
#include "vm_engine/engine.h"

namespace vmrun {

enum class AccessKind : std::uint8_t { kLoad, kStore };
// Of a copy: from the lowest byte up, from the highest down.
enum class ByteOrder : std::uint8_t { kAscending, kDescending };

// The exception that a failed access raises: a page fault where no translation permits it.
// LR is a load, SC and AMO are stores.
Cause cause_of(vme_rc rc, AccessKind kind);

inline constexpr std::uint64_t kCacheBlockBytes = 64;

struct AccessCount {
  std::uint64_t operations = 0;
  std::uint64_t bytes = 0;
};

// Each call gives VME_OK, or the reason; fault_address() is then what mtval reports.
// Values are little-endian in guest memory, as on the hosts that this runs on.
class HartMemory {
 public:
  explicit HartMemory(vme_cpu& cpu) : cpu_(&cpu) {}

  // What data_mode() says of the hart.
  void set_mode(unsigned mmu_mode) { mode_ = mmu_mode; }

  template <typename T>
  vme_rc load(std::uint64_t address, T& value) {
    count(sizeof(T));
    return vm_engine::load(*cpu_, address, value, mode_);
  }
  template <typename T>
  vme_rc store(std::uint64_t address, T value) {
    count(sizeof(T));
    return vm_engine::store(*cpu_, address, value, mode_);
  }
  // An AMO: stores change(previous), atomically.
  template <typename T, typename Change>
  vme_rc update(std::uint64_t address, Change change, T& previous) {
    count(2 * sizeof(T));
    return vm_engine::fetch_update(*cpu_, address, change, previous, mode_);
  }
  template <typename T>
  vme_rc compare_exchange(std::uint64_t address, T expected, T desired, bool& exchanged) {
    count(sizeof(T));
    return vm_engine::compare_exchange(*cpu_, address, expected, desired, exchanged, mode_);
  }

  // The block of kCacheBlockBytes that holds `address`: whether it can be read or written,
  // and a fill with zeros.
  vme_rc check_block(std::uint64_t address);
  vme_rc zero_block(std::uint64_t address);

  // In bulk, byte by byte in this order as the guest sees it. The bytes not done, from the
  // end in that order: where there are any, fault() says why.
  std::uint64_t copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes, ByteOrder order);
  std::uint64_t fill(std::uint64_t to, std::uint8_t value, std::uint64_t bytes);

  // The same in elements of 2^log2_element bytes, none of them on a device.
  std::uint64_t copy_elements(std::uint64_t to, std::uint64_t from, std::uint64_t bytes,
                              ByteOrder order, unsigned log2_element);
  std::uint64_t fill_elements(std::uint64_t to, std::uint64_t pattern, std::uint64_t bytes,
                              unsigned log2_element);
  // Where plain memory is on the host; null for all else.
  const std::byte* host_of(std::uint64_t address, std::uint32_t access);
  // 2^log2_bytes bytes of memory that can be read; 0 for all else.
  std::uint64_t peek(std::uint64_t address, unsigned log2_bytes);

  const vme_fault& fault() const { return cpu_->fault; }
  std::uint64_t fault_address() const { return cpu_->fault.gva; }
  const AccessCount& accesses() const { return accesses_; }
  // Done by copy() and fill().
  std::uint64_t bulk_bytes() const { return bulk_bytes_; }
  vme_cpu& cpu() { return *cpu_; }

 private:
  std::uint32_t copy_flags(ByteOrder order) const {
    const std::uint32_t modes = (mode_ << VME_MMU_SRC_SHIFT) | (mode_ << VME_MMU_DST_SHIFT);
    const std::uint32_t flags = modes | VME_OVERLAP_PROPAGATE;
    return order == ByteOrder::kDescending ? flags | VME_BACKWARD : flags;
  }
  void count(std::uint64_t bytes) {
    ++accesses_.operations;
    accesses_.bytes += bytes;
  }

  vme_cpu* cpu_;
  unsigned mode_ = 0;
  AccessCount accesses_;
  std::uint64_t bulk_bytes_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_HART_MEMORY_H_
