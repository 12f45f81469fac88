// The soft TLB of one mmu mode: the table that emitted code probes, what its comparators
// do not say, and a few entries that were replaced last.
#ifndef VM_ENGINE_INTERNAL_TLB_MODE_H_
#define VM_ENGINE_INTERNAL_TLB_MODE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vm_engine/internal/guest_memory.h"
#include "vm_engine/internal/open_pages.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {

inline constexpr std::uint64_t kEmptyComparator = ~std::uint64_t{0};
inline constexpr std::uint64_t kSlowComparator = VME_TLB_SLOW;
inline constexpr vme_tlb_entry kEmptyEntry = {kEmptyComparator, kEmptyComparator, kEmptyComparator,
                                              0};

// The mark of memory whose writes are not tracked: always there.
inline constinit std::atomic<std::uint8_t> always_marked{vm_mem::kMarkDirty};

struct alignas(64) TlbDetail {
  std::uint64_t gva_page = kEmptyComparator;  // of no page
  std::uint64_t gpa_page = 0;
  vm_mem::DirtyLog* dirty_log = nullptr;
  std::uint64_t region_offset = 0;
  const std::atomic<std::uint8_t>* mark = &always_marked;  // the page's byte in dirty_log
  PageKind kind = PageKind::kPlain;
  bool has_host = false;
  bool direct = false;  // it has, and the host cannot fail to provide it

  // After `bytes` were stored `offset` into the page.
  void mark_written(std::uint64_t offset, std::uint64_t bytes, vm_mem::WriteCause cause) const {
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the bytes come first
    if (mark->load(std::memory_order_relaxed) != vm_mem::kMarkDirty) [[unlikely]]
      dirty_log->mark(region_offset + offset, bytes, cause);
  }
  bool is_guarded() const {
    return dirty_log != nullptr && dirty_log->is_guarded(region_offset / vm_mem::kDirtyPageBytes);
  }
};

class TlbMode {
 public:
  static constexpr std::size_t kVictims = 8;

  TlbMode();

  vme_tlb_entry* table() { return entries_.data(); }
  // The same, for who has the table: the entry of `gva`, and its detail by its place.
  static const vme_tlb_entry& entry_in(const vme_tlb_entry* table, std::uint64_t gva) {
    return *reinterpret_cast<const vme_tlb_entry*>(reinterpret_cast<const std::byte*>(table) +
                                                   entry_offset(gva));
  }
  static const TlbDetail& detail_in(const vme_tlb_entry* table, std::uint64_t gva) {
    static_assert(sizeof(TlbDetail) == 2 * sizeof(vme_tlb_entry));
    return *reinterpret_cast<const TlbDetail*>(
        reinterpret_cast<const std::byte*>(table + VME_TLB_ENTRIES) + 2 * entry_offset(gva));
  }
  vme_tlb_entry& entry_of(std::uint64_t gva) { return entries_[index_of(gva)]; }
  const TlbDetail& detail_of(std::uint64_t gva) const { return details_[index_of(gva)]; }

  // Whether the entry that `gva` selects is that of its page, a victim being put back there
  // where it is one.
  bool find(std::uint64_t gva);
  void enter(const vme_tlb_entry& entry, const TlbDetail& detail);
  // Opens the page of `gva` for direct stores, where it is memory that may be written so and
  // nobody is to be told of each store. Who wants to be told from then on has close_guarded()
  // called on the vCPU's thread.
  // Needs:  find(gva), and that its comparator for writing is not empty.
  void open_for_writing(std::uint64_t gva);

  void close_guarded();

  // Where open_for_writing() notes what it opens. Needs: it outlives this object.
  void note_open_pages_in(OpenPages& open_pages) { open_pages_ = &open_pages; }
  void find_open_pages(OpenPages::Words& found) const;
  bool may_execute(std::uint64_t gva) const {
    return entries_[index_of(gva)].execute == (gva & kPageMask);
  }

  void forget_page(std::uint64_t gva);
  // Pages, by their first bytes.
  void forget_range(std::uint64_t first_page, std::uint64_t last_page);
  void forget_all();

 private:
  struct Victim {
    vme_tlb_entry entry = kEmptyEntry;
    TlbDetail detail;
  };

  static std::size_t entry_offset(std::uint64_t gva) {
    return (gva >> VME_TLB_INDEX_SHIFT) & ((VME_TLB_ENTRIES - 1) * sizeof(vme_tlb_entry));
  }
  static std::size_t index_of(std::uint64_t gva) {
    return (gva >> VME_PAGE_BITS) & (VME_TLB_ENTRIES - 1);
  }
  void close(std::size_t index);
  void drop(std::size_t index);
  void retire(std::size_t index);

  alignas(64) std::array<vme_tlb_entry, VME_TLB_ENTRIES> entries_;
  std::array<TlbDetail, VME_TLB_ENTRIES> details_;  // right behind them: see detail_in()
  std::array<Victim, kVictims> victims_;            // none is open for direct stores
  std::size_t next_victim_ = 0;
  bool used_ = false;
  OpenPages* open_pages_ = nullptr;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_TLB_MODE_H_
