#include "vm_engine/internal/cpu.h"

#include <utility>

#include "vm_engine/internal/arena_views.h"

namespace vm_engine::internal {
namespace {

constexpr std::uint32_t kEverything = VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE;

const std::atomic<std::uint8_t>* mark_of(const Page& page) {
  if (page.dirty_log == nullptr) return &always_marked;
  return page.dirty_log->bytes() + page.region_offset / vm_mem::kDirtyPageBytes;
}

}  // namespace

Cpu::Cpu(vme_engine& engine, std::unique_ptr<GuestMemory> memory)
    : vme_cpu{}, engine_(engine), memory_(std::move(memory)) {
  reserved = kMagic;
  for (unsigned mode = 0; mode < VME_MMU_MODES; ++mode) {
    tlb[mode].mask = std::uint64_t{VME_TLB_ENTRIES - 1} * VME_TLB_ENTRY_BYTES;
    tlb[mode].table = modes_[mode].table();
  }
  for (TlbMode& mode : modes_) mode.note_open_pages_in(open_pages_);
  engine_.cpus.add(*this);
}

Cpu::~Cpu() {
  exclusive_line_.drop();
  flush();
  engine_.cpus.remove(*this);
}

// Flushed first: the pages to be marked are those of the map that is still held.
void Cpu::sync() {
  if (attention_.load(std::memory_order_acquire) != 0) engine_.cpus.attend(*this);
  if (!memory_->stale()) return;
  exclusive_line_.drop();
  flush();
  memory_->renew();
  if (arena_ != nullptr) arena_->renew();
}

void Cpu::set_arena(ArenaViews* arena) {
  arena_ = arena;
  fastmem_base = arena == nullptr ? nullptr : arena->base();
}

void Cpu::park() {
  park_wanted_ = uses_ > 0;
  if (park_wanted_) return;
  exclusive_line_.drop();
  flush();
  if (arena_ != nullptr) arena_->mark_tracked();
  memory_->park();
  engine_.cpus.park(*this);
}

void Cpu::call_in() {
  attention_.fetch_or(kCalled, std::memory_order_release);
  __atomic_fetch_or(&exit_request, std::uint32_t{VME_EXIT_FLUSH}, __ATOMIC_RELEASE);
}

void Cpu::answer() {
  attention_.store(0, std::memory_order_relaxed);
  __atomic_fetch_and(&exit_request, ~std::uint32_t{VME_EXIT_FLUSH}, __ATOMIC_RELAXED);
}

void Cpu::close_guarded_pages() {
  OpenPages::Words open{};
  // Whoever is told of what is closed may open others.
  for (TlbMode& mode : modes_) mode.close_guarded();
  for (const TlbMode& mode : modes_) mode.find_open_pages(open);
  open_pages_.keep(open);
}

std::optional<std::uint64_t> Cpu::executable_gpa(std::uint64_t gva) const {
  for (const TlbMode& mode : modes_) {
    if (mode.may_execute(gva)) return mode.detail_of(gva).gpa_page | (gva & ~kPageMask);
  }
  return std::nullopt;
}

void Cpu::flush() {
  for (TlbMode& mode : modes_) mode.forget_all();
  forget_pieces();
}

void Cpu::flush_page(std::uint64_t gva) {
  for (TlbMode& mode : modes_) mode.forget_page(gva);
  forget_pieces();
}

void Cpu::flush_range(std::uint64_t gva, std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::uint64_t first = gva & kPageMask;
  const bool everything = bytes > ~std::uint64_t{0} - (gva - first);
  const std::uint64_t last = everything ? first - kPageBytes : (gva + bytes - 1) & kPageMask;
  for (TlbMode& mode : modes_) mode.forget_range(first, last);
  forget_pieces();
}

std::uint64_t& Cpu::comparator(vme_tlb_entry& entry, std::uint32_t access) {
  if (access == VME_ACCESS_WRITE) return entry.write;
  return access == VME_ACCESS_EXECUTE ? entry.execute : entry.read;
}

Place Cpu::resolve(std::uint64_t gva, std::uint32_t access, unsigned mode) {
  TlbMode& own = modes_[mode];
  if (!own.find(gva) || comparator(own.entry_of(gva), access) == kEmptyComparator) {
    std::uint64_t gpa_page = kEmptyComparator;
    std::uint32_t permitted = 0;
    vme_rc rc = translate(gva, access, mode, gpa_page, permitted);
    if (rc != VME_OK) return Place{.rc = rc};
    const Page page = memory_->page(gpa_page, access);
    if (page.rc != VME_OK) return Place{.rc = page.rc, .gpa = gpa_page | (gva & ~kPageMask)};
    install(gva, mode, gpa_page, page, permitted);
  }
  if (access == VME_ACCESS_WRITE) own.open_for_writing(gva);
  const TlbDetail& detail = own.detail_of(gva);
  return Place{.gpa = detail.gpa_page | (gva & ~kPageMask), .kind = detail.kind};
}

vme_rc Cpu::translate(std::uint64_t gva, std::uint32_t access, unsigned mode,
                      std::uint64_t& gpa_page, std::uint32_t& permitted) const {
  if (engine_.translate == nullptr) {
    gpa_page = gva & kPageMask;
    permitted = kEverything;
    return VME_OK;
  }
  const vme_rc rc =
      engine_.translate(engine_.translate_opaque, gva, access, mode, &gpa_page, &permitted);
  gpa_page &= kPageMask;
  if (rc != VME_OK) return rc;
  return (permitted & access) != 0 ? VME_OK : VME_PROT;
}

// What the translation permits but the memory refuses (a write to ROM) or serves in
// another way (with callbacks, a flash that is read as memory and written as a device)
// stays out, so that it is asked for again.
void Cpu::install(std::uint64_t gva, unsigned mode, std::uint64_t gpa_page, const Page& page,
                  std::uint32_t permitted) {
  vme_tlb_entry entry = kEmptyEntry;
  const std::uint64_t fast = gva & kPageMask;
  const std::uint64_t tag = page.host != nullptr ? fast : fast | kSlowComparator;
  for (const std::uint32_t access :
       {std::uint32_t{VME_ACCESS_READ}, std::uint32_t{VME_ACCESS_WRITE},
        std::uint32_t{VME_ACCESS_EXECUTE}}) {
    if ((permitted & access) == 0) continue;
    const Page other = memory_->page(gpa_page, access);
    if (other.rc != VME_OK || other.kind != page.kind) continue;
    comparator(entry, access) = access == VME_ACCESS_WRITE ? fast | kSlowComparator : tag;
  }
  if (page.recoverable && !has_indirect_) {
    has_indirect_ = true;
    plans_[static_cast<std::size_t>(Looks::kDirect)] = {};
  }
  entry.addend = reinterpret_cast<std::uintptr_t>(page.host) - fast;
  modes_[mode].enter(entry, TlbDetail{.gva_page = fast,
                                      .gpa_page = gpa_page,
                                      .dirty_log = page.dirty_log,
                                      .region_offset = page.region_offset,
                                      .mark = mark_of(page),
                                      .kind = page.kind,
                                      .has_host = page.host != nullptr,
                                      .direct = page.host != nullptr && !page.recoverable});
}

std::byte* Cpu::host_pointer(std::uint64_t gva, unsigned mode) {
  if (!modes_[mode].detail_of(gva).has_host) return nullptr;
  return reinterpret_cast<std::byte*>(gva + modes_[mode].entry_of(gva).addend);
}

bool Cpu::enter(std::uint64_t gva, std::uint64_t bytes, std::uint32_t access, unsigned mode,
                Reach& reach) {
  sync();
  if (resolve(gva, access, mode).rc != VME_OK) return false;
  const auto comparator = access == VME_ACCESS_WRITE ? &vme_tlb_entry::write : &vme_tlb_entry::read;
  return find(tlb[mode].table, gva, bytes, comparator, reach) && reach.detail->direct;
}

void Cpu::make_plan(Helper helper, std::uint32_t flags) {
  const Looks looks = has_indirect_ ? Looks::kEach : Looks::kDirect;
  auto& plans = plans_[static_cast<std::size_t>(looks)];
  plans[(flags >> VME_ELEM_SHIFT) & 3].of[static_cast<std::size_t>(helper)] = plan_for(flags);
}

// Only flags that change nothing where plain memory is all there: such an access has one step,
// which does not fail.
Cpu::Plan Cpu::plan_for(std::uint32_t flags) const {
  constexpr std::uint32_t kPropagate = VME_OVERLAP_PROPAGATE;
  constexpr std::uint32_t kKnown = 0x377 | VME_BACKWARD | kPropagate | VME_OVERLAP_DISJOINT |
                                   VME_ATOMIC_OR_NOTHING | VME_POLL | VME_NO_MMIO | VME_ONCE;
  const bool propagates_down =
      (flags & kPropagate) != 0 && (flags & (VME_BACKWARD | VME_OVERLAP_DISJOINT)) != 0;
  if ((flags & ~kKnown) != 0 || propagates_down) return Plan{.flags = flags};
  return Plan{.flags = flags,
              .most_bytes = (flags & VME_ONCE) != 0 ? kStoredOnce : kPageBytes,
              .element_mask = (std::uint64_t{1} << ((flags >> VME_ELEM_SHIFT) & 3)) - 1,
              .source = tlb[(flags >> VME_MMU_SRC_SHIFT) & 7].table,
              .destination = tlb[(flags >> VME_MMU_DST_SHIFT) & 7].table};
}

const Cpu::Piece* Cpu::piece(std::uint64_t gva, std::uint64_t bytes, std::uint32_t access,
                             unsigned mode) {
  Piece& kept = pieces_[access / 2];
  if (!kept.holds(gva, bytes, mode)) kept = find_piece(gva, bytes, access, mode);
  return kept.holds(gva, bytes, mode) ? &kept : nullptr;
}

// Without translation it is all of the region that is shown there. Else as many pages as are
// asked for, up to the first that is not, or does not come next in the guest's memory.
Cpu::Piece Cpu::find_piece(std::uint64_t gva, std::uint64_t bytes, std::uint32_t access,
                           unsigned mode) {
  const std::uint64_t begin = gva & kPageMask;
  std::uint64_t gpa_page = 0;
  if (gpa_of(begin, access, mode, gpa_page) != VME_OK) return {};
  const Page page = memory_->page(gpa_page, access);
  if (page.rc != VME_OK || page.host == nullptr || page.recoverable) return {};
  std::uint64_t found = page.bytes;
  if (engine_.translate != nullptr) {
    const std::uint64_t most = found;
    std::uint64_t next = 0;
    found = kPageBytes;
    while (found - (gva - begin) < bytes && found < most &&
           gpa_of(begin + found, access, mode, next) == VME_OK && next == gpa_page + found) {
      found += kPageBytes;
    }
  }
  return Piece{.gva = begin,
               .bytes = found,
               .mode = mode,
               .host = page.host,
               .dirty_log = page.dirty_log,
               .region_offset = page.region_offset};
}

vme_rc Cpu::gpa_of(std::uint64_t page, std::uint32_t access, unsigned mode,
                   std::uint64_t& gpa_page) {
  const TlbDetail& detail = modes_[mode].detail_of(page);
  if (detail.gva_page == page &&
      comparator(modes_[mode].entry_of(page), access) != kEmptyComparator) {
    gpa_page = detail.gpa_page;
    return VME_OK;
  }
  std::uint32_t permitted = 0;
  return translate(page, access, mode, gpa_page, permitted);
}

vme_rc Cpu::fail(vme_rc rc, const Subject& subject, std::uint64_t at, std::uint64_t gpa) {
  fault = vme_fault{.rc = rc,
                    .access = static_cast<std::uint8_t>(subject.access),
                    .side = subject.side,
                    .site = VME_NO_SITE,
                    .gva = at,
                    .gpa = gpa,
                    .acc_gva = subject.gva,
                    .acc_size = subject.bytes,
                    .done = 0,
                    .host_pc = 0,
                    .guest_pc = 0};
  return rc;
}

}  // namespace vm_engine::internal
