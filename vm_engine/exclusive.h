/* The exclusive monitor: load-reserved and store-conditional (LR/SC, LDXR/STXR, LL/SC), for
 * interpreters and emitted code. In C.
 *
 * A reservation is of the host memory that the guest's line lies in, so that aliases and
 * page tables make no difference. In RAM that was added with RamOptions::code_watch it is
 * broken by whatever writes to the line: another vCPU's store (of another engine over the
 * same memory, or through a fastmem arena, too), atomic operation or store-conditional, a
 * helper's copy, DMA, the host. In other RAM, and where memory is
 * callbacks, a store-conditional succeeds where the value is still the one that was loaded.
 */
#ifndef VM_ENGINE_EXCLUSIVE_H_
#define VM_ENGINE_EXCLUSIVE_H_

#include <stdint.h>

#include "vm_engine/vm_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a line, aligned to it. At least what any architecture's guests expect of a
 * reservation granule. */
enum { VME_EXCLUSIVE_LINE = 128 };

/* Loads the element at `gva` (1, 2, 4 or 8 bytes, VME_ELEM_SHIFT in `flags`; mmu mode in the
 * source's bits) and reserves its line for this vCPU; an earlier reservation is dropped.
 * `value` is zero-extended. `left` is 0, or the element's size on a fault (in cpu->fault),
 * which leaves no reservation.
 *
 * The first reservation in a page closes it for direct stores, in the soft TLB of every
 * other vCPU and in arenas, and waits for vCPUs that have it open until they come to a helper
 * call, TLB miss or refresh: until the line is dropped, stores to that page take the helper.
 * A vCPU holds on to its last line, so that a lock taken again and again waits once.
 *
 * Needs:   the vCPU's own thread.
 * Memory:  single-copy atomic, sequentially consistent.
 * Errors:  VME_ALIGN, VME_MMIO (devices have no monitor), VME_ENOTSUP (memory that is
 *          reached by callbacks alone), VME_INTR where exit_request was set while it
 *          waited, VME_EBUSY where another vCPU did not come by for a second: neither is a
 *          fault of the guest's, the instruction is to be begun again. VME_EINVAL (flags
 *          beyond those above), else as the helpers. */
vme_value vme_excl_load(vme_cpu* cpu, uint64_t gva, uint32_t flags);

/* Stores the low bytes of `value` at `gva` where the vCPU's reservation is of that very
 * element (its memory and size) and is unbroken. In `value` 0: stored; 1: not. Afterwards
 * the vCPU has no reservation. `left` is 0, or the element's size on a fault: nothing was
 * stored then. The page's permission to write is asked for in either case.
 *
 * Needs, Memory, Errors:  as vme_excl_load; the mmu mode is in the destination's bits. */
vme_value vme_excl_store(vme_cpu* cpu, uint64_t gva, uint64_t value, uint32_t flags);

/* Drops the reservation, and its line: an exception return, CLREX, a context switch, a
 * vCPU that goes idle. What is no vCPU is ignored. */
void vme_excl_clear(vme_cpu* cpu);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VM_ENGINE_EXCLUSIVE_H_ */
