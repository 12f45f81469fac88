/* The fastmem arena in C: guest memory at one host address, which emitted code reaches by a
 * base register and the guest address. vm_engine/fastmem.h says what is where in it.
 *
 *   vme_fault_install(0)                    once in a process
 *   vme_fastmem_create(engine, NULL, &arena)
 *   each vCPU: vme_fastmem_attach(arena, cpu), and on its thread vme_thread_attach(cpu)
 *   each block: vme_code_register with a site for every load and store
 *   a store in emitted code: mov [base + index], value     base from cpu->fastmem_base
 *   its landing pad: vme_store(cpu, index, value, flags)
 */
#ifndef VM_ENGINE_FASTMEM_C_H_
#define VM_ENGINE_FASTMEM_C_H_

#include <stdint.h>

#include "vm_engine/vm_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vme_fastmem vme_fastmem;

/* VME_FASTMEM_VIRTUAL: indexed by guest virtual addresses, which vme_fastmem_map shows one
 * by one. Else by physical ones, and all of the memory is there by itself. */
enum { VME_FASTMEM_VIRTUAL = 1 };

typedef struct vme_fastmem_config {
  uint32_t abi_version;  /* VME_ABI_VERSION */
  uint32_t flags;        /* VME_FASTMEM_* */
  uint64_t bytes;        /* of guest addresses, from 0; 0: 64 GiB */
  uint64_t guard_bytes;  /* on each side; 0: 2 GiB */
  uint64_t max_mappings; /* of the host; 0: half of what it allows a process */
} vme_fastmem_config;

/* An arena over the engine's memory, for vCPUs of every engine over the same. `config` may
 * be NULL: all defaults. Where the host or the memory allows none this succeeds too:
 * vme_fastmem_is_complete is 0, and vme_fastmem_reason says why.
 *
 * Errors:  VME_EINVAL (a null argument, flags that there are not, sizes that are no whole
 *          pages), VME_EABI, VME_ENOTSUP (the engine's memory is callbacks), VME_ENOMEM. *out
 *          is written on success only. */
vme_rc vme_fastmem_create(vme_engine* engine, const vme_fastmem_config* config, vme_fastmem** out);
/* NULL is ignored.
 * Needs:  no vCPU is attached, no emitted code runs. Before the memory goes. */
void vme_fastmem_destroy(vme_fastmem* fastmem);

/* 1: all of the memory is shown: emit code for the arena. 0: use the soft TLB. It may become
 * 0 later; code that was emitted for the arena stays right, with a fault at each access to
 * what is not shown. */
int vme_fastmem_is_complete(const vme_fastmem* fastmem);
/* Why it is 0: cut to `bytes`, the 0 at its end included. Returns how many bytes all of it
 * takes, without that 0; 0 where it is 1. `text` may be NULL with bytes 0. */
uint64_t vme_fastmem_reason(const vme_fastmem* fastmem, char* text, uint64_t bytes);
/* Of guest address 0, which vme_cpu::fastmem_base will be; NULL where there is no arena. */
void* vme_fastmem_base(const vme_fastmem* fastmem);
uint64_t vme_fastmem_bytes(const vme_fastmem* fastmem);

/* Sets vme_cpu::fastmem_base, or makes it NULL where it is of this arena.
 *
 * Needs:   the vCPU's own thread, or it does not run.
 * Errors:  VME_EINVAL   a null argument, not a vCPU, or one of other memory
 *          VME_ENOTSUP  there is no arena; the engine translates, and the arena is indexed
 *                       by physical addresses */
vme_rc vme_fastmem_attach(vme_fastmem* fastmem, vme_cpu* cpu);
void vme_fastmem_detach(vme_fastmem* fastmem, vme_cpu* cpu);

/* VME_FASTMEM_VIRTUAL: shows [gpa, gpa + bytes) at gva, for VME_ACCESS_READ or
 * VME_ACCESS_READ | VME_ACCESS_WRITE, now and after changes of the memory; or shows nothing
 * there any more. All are whole pages.
 *
 * Errors:  VME_EINVAL   misaligned, empty, outside of the arena; an access that is neither
 *          VME_EBUSY    something is shown there
 *          VME_ENOTSUP  not VME_FASTMEM_VIRTUAL, or no arena
 *          VME_ENOMEM   max_mappings, or the host refused */
vme_rc vme_fastmem_map(vme_fastmem* fastmem, uint64_t gva, uint64_t gpa, uint64_t bytes,
                       uint32_t access);
vme_rc vme_fastmem_unmap(vme_fastmem* fastmem, uint64_t gva, uint64_t bytes);

/* From its return on every store of emitted code to the pages that these bytes of a region
 * touch faults, wherever they are shown, until vme_fastmem_unprotect. Pages that a translator
 * watches (translation.h) need none of it.
 *
 * Errors:  VME_EINVAL (null, no such RAM or ROM, bytes that it has not), VME_ENOMEM:
 *          everything shown is then hidden for good. */
vme_rc vme_fastmem_protect(vme_fastmem* fastmem, uint64_t ram_id, uint64_t ram_off, uint64_t bytes);
void vme_fastmem_unprotect(vme_fastmem* fastmem, uint64_t ram_id, uint64_t ram_off, uint64_t bytes);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VM_ENGINE_FASTMEM_C_H_ */
