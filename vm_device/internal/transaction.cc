#include "vm_device/internal/transaction.h"

namespace vm_device::internal {
bool TransactionEntry::holds(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost_; entry != nullptr; entry = entry->outer_) {
    if (entry->device_ == device) return true;
  }
  return false;
}

bool TransactionEntry::holds_other_than(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost_; entry != nullptr; entry = entry->outer_) {
    if (entry->device_ != device && entry->device_ != nullptr) return true;
  }
  return false;
}

bool TransactionEntry::in_dma_of_other_than(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost_; entry != nullptr; entry = entry->outer_) {
    const bool other = entry->device_ != device && entry->device_ != nullptr;
    if (entry->kind_ == EntryKind::kDma && other) return true;
  }
  return false;
}

void TransactionEntry::note_refusal() {
  if (innermost_ != nullptr) innermost_->refused_ = true;
}

}  // namespace vm_device::internal
