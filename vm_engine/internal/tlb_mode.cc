#include "vm_engine/internal/tlb_mode.h"

#include <utility>

namespace vm_engine::internal {
namespace {

constexpr auto kDirectStores = vm_mem::WriteCause::kStore;

}  // namespace

TlbMode::TlbMode() { entries_.fill(kEmptyEntry); }

bool TlbMode::find(std::uint64_t gva) {
  const std::uint64_t page = gva & kPageMask;
  const std::size_t index = index_of(gva);
  if (details_[index].gva_page == page) return true;
  for (Victim& victim : victims_) {
    if (victim.detail.gva_page != page) continue;
    close(index);
    std::swap(victim.entry, entries_[index]);
    std::swap(victim.detail, details_[index]);
    return true;
  }
  return false;
}

// What the page's former entry permitted counts no longer.
void TlbMode::enter(const vme_tlb_entry& entry, const TlbDetail& detail) {
  const std::size_t index = index_of(detail.gva_page);
  if (details_[index].gva_page == detail.gva_page) {
    drop(index);
  } else {
    retire(index);
  }
  entries_[index] = entry;
  details_[index] = detail;
  used_ = true;
}

void TlbMode::open_for_writing(std::uint64_t gva) {
  const TlbDetail& detail = details_[index_of(gva)];
  vme_tlb_entry& entry = entries_[index_of(gva)];
  if (!detail.has_host || (entry.write & kSlowComparator) == 0 || detail.is_guarded()) return;
  if (detail.dirty_log != nullptr) {
    open_pages_->note(OpenPages::bucket_of(detail.region_offset));
    if (detail.is_guarded()) return;
    detail.dirty_log->mark(detail.region_offset, kPageBytes, kDirectStores);
  }
  entry.write &= ~kSlowComparator;
}

// A page that is open for direct stores was marked when it was opened. Marked again after
// the last of them, it is not lost to a harvest that came in between.
void TlbMode::close(std::size_t index) {
  vme_tlb_entry& entry = entries_[index];
  if ((entry.write & kSlowComparator) != 0) return;
  entry.write |= kSlowComparator;
  const TlbDetail& detail = details_[index];
  if (detail.dirty_log != nullptr)
    detail.dirty_log->mark(detail.region_offset, kPageBytes, kDirectStores);
}

void TlbMode::close_guarded() {
  if (!used_) return;
  for (std::size_t index = 0; index < VME_TLB_ENTRIES; ++index) {
    if (details_[index].is_guarded()) close(index);
  }
}

void TlbMode::find_open_pages(OpenPages::Words& found) const {
  if (!used_) return;
  for (std::size_t index = 0; index < VME_TLB_ENTRIES; ++index) {
    const TlbDetail& detail = details_[index];
    if (detail.dirty_log == nullptr || (entries_[index].write & kSlowComparator) != 0) continue;
    OpenPages::add(OpenPages::bucket_of(detail.region_offset), found);
  }
}

void TlbMode::drop(std::size_t index) {
  close(index);
  entries_[index] = kEmptyEntry;
  details_[index] = TlbDetail{};
}

void TlbMode::retire(std::size_t index) {
  if (details_[index].gva_page == kEmptyComparator) return;
  close(index);
  victims_[next_victim_] = Victim{entries_[index], details_[index]};
  next_victim_ = (next_victim_ + 1) % kVictims;
}

void TlbMode::forget_page(std::uint64_t gva) {
  const std::uint64_t page = gva & kPageMask;
  if (details_[index_of(gva)].gva_page == page) drop(index_of(gva));
  for (Victim& victim : victims_) {
    if (victim.detail.gva_page == page) victim = Victim{};
  }
}

void TlbMode::forget_range(std::uint64_t first_page, std::uint64_t last_page) {
  if (!used_) return;
  if (first_page == last_page) return forget_page(first_page);
  const auto holds = [&](const TlbDetail& detail) {
    return detail.gva_page != kEmptyComparator &&
           detail.gva_page - first_page <= last_page - first_page;
  };
  for (std::size_t index = 0; index < VME_TLB_ENTRIES; ++index) {
    if (holds(details_[index])) drop(index);
  }
  for (Victim& victim : victims_) {
    if (holds(victim.detail)) victim = Victim{};
  }
}

void TlbMode::forget_all() {
  if (!used_) return;
  for (std::size_t index = 0; index < VME_TLB_ENTRIES; ++index) drop(index);
  victims_.fill(Victim{});
  used_ = false;
}

}  // namespace vm_engine::internal
