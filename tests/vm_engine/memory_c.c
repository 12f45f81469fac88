/* A machine in C11 on the library's own memory: RAM with a mirror, ROM, a device and code
 * that reaches all of it through the arena. Returns the number of the line that failed, 0
 * where all is well. */
#include "tests/vm_engine/memory_c.h"

#include <string.h>

#include "vm_engine/fastmem_c.h"
#include "vm_engine/memory_c.h"
#include "vm_engine/translation.h"

enum { PAGE = 4096, RAM = 0x10000, RAM_BYTES = 16 * PAGE, MIRROR = 0x40000, ROM = 0x60000 };
enum { DEVICE = 0x80000, NEW_RAM = 0x100000 };

#define CHECK(condition) \
  if (!(condition)) return __LINE__

/* Emitted code, as fault_sites.h has it. */
extern const unsigned char vm_test_sites[];
extern const unsigned char vm_test_sites_end[];
extern const unsigned char vm_test_load_site[];
extern const unsigned char vm_test_load_land[];
extern const unsigned char vm_test_store_site[];
extern const unsigned char vm_test_store_land[];
uint64_t vm_test_load(const void* base, uint64_t index, uint64_t* faulted);
void vm_test_store(void* base, uint64_t index, uint64_t value, uint64_t* faulted);

struct device {
  uint64_t last;
  unsigned reads;
  unsigned writes;
};

struct machine {
  vme_memory* memory;
  vme_engine* engine;
  vme_cpu* cpu;
  vme_fastmem* arena;
  vme_code* code;
  struct device device;
  uint64_t ram_id;
};

static uint32_t device_read(void* opaque, uint64_t offset, uint32_t size, uint64_t* value) {
  struct device* device = opaque;
  ++device->reads;
  *value = offset << 8 | size;
  return offset == 0xff8 ? VME_MMIO : VME_OK;
}

static uint32_t device_write(void* opaque, uint64_t offset, uint32_t size, uint64_t value) {
  struct device* device = opaque;
  (void)size;
  ++device->writes;
  device->last = value;
  return offset == 0 ? VME_OK : VME_PROT;
}

static const vme_device_ops device_ops = {device_read, device_write};
static const uint32_t word = 3u << VME_ELEM_SHIFT;

/* Directly, or by the helper where that faults. */
static uint64_t load(struct machine* m, uint64_t gpa, uint64_t* left) {
  uint64_t faulted = 7;
  const uint64_t value = vm_test_load(m->cpu->fastmem_base, gpa, &faulted);
  *left = 0;
  if (faulted == 0) return value;
  const vme_value slow = vme_load(m->cpu, gpa, word);
  *left = slow.left;
  return slow.value;
}

static uint64_t store(struct machine* m, uint64_t gpa, uint64_t value) {
  uint64_t faulted = 7;
  vm_test_store(m->cpu->fastmem_base, gpa, value, &faulted);
  return faulted == 0 ? 0 : vme_store(m->cpu, gpa, value, word);
}

static int is_direct(struct machine* m, uint64_t gpa) {
  uint64_t faulted = 7;
  vm_test_store(m->cpu->fastmem_base, gpa, 1, &faulted);
  return faulted == 0;
}

static int make_memory(struct machine* m) {
  uint64_t id = 0;
  CHECK(vme_memory_create(0, &m->memory) == VME_OK);
  CHECK(vme_memory_error(m->memory, NULL, 0) == 0);
  CHECK(vme_memory_add_ram(m->memory, RAM, RAM_BYTES, VME_RAM_CODE_WATCH, &m->ram_id) == VME_OK);
  CHECK(vme_memory_add_alias(m->memory, MIRROR, 4 * PAGE, m->ram_id, PAGE, NULL) == VME_OK);
  CHECK(vme_memory_add_rom(m->memory, ROM, PAGE, "read only", 9, &id) == VME_OK);
  CHECK(id != m->ram_id);
  CHECK(vme_memory_add_device(m->memory, DEVICE, PAGE, &device_ops, &m->device, NULL) == VME_OK);
  return 0;
}

static int make_engine(struct machine* m) {
  vme_config config = {0};
  const vme_fastmem_config small = {VME_ABI_VERSION, 0, 16u << 20, 1u << 20, 0};
  config.abi_version = VME_ABI_VERSION;
  CHECK(vme_engine_create_over(m->memory, &config, &m->engine) == VME_OK);
  CHECK(vme_cpu_create(m->engine, &m->cpu) == VME_OK);
  CHECK(vme_fault_install(0) == VME_OK);
  CHECK(vme_thread_attach(m->cpu) == VME_OK);
  CHECK(vme_fastmem_create(m->engine, &small, &m->arena) == VME_OK);
  CHECK(vme_fastmem_is_complete(m->arena) == 1);
  CHECK(vme_fastmem_reason(m->arena, NULL, 0) == 0);
  CHECK(vme_fastmem_attach(m->arena, m->cpu) == VME_OK);
  CHECK(m->cpu->fastmem_base == vme_fastmem_base(m->arena));
  CHECK(vme_fastmem_bytes(m->arena) == 16u << 20);
  return 0;
}

static int make_code(struct machine* m) {
  vme_site sites[2] = {{0}, {0}};
  sites[0].pc_off = (uint32_t)(vm_test_load_site - vm_test_sites);
  sites[0].land_off = (uint32_t)(vm_test_load_land - vm_test_sites);
  sites[0].access = VME_ACCESS_READ;
  sites[0].size_log2 = 3;
  sites[1] = sites[0];
  sites[1].pc_off = (uint32_t)(vm_test_store_site - vm_test_sites);
  sites[1].land_off = (uint32_t)(vm_test_store_land - vm_test_sites);
  sites[1].access = VME_ACCESS_WRITE;
  sites[1].side = VME_SIDE_DESTINATION;
  const uint64_t bytes = (uint64_t)(vm_test_sites_end - vm_test_sites);
  CHECK(vme_code_register(m->engine, (void*)(uintptr_t)vm_test_sites, bytes, sites, 2, &m->code) ==
        VME_OK);
  return 0;
}

static int use_memory(struct machine* m) {
  uint64_t left = 7;
  uint64_t value = 0;
  uint32_t why = 0;
  void* host = NULL;
  CHECK(is_direct(m, RAM + PAGE) && is_direct(m, MIRROR));
  CHECK(store(m, MIRROR + 8, 77) == 0 && load(m, RAM + PAGE + 8, &left) == 77 && left == 0);
  CHECK(vme_memory_read(m->memory, RAM + PAGE + 8, &value, 8, &why) == 0 && value == 77);
  CHECK(vme_memory_write(m->memory, RAM + RAM_BYTES - 4, &value, 8, &why) == 4);
  CHECK(why == VME_UNMAPPED);
  CHECK(vme_memory_host(m->memory, RAM + PAGE + 8, 8, &host) == VME_OK);
  CHECK(memcmp(host, &value, 8) == 0);
  CHECK(vme_memory_host(m->memory, ROM, 8, &host) == VME_PROT);
  CHECK(vme_memory_host(m->memory, DEVICE, 8, &host) == VME_MMIO);
  CHECK(vme_memory_host(m->memory, 0, 8, &host) == VME_UNMAPPED);
  CHECK(vme_memory_host(m->memory, RAM + RAM_BYTES - 4, 8, &host) == VME_ENOTSUP);
  CHECK(!is_direct(m, ROM) && store(m, ROM, 1) == 8 && m->cpu->fault.rc == VME_PROT);
  value = load(m, ROM, &left);
  CHECK(memcmp(&value, "read onl", 8) == 0);
  return 0;
}

static int use_device(struct machine* m) {
  uint64_t left = 7;
  CHECK(load(m, DEVICE + 16, &left) == (16 << 8 | 8) && left == 0 && m->device.reads == 1);
  CHECK(store(m, DEVICE, 0x1234) == 0 && m->device.last == 0x1234 && m->device.writes == 1);
  CHECK(store(m, DEVICE + 8, 1) == 8 && m->cpu->fault.rc == VME_PROT);
  (void)load(m, DEVICE + 0xff8, &left);
  CHECK(left == 8 && m->cpu->fault.rc == VME_MMIO);
  return 0;
}

static int change_memory(struct machine* m) {
  uint64_t id = 0;
  uint64_t left = 0;
  CHECK(!is_direct(m, NEW_RAM));
  CHECK(vme_memory_add_ram(m->memory, NEW_RAM, PAGE, 0, &id) == VME_OK);
  CHECK(is_direct(m, NEW_RAM));
  vme_cpu_park(m->cpu);
  CHECK(vme_memory_remove(m->memory, id) == VME_OK);
  CHECK(!is_direct(m, NEW_RAM));
  (void)load(m, NEW_RAM, &left);
  CHECK(left == 8 && m->cpu->fault.rc == VME_UNMAPPED);
  CHECK(vme_memory_add_device(m->memory, NEW_RAM, PAGE, &device_ops, &m->device, &id) == VME_OK);
  CHECK(load(m, NEW_RAM, &left) == 8 && left == 0);
  vme_cpu_park(m->cpu);
  CHECK(vme_memory_remove(m->memory, id) == VME_OK);
  CHECK(vme_fastmem_protect(m->arena, m->ram_id, PAGE, 1) == VME_OK);
  CHECK(!is_direct(m, RAM + PAGE) && !is_direct(m, MIRROR) && is_direct(m, RAM));
  vme_fastmem_unprotect(m->arena, m->ram_id, PAGE, 1);
  CHECK(is_direct(m, MIRROR));
  return 0;
}

static void note_write(void* opaque, const vme_tc_event* events, size_t n) {
  if (n != 0) *(uint64_t*)opaque = events[0].written.ram_id;
}

static int watch_code(struct machine* m) {
  vme_tc* tc = NULL;
  vme_translation block = {0};
  uint64_t written = 0;
  CHECK(vme_tc_register(m->engine, note_write, &written, &tc) == VME_OK);
  CHECK(vme_tc_begin_translate(tc, m->cpu, RAM, 16, &block) == VME_OK);
  CHECK(vme_tc_end_translate(tc, &block) == 1);
  CHECK(!is_direct(m, RAM) && written == 0);
  CHECK(store(m, RAM, 5) == 0 && written == m->ram_id);
  vme_tc_release(tc, &block);
  vme_tc_unregister(tc);
  return 0;
}

static void destroy(struct machine* m) {
  (void)vme_code_unregister(m->code);
  if (m->arena != NULL) vme_fastmem_detach(m->arena, m->cpu);
  vme_fastmem_destroy(m->arena);
  vme_thread_detach();
  vme_cpu_destroy(m->cpu);
  vme_engine_destroy(m->engine);
  vme_memory_destroy(m->memory);
}

int vm_test_c_machine(void) {
  int (*const steps[])(struct machine*) = {make_memory, make_engine, make_code,     use_memory,
                                           use_device,  watch_code,  change_memory, NULL};
  struct machine machine = {0};
  int failed = 0;
  for (int i = 0; failed == 0 && steps[i] != NULL; ++i) failed = steps[i](&machine);
  destroy(&machine);
  return failed;
}
