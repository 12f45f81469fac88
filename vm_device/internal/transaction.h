// The devices that the current transaction of this thread is in: those that an MMIO
// access has entered and those whose DMA is under way.
#ifndef VM_DEVICE_INTERNAL_TRANSACTION_H_
#define VM_DEVICE_INTERNAL_TRANSACTION_H_

#include "vm_mem/mmio_handler.h"

namespace vm_device::internal {

// How many devices may stand between the first access of a transaction and its last:
// each costs some frames of the host's stack, and the guest decides on the chain.
inline constexpr int kMaxDeviceDepth = 16;

enum class EntryKind { kMmio, kDma };

// A link of the chain for as long as it lives; links nest as scopes do.
class TransactionEntry {
 public:
  // `device` is null for DMA that belongs to no device.
  TransactionEntry(EntryKind kind, const vm_mem::MmioHandler* device)
      : device_(device),
        outer_(innermost_),
        kind_(kind),
        depth_(device_depth() + (kind == EntryKind::kMmio ? 1 : 0)) {
    innermost_ = this;
  }
  TransactionEntry(const TransactionEntry&) = delete;
  TransactionEntry& operator=(const TransactionEntry&) = delete;
  ~TransactionEntry() { innermost_ = outer_; }

  // Whether an access made directly under this link was refused as re-entrant.
  bool was_refused() const { return refused_; }

  static bool holds(const vm_mem::MmioHandler* device);
  static bool holds_other_than(const vm_mem::MmioHandler* device);
  static bool in_dma_of_other_than(const vm_mem::MmioHandler* device);
  static int device_depth() { return innermost_ == nullptr ? 0 : innermost_->depth_; }
  static void note_refusal();

 private:
  static constinit thread_local TransactionEntry* innermost_;

  const vm_mem::MmioHandler* device_;
  TransactionEntry* outer_;
  EntryKind kind_;
  int depth_;
  bool refused_ = false;
};

// Defined where it is used, so that it is reached without a call.
inline constinit thread_local TransactionEntry* TransactionEntry::innermost_ = nullptr;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_TRANSACTION_H_
