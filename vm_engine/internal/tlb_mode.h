// The soft TLB of one mmu mode: the table that emitted code probes, what its comparators
// do not say, and a few entries that were replaced last.
#ifndef VM_ENGINE_INTERNAL_TLB_MODE_H_
#define VM_ENGINE_INTERNAL_TLB_MODE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "vm_engine/internal/guest_memory.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {

inline constexpr std::uint64_t kEmptyComparator = ~std::uint64_t{0};
inline constexpr std::uint64_t kSlowComparator = VME_TLB_SLOW;
inline constexpr vme_tlb_entry kEmptyEntry = {kEmptyComparator, kEmptyComparator, kEmptyComparator,
                                              0};

struct TlbDetail {
  std::uint64_t gva_page = kEmptyComparator;  // of no page
  std::uint64_t gpa_page = 0;
  PageKind kind = PageKind::kPlain;
  bool has_host = false;
  bool recoverable = false;
  vm_mem::DirtyLog* dirty_log = nullptr;
  std::uint64_t region_offset = 0;
};

class TlbMode {
 public:
  static constexpr std::size_t kVictims = 8;

  TlbMode();

  vme_tlb_entry* table() { return entries_.data(); }
  vme_tlb_entry& entry_of(std::uint64_t gva) { return entries_[index_of(gva)]; }
  const TlbDetail& detail_of(std::uint64_t gva) const { return details_[index_of(gva)]; }

  // Whether the entry that `gva` selects is that of its page, a victim being put back there
  // where it is one.
  bool find(std::uint64_t gva);
  void enter(const vme_tlb_entry& entry, const TlbDetail& detail);
  // Opens the page of `gva` for direct stores, where it is memory that may be written so.
  // Needs:  find(gva), and that its comparator for writing is not empty.
  void open_for_writing(std::uint64_t gva);

  void forget_page(std::uint64_t gva);
  // Pages, by their first bytes.
  void forget_range(std::uint64_t first_page, std::uint64_t last_page);
  void forget_all();

 private:
  struct Victim {
    vme_tlb_entry entry = kEmptyEntry;
    TlbDetail detail;
  };

  static std::size_t index_of(std::uint64_t gva) {
    return (gva >> VME_PAGE_BITS) & (VME_TLB_ENTRIES - 1);
  }
  void close(std::size_t index);
  void drop(std::size_t index);
  void retire(std::size_t index);

  std::array<vme_tlb_entry, VME_TLB_ENTRIES> entries_;
  std::array<TlbDetail, VME_TLB_ENTRIES> details_;
  std::array<Victim, kVictims> victims_;  // none is open for direct stores
  std::size_t next_victim_ = 0;
  bool used_ = false;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_TLB_MODE_H_
