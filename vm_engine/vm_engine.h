/* The C interface for CPU engines and the code that they emit: a per-vCPU block
 * with a soft TLB, and helpers that copy, fill, read and write guest virtual memory
 * and say exactly how far they got.
 *
 * The helpers that emitted code calls return the number of bytes NOT done: 0 means
 * complete, and one test of one register is the whole protocol. Everything else is
 * in vme_cpu::fault.
 */
#ifndef VM_ENGINE_VM_ENGINE_H_
#define VM_ENGINE_VM_ENGINE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { VME_ABI_VERSION = 2 };

/* Result codes; the numbers are stable. */
typedef enum vme_rc {
  VME_OK = 0,
  VME_UNMAPPED = 1, /* a hole in the guest physical map */
  VME_PROT = 2,     /* mapped, the access is not permitted (translation or ROM) */
  VME_XLAT = 3,     /* no translation: raise the guest's page fault */
  VME_MMIO = 4,     /* a device refused, or VME_NO_MMIO was given and one was met */
  VME_ALIGN = 5,    /* an atomic access that is not naturally aligned */
  VME_BUS = 6,      /* the host failed to provide the page */
  VME_INTR = 7,     /* exit_request was seen; the progress is valid, call again */
  VME_CODE_HIT = 8, /* complete, but the running block's own code changed */
  VME_EINVAL = 16,
  VME_ENOMEM = 17,
  VME_ENOTSUP = 18,
  VME_EABI = 19, /* vme_config::abi_version is not this library's */
  VME_EBUSY = 20 /* still in use, or a vCPU that is waited for stays away */
} vme_rc;

enum { VME_ACCESS_READ = 1, VME_ACCESS_WRITE = 2, VME_ACCESS_EXECUTE = 4 };
enum { VME_SIDE_SOURCE = 0, VME_SIDE_DESTINATION = 1 };
enum { VME_NO_SITE = 0xffff };

/* Why the last call on this vCPU returned non-zero. */
typedef struct vme_fault {
  uint32_t rc;      /* vme_rc */
  uint8_t access;   /* VME_ACCESS_* */
  uint8_t side;     /* VME_SIDE_* */
  uint16_t site;    /* cookie of the emitted fault site; VME_NO_SITE: none */
  uint64_t gva;     /* lowest inaccessible byte of that access or element */
  uint64_t gpa;     /* its translation, ~0 where there is none */
  uint64_t acc_gva; /* the access or element that contains it */
  uint64_t acc_size;
  uint64_t done;    /* bytes that this call completed */
  uint64_t host_pc; /* of the emitted fault site, 0: none */
  uint64_t guest_pc;
} vme_fault;

/* Soft TLB: direct mapped, one 4 KiB page an entry. A comparator holds the page's
 * virtual address, with bit VME_TLB_SLOW set where the slow path must be taken, or
 * is ~0 where the access is not permitted or the entry is empty. addend turns a
 * guest virtual address into a host pointer.
 *
 * An access of `size` bytes at `gva` hits where the comparator of the entry that gva
 * selects equals (gva + size - 1) & ~0xfff: an access that crosses into the next page
 * never does. Only RAM, and ROM for reading and execution, is ever entered without
 * VME_TLB_SLOW. A page whose writes are tracked becomes writable here once it has
 * been marked dirty, so that a hit needs no mark. It is marked again when the entry goes:
 * when it is replaced or flushed, when the vCPU is parked or destroyed, and at the first
 * helper call, TLB miss or refresh after a harvest of dirty pages. What a vCPU stores in
 * between, by a helper or not, may therefore be told by the next harvest after that one; a
 * harvest that has to be exact comes after the vCPU was parked. */
enum { VME_PAGE_BITS = 12, VME_TLB_SLOW = 1 << 10, VME_TLB_ENTRIES = 256, VME_MMU_MODES = 8 };

typedef struct vme_tlb_entry {
  uint64_t read;
  uint64_t write;
  uint64_t execute;
  uint64_t addend;
} vme_tlb_entry;

typedef struct vme_tlb {
  uint64_t mask; /* (entries - 1) << 5: an index in bytes into table */
  vme_tlb_entry* table;
} vme_tlb;

/* The vCPU block. Offsets are part of the ABI: emitted code uses them. */
typedef struct vme_cpu {
  vme_tlb tlb[VME_MMU_MODES];
  void* fastmem_base;             /* NULL: soft TLB only */
  volatile uint32_t exit_request; /* set by any thread; see VME_POLL, VME_EXIT_FLUSH */
  uint32_t reserved;              /* the library's */
  vme_fault fault;
  uint64_t cur_blk_lo; /* guest virtual range of the running block */
  uint64_t cur_blk_hi;
  void* opaque; /* the embedder's */
} vme_cpu;

/* Where emitted code finds what, in bytes. The entry of gva in mode m:
 * table + ((gva >> VME_TLB_INDEX_SHIFT) & mask), with mask and table from
 * cpu + VME_CPU_TLB_OFFSET + m * VME_TLB_BYTES. */
enum {
  VME_CPU_TLB_OFFSET = 0,
  VME_TLB_BYTES = 16,
  VME_TLB_MASK_OFFSET = 0,
  VME_TLB_TABLE_OFFSET = 8,
  VME_TLB_INDEX_SHIFT = 7,
  VME_TLB_ENTRY_BYTES = 32,
  VME_TLB_ENTRY_READ_OFFSET = 0,
  VME_TLB_ENTRY_WRITE_OFFSET = 8,
  VME_TLB_ENTRY_EXECUTE_OFFSET = 16,
  VME_TLB_ENTRY_ADDEND_OFFSET = 24,
  VME_CPU_FASTMEM_BASE_OFFSET = 128,
  VME_CPU_EXIT_REQUEST_OFFSET = 136,
  VME_CPU_FAULT_OFFSET = 144,
  VME_CPU_CUR_BLK_LO_OFFSET = 208,
  VME_CPU_CUR_BLK_HI_OFFSET = 216,
  VME_CPU_OPAQUE_OFFSET = 224,
  VME_CPU_BYTES = 232,
  VME_FAULT_RC_OFFSET = 0,
  VME_FAULT_DONE_OFFSET = 40
};

/* The bits of exit_request that are the library's. An embedder sets and clears the others
 * as it likes.
 *
 * FLUSH  set on a vCPU that another thread waits for, and cleared when the vCPU has served
 *        the request. Every helper call serves it, a long copy between two pages; a vCPU
 *        whose block left for it calls vme_cpu_refresh before it runs on. An embedder may
 *        clear it too: the request stays.
 * CODE   set together with bit 0 where code of the running block was written by its own
 *        vCPU (vm_engine/translation.h). It stays until the embedder clears it: later calls
 *        and faults of the block put reasons of their own where fault.rc said VME_CODE_HIT.
 *        Bit 0 is what ends waits and polls; this one says why it was set. */
enum { VME_EXIT_FLUSH = 1 << 30, VME_EXIT_CODE = 1 << 29 };

typedef struct vme_engine vme_engine;

/* Translates one page for `access`, one VME_ACCESS_* bit. Returns VME_OK and fills
 * *gpa_page (the physical address of the page that holds gva) and *permitted, or
 * VME_XLAT, VME_PROT or VME_UNMAPPED. The answer is kept until the TLB entry goes:
 * every access in *permitted may follow without another call, so a guest whose page
 * tables record first writes leaves VME_ACCESS_WRITE out until one is asked for. An
 * answer that does not permit `access` itself is VME_PROT. It must not call this vCPU's
 * functions. A long copy may ask for pages that it does not reach. */
typedef vme_rc (*vme_translate_fn)(void* opaque, uint64_t gva, uint32_t access, uint32_t mmu_mode,
                                   uint64_t* gpa_page, uint32_t* permitted);

/* Guest physical memory as callbacks, for embedders in C. read and write return the
 * bytes done; fewer than n means a fault, whose code is stored in *why (vme_rc). One
 * call never crosses a 4 KiB page; where the page is a device it is one element.
 *
 * probe says what the page at gpa is for `access` without touching it: VME_OK (plain
 * memory), VME_MMIO (a device: go element by element), or the fault. NULL: every page
 * is taken for plain memory. What probe said of a page is kept until the TLB entry goes.
 *
 * A fault that probe did not announce is exact too, but what was found out first no
 * longer holds: an element that straddles two pages may be half written, one that
 * write() stops in is, and VME_ATOMIC_OR_NOTHING or a MEMMOVE against its direction
 * may have written what it does not report. */
typedef struct vme_memory_ops {
  uint64_t (*read)(void* opaque, uint64_t gpa, void* host, uint64_t n, uint32_t* why);
  uint64_t (*write)(void* opaque, uint64_t gpa, const void* host, uint64_t n, uint32_t* why);
  uint32_t (*probe)(void* opaque, uint64_t gpa, uint32_t access);
} vme_memory_ops;

typedef struct vme_config {
  uint32_t abi_version; /* VME_ABI_VERSION */
  uint32_t flags;       /* 0 */
  const vme_memory_ops* memory;
  void* memory_opaque;
  vme_translate_fn translate; /* NULL: virtual = physical, everything permitted */
  void* translate_opaque;
} vme_config;

uint32_t vme_abi_version(void);
const char* vme_rc_name(vme_rc rc);

/* Errors: VME_EINVAL (a null argument, no read or write op, flags not 0), VME_EABI,
 * VME_ENOMEM; *out is written on success only. From C++, vm_engine/engine.h takes a
 * MemoryManager. */
vme_rc vme_engine_create(const vme_config* config, vme_engine** out);
/* Needs: no vCPU left. NULL is ignored. */
void vme_engine_destroy(vme_engine* engine);
/* The block is the library's: only vme_cpu_destroy frees it. One thread at a time uses
 * a vCPU, apart from exit_request. */
vme_rc vme_cpu_create(vme_engine* engine, vme_cpu** out);
/* NULL is ignored. Needs: on its own thread, or after it has left. */
void vme_cpu_destroy(vme_cpu* cpu);

/* Both on the vCPU's own thread; what is no vCPU is ignored.
 *
 * refresh takes up a change of the memory map, a harvest of dirty pages and requests of
 * other threads, as every helper call does too. A vCPU loop calls it once per
 * block or batch of instructions, and after each exit. Cost: a few loads and compares
 * where nothing changed.
 *
 * park forgets all translations and lets go of the memory map: a vCPU that sits idle
 * neither keeps removed memory alive nor has others wait for it. The next helper call or
 * refresh takes it up again; emitted code does not run before that. A vCPU is created
 * parked. */
void vme_cpu_refresh(vme_cpu* cpu);
void vme_cpu_park(vme_cpu* cpu);

/* Flags of the helpers: bits 0-3 and 4-7 are the mmu mode of the source and the
 * destination; bits 8-10 the log2 of the element size (0..3). */
enum {
  VME_MMU_SRC_SHIFT = 0,
  VME_MMU_DST_SHIFT = 4,
  VME_ELEM_SHIFT = 8,
  VME_BACKWARD = 1 << 11,          /* from the last element to the first */
  VME_OVERLAP_MEMMOVE = 0 << 12,   /* as if through a buffer */
  VME_OVERLAP_PROPAGATE = 1 << 12, /* element by element in order: rep movs, MVC */
  VME_OVERLAP_DISJOINT = 2 << 12,  /* the caller knows that they do not overlap */
  VME_ATOMIC_OR_NOTHING = 1 << 14, /* nothing is written unless all of it can be */
  VME_POLL = 1 << 15,              /* look at exit_request once a page */
  VME_NO_MMIO = 1 << 16,           /* stop at a device instead of calling it */
  VME_ONCE = 1 << 17,              /* no byte of guest memory is stored twice */
  VME_ORDER_RELAXED = 0 << 18,
  VME_ORDER_ACQREL_ENDS = 1 << 18, /* a full fence before the first byte and after the last */
  VME_ORDER_TSO_ELEM = 2 << 18     /* element by element: load acquire, store release */
};

/* The helpers. Each returns the bytes NOT done; 0 = complete, and cpu->fault says why
 * it is not.
 *
 * Progress  The bytes done are a prefix (with VME_BACKWARD a suffix) of whole elements,
 *           and no other byte of the destination was written. An element that reaches
 *           into a page that faults is not begun. Where source and destination fault
 *           at the same element, the source is reported. What the host has lost
 *           (VME_BUS) shows when it is touched, after all else: an element that reaches
 *           into such a page may be half written.
 * Lengths   n is a multiple of the element size. n = 0 touches nothing, whatever the
 *           addresses and flags. Addresses count modulo 2^64: a range that runs past
 *           the top goes on at 0, every page translated by itself.
 * Devices   On a device's page every element is one access of the element's size,
 *           made exactly once; an element that is not naturally aligned is cut as
 *           vm_mem/mmio_handler.h says, and one that a device refuses in the middle
 *           stays as far as it got, not counted as done. Plain reads and writes of
 *           1, 2, 4 or 8 bytes give their size as the element size to reach a device
 *           in one access.
 * Polling   With VME_POLL, exit_request is looked at between pages: every call makes
 *           progress, at most one page of it after the request.
 * Overlap   Judged on virtual addresses for VME_OVERLAP_MEMMOVE, on physical ones for
 *           VME_OVERLAP_PROPAGATE, where two regions that show the same memory count
 *           as apart. A MEMMOVE whose overlap forces it to run against its direction
 *           finds out first how far it can get; it does not poll, and takes a
 *           device's page for a fault (VME_MMIO). What changes under it by another
 *           thread's hand after that, or is lost to the host, is a fault with nothing
 *           reported done.
 * All       VME_ATOMIC_OR_NOTHING looks at every page first; a device anywhere is
 *           VME_MMIO, since what a device did cannot be undone. It does not poll.
 * Memory    Relaxed, unless VME_ORDER_* says more. An aligned access of 1, 2, 4 or 8
 *           bytes is single-copy atomic. With VME_ORDER_TSO_ELEM every element is loaded
 *           and stored by itself, in the order of progress, or in the opposite one where a
 *           MEMMOVE's overlap forces it; slow.
 * Stores    Up to 16 bytes, and with VME_ONCE always, no byte of guest memory is stored
 *           twice: a store that another vCPU made on seeing the first one is not undone
 *           by a second. Longer copies may store a byte's value twice.
 * Errors    VME_EINVAL: unknown flags, a mode that does not exist, n not a multiple of
 *           the element size, a null pointer. A vCPU that is null or was not made by
 *           vme_cpu_create yields n with nothing recorded. VME_CODE_HIT: see
 *           vm_engine/translation.h. */
uint64_t vme_copy(vme_cpu* cpu, uint64_t dst_gva, uint64_t src_gva, uint64_t n, uint32_t flags);
/* The low bytes of `pattern`, one element of them, again and again. */
uint64_t vme_fill(vme_cpu* cpu, uint64_t dst_gva, uint64_t pattern, uint64_t n, uint32_t flags);
uint64_t vme_read(vme_cpu* cpu, void* host, uint64_t src_gva, uint64_t n, uint32_t flags);
uint64_t vme_write(vme_cpu* cpu, uint64_t dst_gva, const void* host, uint64_t n, uint32_t flags);

/* One word, for the slow paths of emitted loads and stores: elements of 1, 2, 4 or 8 bytes,
 * as VME_ELEM_SHIFT says. vme_load takes its mmu mode from the source's bits and
 * zero-extends; vme_store takes it from the destination's, and the low bytes of `value`.
 * `left` and vme_store's result are the bytes not done: 0, or the element's size. They are
 * returned in two registers and one.
 *
 * Devices   One access of the element's size; as the helpers where it is misaligned.
 * Memory    Single-copy atomic where naturally aligned, else byte by byte. Relaxed; with
 *           either other VME_ORDER_* a load acquires and a store releases.
 * Errors    As the helpers; flags other than VME_NO_MMIO and VME_ONCE beyond these are
 *           VME_EINVAL. What is no vCPU: the element's size, nothing recorded.
 * Cost      A miss whose page is RAM enters it into the TLB, and then costs what the
 *           access does. */
typedef struct vme_value {
  uint64_t value; /* 0 where left is not */
  uint64_t left;
} vme_value;

vme_value vme_load(vme_cpu* cpu, uint64_t gva, uint32_t flags);
uint64_t vme_store(vme_cpu* cpu, uint64_t gva, uint64_t value, uint32_t flags);

/* Whether [gva, gva + n) permits every access in the mask `access`. *host_or_null (it
 * may be null itself) gets the host pointer where the page is RAM or ROM, else null;
 * it is good until this vCPU's next helper call or refresh. Asking for
 * VME_ACCESS_WRITE marks the page dirty; where somebody is told of each write to it
 * (vm_engine/translation.h, exclusive.h) there is no pointer. mmu_mode as in the flags, unshifted.
 * Errors: as the helpers; VME_EINVAL where the range crosses a page or `access` is 0. */
vme_rc vme_probe(vme_cpu* cpu, uint64_t gva, uint64_t n, uint32_t access, uint32_t mmu_mode,
                 void** host_or_null);

/* Forget translations, of all modes. On this vCPU's own thread; what is no vCPU is ignored.
 * A range may wrap around the top; n = 0 is nothing. */
void vme_tlb_flush(vme_cpu* cpu);
void vme_tlb_flush_page(vme_cpu* cpu, uint64_t gva);
void vme_tlb_flush_range(vme_cpu* cpu, uint64_t gva, uint64_t n);

/* Has every vCPU of the engine forget its translations of [gva, gva + n), all of them where
 * n is UINT64_MAX, and waits until each has: its later accesses, by helpers and by emitted
 * code, ask vme_translate_fn again. `self` is the caller's own vCPU, NULL on a thread that
 * runs none. The page tables are changed before the call.
 *
 * Waits     For each other vCPU until it comes by: a helper call, a refresh, a page's end in
 *           a long copy; exit_request gets VME_EXIT_FLUSH so that its loop does. A parked
 *           vCPU is not waited for, so one that halts or blocks has to be parked. Meanwhile
 *           the requests of others to `self` are served: vCPUs that flush each other at the
 *           same time all get through.
 * Errors    VME_INTR: self's exit_request was set, other than by VME_EXIT_FLUSH; every vCPU
 *           will forget, but not every one has. VME_EINVAL: no engine, or `self` is none of
 *           its vCPUs. */
vme_rc vme_tlb_flush_all_cpus(vme_engine* engine, uint64_t gva, uint64_t n, vme_cpu* self);

/* --- Faults of emitted code.
 *
 * An instruction that reaches guest memory directly (through the fastmem arena, or by a
 * host pointer that may fail) can fault. It is a site: what is known of it is told here,
 * and on a fault the thread goes on at its landing pad, as if by a jump. Everything that
 * a site needs lives in the code's own registers: nothing else of the thread changes.
 *
 * A fault is taken where the kernel raised it (SIGSEGV or SIGBUS), this thread has a
 * vCPU attached, the instruction is a site of that vCPU's engine, and the address lies in
 * the vCPU's arena or its guards, or can be no address of a process at all (an index
 * that was not masked). Every other fault goes to the handler that was there before.
 *
 * A child process (fork) goes on with the code and the arenas that there were, on its one
 * thread, which keeps its vCPU; those of other threads may be attached anew, or destroyed.
 * That is said of faults alone. While another thread of the parent changes the memory map,
 * watches code or flushes TLBs, or has a vCPU that is not parked, a child does none of it:
 * it would wait for threads that it does not have.
 *
 * The record is vme_cpu::fault: rc VME_BUS for SIGBUS, VME_MMIO for a device,
 * VME_UNMAPPED where nothing is mapped or the address was lost, else VME_PROT; gva the
 * address less fastmem_base (~0: lost), which is the lowest byte that is out of reach;
 * acc_size, access, side, site, guest_pc and done (adj) as the site says; acc_gva = gva,
 * since where the access began is in the code's registers; gpa ~0. A landing pad that
 * makes the same access by a helper gets the exact record; where that helper completes, the
 * fault's record is still there, of an access that was made good. */
typedef struct vme_site {
  uint32_t pc_off;   /* the instruction, from the base of the code */
  uint32_t land_off; /* where it goes on */
  uint8_t access;    /* VME_ACCESS_READ or VME_ACCESS_WRITE */
  uint8_t size_log2; /* bytes that the instruction moves, 0..6 */
  uint8_t side;      /* VME_SIDE_* */
  uint8_t flags;     /* VME_SITE_* */
  uint16_t cookie;   /* the JIT's, for vme_fault::site */
  uint16_t adj;      /* bytes of the copy that are done before it */
  uint64_t guest_pc;
} vme_site;

/* The address is a host pointer that need not lie in the arena: vme_fault::gva is then
 * the host address. */
enum { VME_SITE_HOST_POINTER = 1 };

typedef struct vme_code vme_code;

/* Makes the sites of [base, base + len) known, in ascending order of pc_off; they are
 * copied. `base` is where the code runs, not where a second view of it is written.
 *
 * Memory:  may be called while other threads run and fault in other code. A site is in
 *          force when the call has returned.
 * Errors:  VME_EINVAL: a null pointer (sites may be null with n = 0), len 0 or above 4
 *          GiB, a site outside of the code, out of order or with fields out of range, code
 *          that is not mapped executable, or that overlaps what is registered. VME_ENOMEM.
 *          *out is written on success only.
 * Cost:    a wait for the handlers that run, and a copy of some KiB. The first one in a
 *          mapping reads /proc/self/maps; the last 16 mappings that were found executable
 *          are believed to be so, whatever has become of them. */
vme_rc vme_code_register(vme_engine* engine, void* base, uint64_t len, const vme_site* sites,
                         uint64_t n, vme_code** out);
/* Forgets them, and returns once no handler looks at them. NULL is ignored.
 *
 * Needs:   no thread runs the code, or comes to: a fault there is the previous handler's
 *          from here on. Before vme_engine_destroy.
 * Errors:  VME_EBUSY, with nothing changed: the cur_blk range of an attached vCPU holds
 *          the guest_pc of one of the sites, so it is running. A JIT that keeps cur_blk
 *          empty is not told. */
vme_rc vme_code_unregister(vme_code* code);

/* Installs the handler of SIGSEGV and SIGBUS, once in a process; see vm_mem/host_fault.h,
 * whose handler it is. `flags` is 0.
 * Errors:  VME_EINVAL (flags), VME_ENOTSUP (the host refused). */
vme_rc vme_fault_install(uint32_t flags);
/* For an embedder that owns the handler, installed with SA_SIGINFO: 1 where the fault was
 * the library's (emitted code, or guest memory that failed under a copy) and the handler
 * returns at once; 0, with nothing touched, where it was not.
 * Memory:  async-signal-safe, no lock. errno is kept. */
int vme_fault_try(int signal, void* siginfo, void* ucontext);

/* Faults of this thread's emitted code are those of `cpu` from here on; a vCPU that it had
 * before is detached. Gives the thread an alternate signal stack where it has none, and
 * unblocks SIGSEGV and SIGBUS. The end of the thread, or of the vCPU, detaches.
 * Errors:  VME_EINVAL (no vCPU, or attached to another thread), VME_ENOMEM. */
vme_rc vme_thread_attach(vme_cpu* cpu);
/* Takes the alternate stack away if it is the library's. Does nothing where no vCPU is
 * attached. */
void vme_thread_detach(void);

/* Sites that fault again and again, so that the JIT can emit them in another form. */
typedef struct vme_hot_site {
  vme_code* code;
  uint64_t index;  /* in the array that was registered */
  uint64_t faults; /* so far */
  vme_site site;
} vme_hot_site;
typedef void (*vme_hot_fn)(void* opaque, const vme_hot_site* site);

/* After how many faults a site is hot: at devices, and at all other memory. 0: never. In
 * the beginning 1 and 16. A lower limit holds for sites that have as many already, from their
 * next fault on. A null engine is ignored. */
void vme_hot_limits(vme_engine* engine, uint32_t device_faults, uint32_t other_faults);
/* Calls `fn` for each site that has become hot since the last call, once in its life, outside
 * of any handler, on this thread; returns how many. fn may register and unregister code.
 * Cost:  one load where none is hot: for a JIT's loop. */
uint64_t vme_hot_take(vme_engine* engine, vme_hot_fn fn, void* opaque);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VM_ENGINE_VM_ENGINE_H_ */
