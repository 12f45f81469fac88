// Virtual to physical addresses: Sv39, Sv48, and physical memory protection. It is what the
// soft TLB asks about a page that it does not have.
#ifndef VMRUN_MMU_H_
#define VMRUN_MMU_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "tools/vmrun/hart_state.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vmrun {

inline constexpr std::uint64_t kSatpBare = 0;
inline constexpr std::uint64_t kSatpSv39 = 8;
inline constexpr std::uint64_t kSatpSv48 = 9;
inline constexpr unsigned kSatpModeShift = 60;
inline constexpr std::uint64_t kSatpPpnMask = (std::uint64_t{1} << 44) - 1;

// The engine's mmu modes: one for each privilege and state of SUM and MXR, so that no
// change of either empties the TLB. Fetches do not depend on SUM and MXR.
unsigned data_mode(const HartState& hart);
unsigned fetch_mode(const HartState& hart);

// Page tables are read, and A and D set in them, in RAM; a table elsewhere is an access
// fault. An entry that lacks A or D is updated by the hart where menvcfg.ADUE is set, else
// it is a page fault.
//
// Threads:  the hart's.
// Source:   RISC-V Privileged Architecture 20211203, 4.3 to 4.5; Svadu 1.0.
class Mmu {
 public:
  // Needs:  `memory` outlives this object; serve() before the first translation.
  explicit Mmu(vm_mem::MemoryManager& memory) : reader_(memory) {}

  void serve(const HartState& hart) { hart_ = &hart; }

  // For vme_config::translate; `opaque` is the Mmu. VME_XLAT: a page fault; VME_PROT and
  // VME_UNMAPPED: an access fault.
  static vme_rc translate(void* opaque, std::uint64_t gva, std::uint32_t access,
                          std::uint32_t mmu_mode, std::uint64_t* page, std::uint32_t* permitted);

  // The largest page that was translated since forget_pages(): what one address of SFENCE.VMA
  // stands for, since the TLB cuts large pages up.
  std::uint64_t largest_page() const { return largest_page_; }
  void forget_pages() { largest_page_ = std::uint64_t{1} << VME_PAGE_BITS; }
  // After a change of the memory map.
  void follow_map() { reader_.park(); }

 private:
  struct View;
  struct Page {
    vme_rc rc = VME_XLAT;
    std::uint64_t physical = 0;
    std::uint32_t permitted = 0;
  };

  static View view_of(unsigned mmu_mode);
  Page find(std::uint64_t gva, std::uint32_t access, const View& view);
  Page walk(std::uint64_t gva, std::uint32_t access, const View& view);
  vme_rc read_entry(std::uint64_t at, std::uint64_t& entry);
  Page leaf(std::uint64_t gva, std::uint32_t access, const View& view, std::uint64_t entry,
            unsigned level) const;
  vme_rc set_bits(std::uint64_t at, std::uint64_t entry, std::uint64_t bits);

  vm_mem::MemoryReader reader_;
  const HartState* hart_ = nullptr;
  std::uint64_t largest_page_ = 4096;
};

// Where a virtual address of the hart is, whatever the page permits; nullopt: nowhere. Changes
// nothing. `entry_at` reads page tables: nullopt where there is no memory.
using EntryReader = std::function<std::optional<std::uint64_t>(std::uint64_t at)>;
std::optional<std::uint64_t> look_up(const HartState& hart, std::uint64_t gva,
                                     const EntryReader& entry_at);

}  // namespace vmrun

#endif  // VMRUN_MMU_H_
