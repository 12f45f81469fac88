// A NOR flash bank that answers CFI queries, blank and with every block locked. U-Boot
// for QEMU's virt machine expects two, and takes every address for flash without them.
#ifndef VMRUN_FLASH_H_
#define VMRUN_FLASH_H_

#include <cstdint>

#include "vm_device/state_bytes.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

// Two 16-bit chips side by side, Intel command set: read array, read identifier, CFI
// query, status. Erasing and programming fail with "block locked".
//
// Threads:  the hart's.
// Source:   JEDEC JESD68.01 (CFI), Intel StrataFlash (28F128J3) data sheet.
class Flash final : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

  // For a snapshot. What was refused, the reader says.
  void save(vm_device::StateWriter& to) const;
  void load(vm_device::StateReader& from);

 private:
  enum class Mode : std::uint8_t { kArray, kIdentifier, kQuery, kStatus };

  std::uint16_t chip_value(std::uint64_t chip_offset) const;

  Mode mode_ = Mode::kArray;
  std::uint8_t status_ = 0x80;
};

}  // namespace vmrun

#endif  // VMRUN_FLASH_H_
