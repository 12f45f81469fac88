#include "tools/vmrun/mmu.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tools/vmrun/pmp.h"

namespace vmrun {
namespace {

constexpr unsigned kPageBits = 12;
constexpr unsigned kIndexBits = 9;
constexpr std::uint64_t kPageMask = ~((std::uint64_t{1} << kPageBits) - 1);

enum Entry : std::uint64_t {
  kValid = 1,
  kRead = 2,
  kWrite = 4,
  kExecute = 8,
  kUser = 16,
  kAccessed = 64,
  kDirty = 128,
};
constexpr unsigned kPpnShift = 10;
constexpr std::uint64_t kPpnMask = (std::uint64_t{1} << 44) - 1;
// Bits of extensions that this hart lacks, Svnapot and Svpbmt among them.
constexpr std::uint64_t kReserved = ~((std::uint64_t{1} << 54) - 1);

// Mode 0 is M; then U without and with MXR; then S with SUM in bit 0 and MXR in bit 1.
enum MmuMode : unsigned { kMachineMode = 0, kUserMode = 1, kSupervisorMode = 3 };
static_assert(kSupervisorMode + 3 < VME_MMU_MODES);

unsigned mode_of(Privilege privilege, std::uint64_t mstatus) {
  const unsigned mxr = (mstatus & kMstatusMxr) != 0 ? 1 : 0;
  const unsigned sum = (mstatus & kMstatusSum) != 0 ? 1 : 0;
  switch (privilege) {
    case Privilege::kUser: return kUserMode + mxr;
    case Privilege::kSupervisor: return kSupervisorMode + sum + 2 * mxr;
    default: return kMachineMode;
  }
}

constexpr unsigned levels_of(std::uint64_t satp) {
  switch (satp >> kSatpModeShift) {
    case kSatpSv39: return 3;
    case kSatpSv48: return 4;
    default: return 0;
  }
}

constexpr unsigned shift_of(unsigned level) { return kPageBits + kIndexBits * level; }

// The bits above those that are translated are copies of the highest of them.
constexpr bool is_canonical(std::uint64_t gva, unsigned levels) {
  const unsigned above = 64 - shift_of(levels);
  return static_cast<std::int64_t>(gva << above) >> above == static_cast<std::int64_t>(gva);
}

constexpr bool is_leaf(std::uint64_t entry) { return (entry & (kRead | kWrite | kExecute)) != 0; }

constexpr bool is_malformed(std::uint64_t entry) {
  if ((entry & kValid) == 0 || (entry & kReserved) != 0) return true;
  if ((entry & (kRead | kWrite)) == kWrite) return true;
  return !is_leaf(entry) && (entry & (kUser | kAccessed | kDirty)) != 0;
}

}  // namespace

struct Mmu::View {
  Privilege privilege;
  bool sum;
  bool mxr;
};

unsigned data_mode(const HartState& hart) {
  const std::uint64_t mstatus = hart.csrs.mstatus;
  if ((mstatus & kMstatusMprv) == 0) return mode_of(hart.privilege, mstatus);
  return mode_of(static_cast<Privilege>((mstatus & kMstatusMpp) >> 11), mstatus);
}

unsigned fetch_mode(const HartState& hart) { return mode_of(hart.privilege, 0); }

Mmu::View Mmu::view_of(unsigned mmu_mode) {
  if (mmu_mode == kMachineMode) return {Privilege::kMachine, false, false};
  if (mmu_mode < kSupervisorMode) return {Privilege::kUser, false, mmu_mode != kUserMode};
  const unsigned bits = mmu_mode - kSupervisorMode;
  return {Privilege::kSupervisor, (bits & 1) != 0, (bits & 2) != 0};
}

vme_rc Mmu::translate(void* opaque, std::uint64_t gva, std::uint32_t access, std::uint32_t mmu_mode,
                      std::uint64_t* page, std::uint32_t* permitted) {
  const Page found = static_cast<Mmu*>(opaque)->find(gva, access, view_of(mmu_mode));
  *page = found.physical;
  *permitted = found.permitted;
  return found.rc;
}

Mmu::Page Mmu::find(std::uint64_t gva, std::uint32_t access, const View& view) {
  Page page{VME_OK, gva & kPageMask, VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE};
  if (view.privilege != Privilege::kMachine && levels_of(hart_->csrs.satp) != 0) {
    page = walk(gva, access, view);
    if (page.rc != VME_OK) return page;
  }
  page.permitted &= pmp_permits(hart_->csrs, view.privilege, page.physical);
  if ((page.permitted & access) == 0) page.rc = VME_PROT;
  return page;
}

// An entry that somebody changes while A or D is set in it is looked at again.
Mmu::Page Mmu::walk(std::uint64_t gva, std::uint32_t access, const View& view) {
  const std::uint64_t satp = hart_->csrs.satp;
  unsigned level = levels_of(satp);
  if (!is_canonical(gva, level)) return {};
  std::uint64_t table = (satp & kSatpPpnMask) << kPageBits;
  while (level != 0) {
    --level;
    const std::uint64_t index = (gva >> shift_of(level)) & ((1u << kIndexBits) - 1);
    const std::uint64_t at = table + 8 * index;
    std::uint64_t entry = 0;
    if (const vme_rc rc = read_entry(at, entry); rc != VME_OK) return {.rc = rc};
    if (is_malformed(entry)) return {};
    if (!is_leaf(entry)) {
      table = ((entry >> kPpnShift) & kPpnMask) << kPageBits;
      continue;
    }
    const std::uint64_t wanted =
        kAccessed | ((access & VME_ACCESS_WRITE) != 0 ? kDirty : std::uint64_t{0});
    Page page = leaf(gva, access, view, entry | wanted, level);
    if (page.rc != VME_OK) return page;
    if ((entry & wanted) != wanted) {
      const vme_rc rc = set_bits(at, entry, wanted);
      if (rc == VME_INTR) return walk(gva, access, view);
      if (rc != VME_OK) return {.rc = rc};
    }
    largest_page_ = std::max(largest_page_, std::uint64_t{1} << shift_of(level));
    return page;
  }
  return {};
}

vme_rc Mmu::read_entry(std::uint64_t at, std::uint64_t& entry) {
  const std::uint32_t permitted = pmp_permits(hart_->csrs, Privilege::kSupervisor, at & kPageMask);
  if ((permitted & VME_ACCESS_READ) == 0) return VME_PROT;
  std::array<std::byte, sizeof entry> bytes;
  const vm_mem::GuestAddress address{at};
  if (!reader_.try_read(address, bytes)) {
    static_cast<void>(reader_.map());  // it may have been parked
    if (!reader_.try_read(address, bytes)) return VME_UNMAPPED;
  }
  entry = std::bit_cast<std::uint64_t>(bytes);
  return VME_OK;
}

// `entry` as it will be. What may be written without a question is what has D already.
Mmu::Page Mmu::leaf(std::uint64_t gva, std::uint32_t access, const View& view, std::uint64_t entry,
                    unsigned level) const {
  const std::uint64_t offset_mask = (std::uint64_t{1} << shift_of(level)) - 1;
  const std::uint64_t base = ((entry >> kPpnShift) & kPpnMask) << kPageBits;
  if ((base & offset_mask) != 0) return {};  // a large page has to be aligned
  const bool user_page = (entry & kUser) != 0;
  const bool supervisor = view.privilege == Privilege::kSupervisor;
  if (supervisor ? user_page && !view.sum : !user_page) return {};
  std::uint32_t permitted = 0;
  if ((entry & kRead) != 0 || (view.mxr && (entry & kExecute) != 0)) permitted |= VME_ACCESS_READ;
  if ((entry & kWrite) != 0 && (entry & kDirty) != 0) permitted |= VME_ACCESS_WRITE;
  if ((entry & kExecute) != 0 && !(supervisor && user_page)) permitted |= VME_ACCESS_EXECUTE;
  if ((permitted & access) == 0) return {};
  return {VME_OK, base | (gva & offset_mask & kPageMask), permitted};
}

// VME_INTR: the entry is another one by now.
vme_rc Mmu::set_bits(std::uint64_t at, std::uint64_t entry, std::uint64_t bits) {
  if ((hart_->csrs.menvcfg & kEnvcfgAdue) == 0) return VME_XLAT;
  const std::uint32_t permitted = pmp_permits(hart_->csrs, Privilege::kSupervisor, at & kPageMask);
  if ((permitted & VME_ACCESS_WRITE) == 0) return VME_PROT;
  bool exchanged = false;
  std::uint64_t found = entry;
  const bool done =
      reader_.compare_exchange(vm_mem::GuestAddress{at}, found, entry | bits, exchanged).ok();
  if (!done) return VME_PROT;
  return exchanged ? VME_OK : VME_INTR;
}

std::optional<std::uint64_t> look_up(const HartState& hart, std::uint64_t gva,
                                     const EntryReader& entry_at) {
  const std::uint64_t satp = hart.csrs.satp;
  unsigned level = hart.privilege == Privilege::kMachine ? 0 : levels_of(satp);
  if (level == 0) return gva;
  if (!is_canonical(gva, level)) return std::nullopt;
  std::uint64_t table = (satp & kSatpPpnMask) << kPageBits;
  while (level-- != 0) {
    const std::uint64_t index = (gva >> shift_of(level)) & ((1u << kIndexBits) - 1);
    const auto entry = entry_at(table + 8 * index);
    if (!entry || is_malformed(*entry)) return std::nullopt;
    table = ((*entry >> kPpnShift) & kPpnMask) << kPageBits;
    const std::uint64_t offset_mask = (std::uint64_t{1} << shift_of(level)) - 1;
    if (!is_leaf(*entry)) continue;
    if ((table & offset_mask) != 0) return std::nullopt;
    return table | (gva & offset_mask);
  }
  return std::nullopt;
}

}  // namespace vmrun
