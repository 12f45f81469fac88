// The offsets that emitted code is told are those that the compiler chose.
#include <cstddef>

#include "vm_engine/vm_engine.h"

static_assert(offsetof(vme_cpu, tlb) == VME_CPU_TLB_OFFSET);
static_assert(sizeof(vme_tlb) == VME_TLB_BYTES);
static_assert(offsetof(vme_tlb, mask) == VME_TLB_MASK_OFFSET);
static_assert(offsetof(vme_tlb, table) == VME_TLB_TABLE_OFFSET);
static_assert(sizeof(vme_tlb_entry) == VME_TLB_ENTRY_BYTES);
static_assert(VME_TLB_ENTRY_BYTES << VME_TLB_INDEX_SHIFT == std::size_t{1} << VME_PAGE_BITS);
static_assert(offsetof(vme_tlb_entry, read) == VME_TLB_ENTRY_READ_OFFSET);
static_assert(offsetof(vme_tlb_entry, write) == VME_TLB_ENTRY_WRITE_OFFSET);
static_assert(offsetof(vme_tlb_entry, execute) == VME_TLB_ENTRY_EXECUTE_OFFSET);
static_assert(offsetof(vme_tlb_entry, addend) == VME_TLB_ENTRY_ADDEND_OFFSET);
static_assert(offsetof(vme_cpu, fastmem_base) == VME_CPU_FASTMEM_BASE_OFFSET);
static_assert(offsetof(vme_cpu, exit_request) == VME_CPU_EXIT_REQUEST_OFFSET);
static_assert(offsetof(vme_cpu, fault) == VME_CPU_FAULT_OFFSET);
static_assert(offsetof(vme_cpu, cur_blk_lo) == VME_CPU_CUR_BLK_LO_OFFSET);
static_assert(offsetof(vme_cpu, cur_blk_hi) == VME_CPU_CUR_BLK_HI_OFFSET);
static_assert(offsetof(vme_cpu, opaque) == VME_CPU_OPAQUE_OFFSET);
static_assert(sizeof(vme_cpu) == VME_CPU_BYTES);
static_assert(offsetof(vme_fault, rc) == VME_FAULT_RC_OFFSET);
static_assert(offsetof(vme_fault, done) == VME_FAULT_DONE_OFFSET);
static_assert(sizeof(vme_site) == 24);
