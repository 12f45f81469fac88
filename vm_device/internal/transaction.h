// The devices that the current transaction of this thread is in: those that an MMIO
// access has entered, those whose DMA is under way, and those that led to work which
// was put off and is done by this thread.
#ifndef VM_DEVICE_INTERNAL_TRANSACTION_H_
#define VM_DEVICE_INTERNAL_TRANSACTION_H_

#include <array>
#include <cstddef>
#include <span>

#include "vm_mem/mmio_handler.h"

namespace vm_device::internal {

// How many devices may stand between the first access of a transaction and its last:
// each costs some frames of the host's stack, and the guest decides on the chain.
inline constexpr int kMaxDeviceDepth = 16;

// kResumed: not in a device, but on behalf of those of a TransactionChain.
enum class EntryKind { kMmio, kDma, kResumed };

// The devices of a transaction, kept for work that is done later: a notification that
// waits, DMA that was submitted. A value; no allocation. The devices are compared, never
// called: they may be gone.
class TransactionChain {
 public:
  // Of work that no device led to.
  TransactionChain() = default;
  // Of this thread.
  static TransactionChain current();

  // A full chain lets nothing be entered any more: what does not fit is not lost.
  void add(const vm_mem::MmioHandler* device);
  void add(const TransactionChain& other);
  bool holds(const vm_mem::MmioHandler* device) const;
  std::span<const vm_mem::MmioHandler* const> devices() const {
    return std::span(devices_).first(count_);
  }

 private:
  std::array<const vm_mem::MmioHandler*, kMaxDeviceDepth> devices_{};
  std::size_t count_ = 0;
};

// A link of the chain for as long as it lives; links nest as scopes do.
class TransactionEntry {
 public:
  // `device` is null for DMA that belongs to no device.
  TransactionEntry(EntryKind kind, const vm_mem::MmioHandler* device)
      : TransactionEntry(kind, device, device_depth() + (kind == EntryKind::kMmio ? 1 : 0)) {}
  TransactionEntry(const TransactionEntry&) = delete;
  TransactionEntry& operator=(const TransactionEntry&) = delete;
  ~TransactionEntry() { innermost_ = outer_; }

  // Whether an access made directly under this link was refused as re-entrant.
  bool was_refused() const { return refused_; }

  // Whether the device is one of those that led to what this thread does.
  static bool holds(const vm_mem::MmioHandler* device);
  static int device_depth() { return innermost_ == nullptr ? 0 : innermost_->depth_; }
  static void note_refusal();

  // Of this thread's own accesses alone, without what led to work that it resumes.
  static bool is_inside(const vm_mem::MmioHandler* device);
  static bool is_inside_other_than(const vm_mem::MmioHandler* device);
  static bool in_dma_of_other_than(const vm_mem::MmioHandler* device);

 protected:
  TransactionEntry(EntryKind kind, const vm_mem::MmioHandler* device, int depth)
      : device_(device), outer_(innermost_), kind_(kind), depth_(depth) {
    innermost_ = this;
  }

 private:
  friend class TransactionChain;

  static constinit thread_local TransactionEntry* innermost_;

  const vm_mem::MmioHandler* device_;
  TransactionEntry* outer_;
  EntryKind kind_;
  int depth_;
  bool refused_ = false;
};

// Goes on with work that was put off: until the object goes, what the thread does is part
// of the chain, too. The thread's own links stay: whatever it is in, it is in.
class ResumedTransaction : public TransactionEntry {
 public:
  explicit ResumedTransaction(const TransactionChain& chain)
      : TransactionEntry(EntryKind::kResumed, nullptr, depth_with(chain)), chain_(chain) {}

  const TransactionChain& chain() const { return chain_; }

 private:
  // Devices that stand in both count once.
  static int depth_with(const TransactionChain& chain);

  const TransactionChain chain_;
};

// Defined where it is used, so that it is reached without a call.
inline constinit thread_local TransactionEntry* TransactionEntry::innermost_ = nullptr;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_TRANSACTION_H_
