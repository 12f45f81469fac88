/* Translated code and the guest memory that it was made from: what a translator does so
 * that it never runs code which the guest has replaced. In C.
 *
 *   begin_translate or fetch   the bytes are watched from here on, then read
 *   (translate, enter the block where the callback finds it)
 *   end_translate              1: link it. 0: they changed meanwhile; throw it away
 *   the callback               some of them changed: throw it away, and release it
 *
 * Watched bytes are told of whoever writes them: a vCPU's store, a copy or fill of the
 * helpers, DMA, a lease, a discard, a change of the memory map. They are keyed by the
 * region that holds them and the offset in it, so that neither aliases nor the guest's page
 * tables make a difference. docs/jit.md has a translator, whole.
 */
#ifndef VM_ENGINE_TRANSLATION_H_
#define VM_ENGINE_TRANSLATION_H_

#include <stddef.h>
#include <stdint.h>

#include "vm_engine/vm_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vme_tc vme_tc;

/* Bytes of one region of the MemoryManager. */
typedef struct vme_tc_range {
  uint64_t ram_id; /* vm_mem::RegionId */
  uint64_t ram_off;
  uint64_t len;
} vme_tc_range;

/* vm_mem::WriteCause, in numbers that are stable. */
typedef enum vme_tc_why {
  VME_TC_STORE = 0,   /* a store or atomic operation of a vCPU or the host */
  VME_TC_COPY = 1,    /* a copy, write or fill; a vCPU's store that took the helper */
  VME_TC_DMA = 2,     /* a device */
  VME_TC_HOST = 3,    /* whoever had a host pointer; vme_tc_written */
  VME_TC_UNMAP = 4,   /* the memory is no longer seen by the guest */
  VME_TC_REMAP = 5,   /* it is seen elsewhere, or with another size or protection */
  VME_TC_DISCARD = 6, /* its pages went back to the host */
  VME_TC_RESTORE = 7  /* a snapshot was loaded */
} vme_tc_why;

enum { VME_TC_HOT = 1 };

typedef struct vme_tc_event {
  vme_tc_range written; /* of watched 64-byte chunks, what the write touched */
  uint32_t why;         /* vme_tc_why */
  uint32_t flags;       /* VME_TC_HOT: code on this page is written again and again */
  vme_cpu* by;          /* attached (vme_thread_attach) to the thread that wrote; or NULL */
} vme_tc_event;

/* Comes after the bytes have changed and before the writer's call returns, on the writer's
 * thread: any one, and on several at a time. What was made of the bytes must not be begun
 * any more once it has returned; a block that runs on another vCPU at that time is ended by
 * its exit_request. A JIT queues the event, sets exit_request, and unlinks jumps to the
 * block.
 *
 * Needs:  it does not wait for a vCPU, write guest memory, use a vCPU (`by` is in the middle
 *         of an access), or call vme_tc_register or vme_tc_unregister; nor
 *         vme_tc_begin_translate for VME_TC_UNMAP and VME_TC_REMAP, when the map is locked. It
 *         may call the rest, vme_tc_release too. */
typedef void (*vme_tc_fn)(void* opaque, const vme_tc_event* events, size_t n);

/* Errors:  VME_EINVAL (a null argument), VME_ENOTSUP (the engine's memory is callbacks),
 *          VME_ENOMEM (no memory, or vm_mem::CodeWatch::kMaxWatchers are there). *out is
 *          written on success only. */
vme_rc vme_tc_register(vme_engine* engine, vme_tc_fn fn, void* opaque, vme_tc** out);
/* Once it has returned fn is not called, nor running. NULL is ignored.
 * Needs:  every translation was released; no call with this vme_tc in progress. Before
 *         vme_engine_destroy. */
void vme_tc_unregister(vme_tc* tc);

/* A page of code is hot once `writes` events came for it within `milliseconds`: the JIT then
 * does better to release what it has there and to let blocks compare their own bytes. In
 * the beginning 8 in 100 ms; 0 writes: never. */
void vme_tc_hot_limit(vme_tc* tc, uint32_t writes, uint32_t milliseconds);

enum { VME_TC_RANGES = 4 };

/* What one block was made from. The caller's; all zero before its first use. */
typedef struct vme_translation {
  vme_tc_range ranges[VME_TC_RANGES];
  uint64_t n;     /* of the ranges */
  uint64_t stamp; /* when the first was watched */
} vme_translation;

/* Watches [gpa, gpa + len) of guest physical memory. What is read of it from here on, by
 * whatever means, is what the callback is told of changes to.
 *
 * Where an attached vCPU's own write changes code of its running block (cur_blk_lo,
 * cur_blk_hi), the write completes, fault.rc says VME_CODE_HIT until the vCPU's next call or
 * fault, and its exit_request gets bit 0 and VME_EXIT_CODE, which stay. Emitted slow paths go
 * back in line all the same: a guest that has to see its own writes to code has the JIT test
 * exit_request behind each store that may take one.
 *
 * No vCPU can store to the pages without being seen once this has returned: entries of
 * soft TLBs by which one could are closed, in the fastmem arena the pages are read-only.
 * `self` is the vCPU of this thread, or NULL for a thread that has none.
 *
 * Memory:  acquires what was written before. Writers pay no fence.
 * Errors:  VME_EINVAL    a null argument, len 0, an address that wraps, a translation that
 *                        is none, a vCPU of another engine
 *          VME_UNMAPPED  a byte where nothing is mapped
 *          VME_MMIO      a device
 *          VME_ENOTSUP   RAM that was added without RamOptions::code_watch, or a host
 *                        without membarrier(2)
 *          VME_INTR      self->exit_request was set while another vCPU was waited for
 *          VME_EBUSY     another vCPU did not come by for a second: one that halts has to be
 *                        parked; or the memory map changes all the time
 *          VME_ENOMEM    no memory, or more than VME_TC_RANGES pieces
 *          On an error nothing is watched and *translation is as it was.
 * Cost:    a lock; the first watch of a page also a barrier on all threads (2 to 3 us where
 *          others run), and a wait where a vCPU has the page open for stores until it
 *          reaches its next helper call, TLB miss or refresh. */
vme_rc vme_tc_begin_translate(vme_tc* tc, vme_cpu* self, uint64_t gpa, uint64_t len,
                              vme_translation* translation);

/* Watches, then reads `n` bytes of code at `gva` with execute permission, and adds them to
 * the translation: for a translator that goes on instruction by instruction. Returns the
 * bytes NOT fetched, from the end; cpu->fault says why, as for the helpers, or has one
 * of the errors above, with the first byte concerned.
 *
 * Needs:  the vCPU's own thread. */
uint64_t vme_tc_fetch(vme_tc* tc, vme_cpu* cpu, uint64_t gva, void* to, uint64_t n,
                      uint32_t mmu_mode, vme_translation* translation);

/* 1: all of it is what it was when it was watched, and the callback will tell of any
 * change. 0: some of it has changed, or is seen elsewhere by now; it was released, and the
 * translation is all zero.
 *
 * Needs:  the block stands where the callback finds it. */
int vme_tc_end_translate(vme_tc* tc, vme_translation* translation);

/* The block is gone: stops watching for it. The translation is all zero afterwards. Of what
 * the map does not have any more: nothing. */
void vme_tc_release(vme_tc* tc, vme_translation* translation);

/* For a writer that the library does not see: read(2) into guest memory, io_uring, a
 * process that shares it. After the bytes. Devices are left out.
 * Errors:  VME_EINVAL (null, a why that there is not, an address that wraps),
 *          VME_UNMAPPED, with nothing told. */
vme_rc vme_tc_written(vme_engine* engine, uint64_t gpa, uint64_t len, uint32_t why);

/* Where the byte at `gpa` is: *ram_id and *ram_off, and how many bytes follow it there in
 * one piece. What a JIT keys its blocks by.
 * Errors:  VME_EINVAL, VME_UNMAPPED, VME_MMIO, VME_ENOTSUP. */
vme_rc vme_tc_locate(vme_engine* engine, uint64_t gpa, vme_tc_range* piece);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VM_ENGINE_TRANSLATION_H_ */
