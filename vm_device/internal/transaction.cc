#include "vm_device/internal/transaction.h"

namespace vm_device::internal {
namespace {

constinit thread_local TransactionEntry* innermost = nullptr;

}  // namespace

TransactionEntry::TransactionEntry(EntryKind kind, const vm_mem::MmioHandler* device)
    : device_(device),
      outer_(innermost),
      kind_(kind),
      depth_(device_depth() + (kind == EntryKind::kMmio ? 1 : 0)) {
  innermost = this;
}

TransactionEntry::~TransactionEntry() { innermost = outer_; }

bool TransactionEntry::holds(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost; entry != nullptr; entry = entry->outer_) {
    if (entry->device_ == device) return true;
  }
  return false;
}

bool TransactionEntry::holds_other_than(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost; entry != nullptr; entry = entry->outer_) {
    if (entry->device_ != device && entry->device_ != nullptr) return true;
  }
  return false;
}

bool TransactionEntry::in_dma_of_other_than(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost; entry != nullptr; entry = entry->outer_) {
    const bool other = entry->device_ != device && entry->device_ != nullptr;
    if (entry->kind_ == EntryKind::kDma && other) return true;
  }
  return false;
}

int TransactionEntry::device_depth() { return innermost == nullptr ? 0 : innermost->depth_; }

void TransactionEntry::note_refusal() {
  if (innermost != nullptr) innermost->refused_ = true;
}

}  // namespace vm_device::internal
