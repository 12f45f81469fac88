#include "vm_engine/internal/cpu.h"

#include <utility>

namespace vm_engine::internal {
namespace {

constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
constexpr std::uint64_t kSlow = VME_TLB_SLOW;
constexpr std::uint32_t kEverything = VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE;

constexpr vme_tlb_entry kEmptyEntry = {kEmpty, kEmpty, kEmpty, 0};

}  // namespace

Cpu::Cpu(const vme_engine& engine, std::unique_ptr<GuestMemory> memory)
    : vme_cpu{}, engine_(engine), memory_(std::move(memory)) {
  reserved = kMagic;
  for (unsigned mode = 0; mode < VME_MMU_MODES; ++mode) {
    tlb[mode].mask = std::uint64_t{VME_TLB_ENTRIES - 1} * VME_TLB_ENTRY_BYTES;
    tlb[mode].table = tables_[mode].data();
  }
  for (Table& table : tables_) table.fill(kEmptyEntry);
  memory_->renew();
}

Cpu::~Cpu() { flush(); }

Cpu* Cpu::from(vme_cpu* cpu) {
  if (cpu == nullptr || cpu->reserved != kMagic) return nullptr;
  return static_cast<Cpu*>(cpu);
}

// Flushed first: the pages to be marked are those of the map that is still held.
void Cpu::sync() {
  if (!memory_->stale()) return;
  flush();
  memory_->renew();
}

void Cpu::park() {
  flush();
  memory_->park();
}

void Cpu::flush() {
  for (unsigned mode = 0; mode < VME_MMU_MODES; ++mode) {
    for (std::size_t index = 0; index < VME_TLB_ENTRIES; ++index) drop(mode, index);
  }
}

void Cpu::flush_page(std::uint64_t gva) {
  for (unsigned mode = 0; mode < VME_MMU_MODES; ++mode) drop(mode, index_of(gva));
}

// A page that is open for direct stores was marked when it was opened. Marked again after
// the last of them, it is not lost to a harvest that came in between.
void Cpu::drop(unsigned mode, std::size_t index) {
  vme_tlb_entry& entry = tables_[mode][index];
  const Detail& detail = details_[mode][index];
  if (detail.dirty_log != nullptr && entry.write != kEmpty && (entry.write & kSlow) == 0) {
    detail.dirty_log->mark(detail.region_offset, kPageBytes);
  }
  entry = kEmptyEntry;
}

std::size_t Cpu::index_of(std::uint64_t gva) {
  return (gva >> VME_PAGE_BITS) & (VME_TLB_ENTRIES - 1);
}

std::uint64_t& Cpu::comparator(vme_tlb_entry& entry, std::uint32_t access) {
  if (access == VME_ACCESS_WRITE) return entry.write;
  return access == VME_ACCESS_EXECUTE ? entry.execute : entry.read;
}

Place Cpu::resolve(std::uint64_t gva, std::uint32_t access, unsigned mode) {
  vme_tlb_entry& entry = tables_[mode][index_of(gva)];
  const Detail& detail = details_[mode][index_of(gva)];
  if ((comparator(entry, access) & ~kSlow) != (gva & kPageMask)) {
    std::uint64_t gpa_page = kEmpty;
    std::uint32_t permitted = 0;
    vme_rc rc = translate(gva, access, mode, gpa_page, permitted);
    if (rc != VME_OK) return Place{.rc = rc};
    const Page page = memory_->page(gpa_page, access);
    if (page.rc != VME_OK) return Place{.rc = page.rc, .gpa = gpa_page | (gva & ~kPageMask)};
    install(gva, mode, gpa_page, page, permitted);
  }
  if (access == VME_ACCESS_WRITE) open_for_writing(entry, detail);
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
  const std::uint64_t tag = page.host != nullptr ? fast : fast | kSlow;
  for (const std::uint32_t access :
       {std::uint32_t{VME_ACCESS_READ}, std::uint32_t{VME_ACCESS_WRITE},
        std::uint32_t{VME_ACCESS_EXECUTE}}) {
    if ((permitted & access) == 0) continue;
    const Page other = memory_->page(gpa_page, access);
    if (other.rc != VME_OK || other.kind != page.kind) continue;
    comparator(entry, access) = access == VME_ACCESS_WRITE ? fast | kSlow : tag;
  }
  entry.addend = reinterpret_cast<std::uintptr_t>(page.host) - fast;
  drop(mode, index_of(gva));
  tables_[mode][index_of(gva)] = entry;
  details_[mode][index_of(gva)] = Detail{.gpa_page = gpa_page,
                                         .kind = page.kind,
                                         .has_host = page.host != nullptr,
                                         .dirty_log = page.dirty_log,
                                         .region_offset = page.region_offset};
}

void Cpu::open_for_writing(vme_tlb_entry& entry, const Detail& detail) {
  if (!detail.has_host || (entry.write & kSlow) == 0) return;
  if (detail.dirty_log != nullptr) detail.dirty_log->mark(detail.region_offset, kPageBytes);
  entry.write &= ~kSlow;
}

std::byte* Cpu::host_pointer(std::uint64_t gva, unsigned mode) {
  if (!details_[mode][index_of(gva)].has_host) return nullptr;
  return reinterpret_cast<std::byte*>(gva + tables_[mode][index_of(gva)].addend);
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
