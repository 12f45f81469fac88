#include "vm_device/internal/transaction.h"

#include <algorithm>

namespace vm_device::internal {

void TransactionChain::add(const vm_mem::MmioHandler* device) {
  if (device == nullptr || count_ == devices_.size() || holds(device)) return;
  devices_[count_++] = device;
}

void TransactionChain::add(const TransactionChain& other) {
  for (const vm_mem::MmioHandler* device : other.devices()) add(device);
}

bool TransactionChain::holds(const vm_mem::MmioHandler* device) const {
  const auto all = devices();
  return std::find(all.begin(), all.end(), device) != all.end();
}

TransactionChain TransactionChain::current() {
  TransactionChain chain;
  for (const TransactionEntry* it = TransactionEntry::innermost_; it != nullptr; it = it->outer_) {
    chain.add(it->device_);
    if (it->kind_ == EntryKind::kResumed) {
      chain.add(static_cast<const ResumedTransaction*>(it)->chain());
    }
  }
  return chain;
}

bool TransactionEntry::holds(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost_; entry != nullptr; entry = entry->outer_) {
    if (entry->device_ == device) return true;
    if (entry->kind_ == EntryKind::kResumed &&
        static_cast<const ResumedTransaction*>(entry)->chain().holds(device)) {
      return true;
    }
  }
  return false;
}

bool TransactionEntry::is_inside(const vm_mem::MmioHandler* device) {
  for (const TransactionEntry* entry = innermost_; entry != nullptr; entry = entry->outer_) {
    if (entry->device_ == device) return true;
  }
  return false;
}

bool TransactionEntry::is_inside_other_than(const vm_mem::MmioHandler* device) {
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

int ResumedTransaction::depth_with(const TransactionChain& chain) {
  const auto all = chain.devices();
  if (all.size() == kMaxDeviceDepth) return kMaxDeviceDepth;
  const auto added =
      std::count_if(all.begin(), all.end(), [](const auto* device) { return !holds(device); });
  return device_depth() + static_cast<int>(added);
}

}  // namespace vm_device::internal
