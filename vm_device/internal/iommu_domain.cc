#include "vm_device/internal/iommu_domain.h"

namespace vm_device::internal {
namespace {

// Pages that one miss looks at, at most: what a long DMA needs next, and what goes on
// where the run that it needs now does.
constexpr int kPagesPerWalk = 32;

bool goes_on(const Iotlb::Entry& run, const IommuTable::Slot& slot) {
  return slot.first - run.first - 1 == run.extent && slot.to - slot.first == run.shift &&
         slot.permitted == run.permitted;
}

Iotlb::Entry entry_of(const IommuTable::Slot& slot) {
  return {slot.first, slot.last - slot.first, slot.to - slot.first, slot.permitted};
}

}  // namespace

IommuDomain::~IommuDomain() { table_.free_nodes(waiting_); }

void IommuDomain::refresh(Iotlb& tlb) const {
  const std::uint64_t now = generation();
  if (tlb.domain != serial_ || !replay(tlb, now)) tlb.clear();
  tlb.domain = serial_;
  tlb.generation = now;
}

// Drops what was invalidated since. An entry of the log that is being overwritten
// meanwhile is noticed: who overwrites it has advanced the generation before.
bool IommuDomain::replay(Iotlb& tlb, std::uint64_t now) const {
  if (now - tlb.generation >= kLogged) return false;
  for (std::uint64_t n = tlb.generation; n != now; ++n) {
    const Range& range = log_[n % kLogged];
    tlb.drop(range.first.load(std::memory_order_acquire),
             range.last.load(std::memory_order_acquire));
  }
  return generation() - tlb.generation < kLogged;
}

const Iotlb::Entry* IommuDomain::walk(Iotlb& tlb, std::uint64_t iova, std::uint64_t last,
                                      std::uint8_t access, bool& mapped) const {
  Iotlb::Entry wanted;
  Iotlb::Entry run;
  const auto keep = [&] {
    if (wanted.permitted == 0) {
      wanted = run;
    } else if (run.first != wanted.first) {
      tlb.insert(run.first, run);
    }
  };
  int pages = 0;
  table_.find_run(iova, [&](const IommuTable::Slot& slot) {
    if (!slot.mapped()) return false;
    const bool longer = run.permitted != 0 && goes_on(run, slot);
    if (longer) {
      run.extent += slot.last - slot.first + 1;
    } else {
      if (run.permitted != 0) keep();
      run = entry_of(slot);
    }
    return ++pages < kPagesPerWalk && (slot.last < last || longer || pages == 1);
  });
  mapped = run.permitted != 0;
  if (!mapped) return nullptr;
  keep();
  const Iotlb::Entry& entry = tlb.insert(iova, wanted);
  return (entry.permitted & access) == access ? &entry : nullptr;
}

void IommuDomain::invalidate(std::uint64_t first, std::uint64_t last) {
  const std::uint64_t now = generation_.load(std::memory_order_relaxed);
  Range& range = log_[now % kLogged];
  range.first.store(first, std::memory_order_release);
  range.last.store(last, std::memory_order_release);
  generation_.store(now + 1);
  const std::uint64_t epoch = epochs_.advance();
  for (IommuTable::Node* node = table_.take_unlinked(); node != nullptr; node = node->next) {
    node->epoch = epoch;
    (waiting_ == nullptr ? waiting_ : newest_->next) = node;
    newest_ = node;
  }
}

// Who is announced is in DMA for certain; the barrier is for who is not.
void IommuDomain::reclaim() {
  if (waiting_ == nullptr || epochs_.users_before(waiting_->epoch).threads > 0) return;
  const std::uint64_t oldest = epochs_.oldest();
  IommuTable::Node* const unused = waiting_;
  IommuTable::Node* last = nullptr;
  for (; waiting_ != nullptr && waiting_->epoch <= oldest; waiting_ = waiting_->next) {
    last = waiting_;
  }
  if (last == nullptr) return;
  last->next = nullptr;
  table_.free_nodes(unused);
}

}  // namespace vm_device::internal
