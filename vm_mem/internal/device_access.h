// Access to MMIO: cuts runs into elements and hands each to the device once.
#ifndef VM_MEM_INTERNAL_DEVICE_ACCESS_H_
#define VM_MEM_INTERNAL_DEVICE_ACCESS_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/section_walk.h"

namespace vm_mem::internal {

// The largest of 8, 4, 2 and 1 that divides `address` and is not above `bytes`.
// Needs: bytes > 0. For an element that has to be aligned at two addresses, their
// bitwise or.
unsigned element_bytes(std::uint64_t address, std::uint64_t bytes);

// How far a device came: `fault` is what it answered to the element after `done`.
struct DeviceProgress {
  AccessFault fault = AccessFault::kNone;
  std::uint64_t done = 0;
};

// All elements of `run`, ascending. Needs: run.is_device().
DeviceProgress read_device(const Run& run, std::byte* to);
DeviceProgress write_device(const Run& run, const std::byte* from);

// One element: 1, 2, 4 or 8 bytes, aligned. In host byte order.
AccessFault read_element(const Run& run, unsigned bytes, std::byte* to);
AccessFault write_element(const Run& run, unsigned bytes, const std::byte* from);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_DEVICE_ACCESS_H_
