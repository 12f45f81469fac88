// Guest code for interpreters and translators: bytes fetched with execute permission,
// a page at a time, so that an instruction which straddles two pages faults on the
// page that it misses and on no other.
#ifndef VM_ENGINE_CODE_FETCHER_H_
#define VM_ENGINE_CODE_FETCHER_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "vm_engine/soft_tlb.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine {

// The outcome of one fetch: the first `done` bytes are there. Where rc is not VME_OK,
// `at` is the guest virtual address of the first byte that could not be fetched; the
// vCPU's fault record has the rest.
struct FetchResult {
  vme_rc rc = VME_OK;
  std::uint64_t done = 0;
  std::uint64_t at = 0;

  [[nodiscard]] constexpr bool ok() const { return rc == VME_OK; }
  friend constexpr bool operator==(const FetchResult&, const FetchResult&) = default;
};

// For the vCPU's own thread. Code is fetched from RAM and ROM; a device's page is
// VME_MMIO, and the device is not called. Addresses count modulo 2^64.
class CodeFetcher {
 public:
  // Needs:  `cpu` outlives this object; mmu_mode < VME_MMU_MODES.
  explicit CodeFetcher(vme_cpu& cpu, unsigned mmu_mode = 0) : cpu_(&cpu), mmu_mode_(mmu_mode) {}

  void set_mmu_mode(unsigned mmu_mode) { mmu_mode_ = mmu_mode; }

  // The parcel at `gva`: one 16-bit unit of an instruction, in host byte order. An
  // interpreter of 32-bit instructions asks for the second parcel only once it has
  // seen that the first needs one.
  //
  // Errors:  the vme_rc; cpu.fault.gva is the first byte out of reach. A parcel at an
  //          odd address may straddle a page.
  // Cost:    a handful of instructions where the soft TLB has the page.
  vme_rc parcel(std::uint64_t gva, std::uint16_t& value) {
    const vme_tlb_entry& entry = detail::entry_of(*cpu_, gva, mmu_mode_);
    if (entry.execute != detail::tag_of<std::uint16_t>(gva)) return slow_parcel(gva, value);
    value = detail::load_host<std::uint16_t>(gva + entry.addend);
    return VME_OK;
  }

  // Fetches to.size() bytes from `gva` on, across pages.
  //
  // Errors:  in the result, with the longest prefix fetched.
  FetchResult fetch(std::uint64_t gva, std::span<std::byte> to);

  // As fetch(), but stops without error where the page of `gva` ends: what a cache of
  // decoded blocks keyed by page reads ahead.
  FetchResult fetch_in_page(std::uint64_t gva, std::span<std::byte> to);

 private:
  vme_rc slow_parcel(std::uint64_t gva, std::uint16_t& value);

  vme_cpu* cpu_;
  unsigned mmu_mode_;
};

}  // namespace vm_engine

#endif  // VM_ENGINE_CODE_FETCHER_H_
