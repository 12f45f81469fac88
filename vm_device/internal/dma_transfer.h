// One call of DMA: where it goes, run by run, and what it reports.
#ifndef VM_DEVICE_INTERNAL_DMA_TRANSFER_H_
#define VM_DEVICE_INTERNAL_DMA_TRANSFER_H_

#include <cstdint>

#include "vm_device/dma_result.h"
#include "vm_device/dma_segment.h"
#include "vm_device/internal/iommu_port.h"
#include "vm_device/internal/transaction.h"
#include "vm_mem/access.h"

namespace vm_device::internal {

// While it lives this thread is in DMA of the device, for the MMIO bus and for the IOMMU.
class DmaTransfer {
 public:
  // Either may be null: DMA of no device, and DMA to guest addresses.
  DmaTransfer(IommuPort* port, const vm_mem::MmioHandler* initiator)
      : entry_(EntryKind::kDma, initiator), section_(port) {}

  IommuSection& section() { return section_; }

  // Calls move(GuestAddress, done, bytes), which gives an AccessResult, for the runs of
  // `range`, until one fails. For moves that go forward.
  template <typename Move>
  DmaResult move(const DmaSegment& range, DmaAccess access, Move move) {
    std::uint64_t done = 0;
    while (done < range.bytes) {
      const GuestSegment run = section_.next(range, done, access);
      if (run.bytes == 0) return refused(range.address + done, done);
      const vm_mem::AccessResult result = move(run.address, done, run.bytes);
      done += result.done;
      if (!result.ok()) [[unlikely]]
        return {fault_of(result.fault), done, range.address + done};
    }
    return {.done = done};
  }

  static DmaResult refused(std::uint64_t at, std::uint64_t done) {
    return {DmaFault::kTranslation, done, at};
  }
  DmaFault fault_of(vm_mem::AccessFault fault) const;

 private:
  TransactionEntry entry_;
  IommuSection section_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_DMA_TRANSFER_H_
