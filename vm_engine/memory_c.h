/* Guest memory that the library holds, for embedders in C: RAM, ROM and devices at guest
 * physical addresses, and engines over it. In C++ it is a vm_mem::MemoryManager.
 *
 *   vme_memory_create, vme_memory_add_ram, ...   the guest's memory
 *   vme_engine_create_over                       an engine whose helpers reach it
 *   vme_fastmem_create                           one host address for all of it: fastmem_c.h
 *
 * Whatever is changed here, vCPUs, arenas and watchers of code follow by themselves.
 * docs/guest_memory.md says what regions are.
 */
#ifndef VM_ENGINE_MEMORY_C_H_
#define VM_ENGINE_MEMORY_C_H_

#include <stdint.h>

#include "vm_engine/vm_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vme_memory vme_memory;

/* Errors:  VME_EINVAL (a null argument, flags not 0), VME_ENOMEM. *out is written on success
 *          only. */
vme_rc vme_memory_create(uint32_t flags, vme_memory** out);
/* NULL is ignored.
 * Needs:  no engine over it and no vme_fastmem of one is left, nothing uses its memory. */
void vme_memory_destroy(vme_memory* memory);

/* The words for the latest failure of vme_memory_add_* and vme_memory_remove, by any thread,
 * with the numbers that were wrong: at most 255 bytes, cut to `bytes`, the 0 at their end
 * included. Returns how many bytes they take, without that 0; 0 where nothing failed. A null
 * argument or no memory at all leaves those of the failure before. `text` may be NULL with
 * bytes 0. */
uint64_t vme_memory_error(vme_memory* memory, char* text, uint64_t bytes);

/* --- Regions. Each call is all or nothing.
 *
 * Units:   gpa, bytes and offset are multiples of 4096. *id (`id` may be NULL) is what
 *          vme_memory_remove, vme_fastmem_protect and vme_tc_range::ram_id call the region.
 * Threads: any may call, while vCPUs run and while a device is called.
 * Errors:  VME_EINVAL  a null argument, flags that there are not, a size of 0 or misaligned,
 *                      a range that wraps, no such region
 *          VME_EBUSY   something is there already; an alias still shows it
 *          VME_ENOMEM  the host has no memory, or refuses it */

/* VME_RAM_CODE_WATCH: translators can watch it (translation.h), and the exclusive monitor
 * sees every writer (exclusive.h). The first store to each page by a helper then costs a
 * read-modify-write more. */
enum { VME_RAM_CODE_WATCH = 1 };

/* All zero. It has a descriptor, so that an arena can show it. */
vme_rc vme_memory_add_ram(vme_memory* memory, uint64_t gpa, uint64_t bytes, uint32_t flags,
                          uint64_t* id);
/* `content` is copied; what follows its `n` bytes is zero. */
vme_rc vme_memory_add_rom(vme_memory* memory, uint64_t gpa, uint64_t bytes, const void* content,
                          uint64_t n, uint64_t* id);
/* Shows `bytes` of region `of`, from `offset` on, at gpa, too. */
vme_rc vme_memory_add_alias(vme_memory* memory, uint64_t gpa, uint64_t bytes, uint64_t of,
                            uint64_t offset, uint64_t* id);

/* What a device does. `size` is 1, 2, 4 or 8, `offset` from the beginning of its region and
 * a multiple of size; the value is in the low bytes. The result is VME_OK, or the device
 * refuses: VME_PROT, or anything else for VME_MMIO. Calls come on the thread that made the
 * access, several at a time where several threads do. */
typedef struct vme_device_ops {
  uint32_t (*read)(void* opaque, uint64_t offset, uint32_t size, uint64_t* value);
  uint32_t (*write)(void* opaque, uint64_t offset, uint32_t size, uint64_t value);
} vme_device_ops;

/* *ops is copied; both are needed. */
vme_rc vme_memory_add_device(vme_memory* memory, uint64_t gpa, uint64_t bytes,
                             const vme_device_ops* ops, void* opaque, uint64_t* id);

/* Takes it out of the map, and waits, for a second at most, until nobody uses it.
 *
 * Needs:   not from a device. Where this thread has vCPUs, they are parked, or attached
 *          (vme_thread_attach): what they hold is waited for, too.
 * Errors:  VME_EBUSY: an alias shows it, nothing is done. VME_INTR: a vCPU has not come by (a
 *          helper call, a refresh) and is not parked: it is out of the map, but its memory or
 *          device may be in use until a further call with the same id returns VME_OK. */
vme_rc vme_memory_remove(vme_memory* memory, uint64_t id);

/* --- Its bytes, by guest physical address, for loaders and devices. Watchers are told.
 *
 * Return the bytes NOT done: 0, or what is left from the first byte that could not be;
 * *why (`why` may be NULL) is then VME_UNMAPPED, VME_PROT, VME_MMIO or VME_BUS, or
 * VME_EINVAL for a null argument. */
uint64_t vme_memory_read(vme_memory* memory, uint64_t gpa, void* host, uint64_t n, uint32_t* why);
uint64_t vme_memory_write(vme_memory* memory, uint64_t gpa, const void* host, uint64_t n,
                          uint32_t* why);

/* Where [gpa, gpa + n) of RAM is in this process; good until the region is removed. Whoever
 * writes there while code is watched calls vme_tc_written afterwards.
 * Errors:  VME_EINVAL (a null argument, n is 0), VME_UNMAPPED, VME_PROT (ROM), VME_MMIO,
 *          VME_ENOTSUP (not in one piece). */
vme_rc vme_memory_host(vme_memory* memory, uint64_t gpa, uint64_t n, void** host);

/* As vme_engine_create, with this memory in place of callbacks: config->memory is NULL.
 * Needs:  the engine is destroyed before the memory.
 * Errors:  as vme_engine_create; VME_ENOMEM also where vm_mem::CodeWatch::kMaxWatchers engines,
 *          arenas and vme_tc are over the memory. */
vme_rc vme_engine_create_over(vme_memory* memory, const vme_config* config, vme_engine** out);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VM_ENGINE_MEMORY_C_H_ */
