/* A CPU engine in C11: guest memory, page tables, a load of a few bytes of machine code,
 * copies that stop at a page fault and go on at the very byte, LL/SC, and code that somebody
 * overwrites. Prints what it does. */
#define _DEFAULT_SOURCE /* mmap's MAP_ANONYMOUS */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vm_engine/exclusive.h"
#include "vm_engine/memory_c.h"
#include "vm_engine/translation.h"
#include "vm_engine/vm_engine.h"

enum { PAGE = 4096, PAGES = 8, RAM = 0x40000000, UART = 0x10000000, UART_GVA = 0x100000 };

/* The guest sees RAM from virtual address 0 on, page by page once it is present, and a device
 * that takes characters at UART_GVA. */
struct board {
  int present[PAGES];
  unsigned walks;
  char printed[64];
  size_t characters;
};

static uint32_t read_uart(void* opaque, uint64_t offset, uint32_t size, uint64_t* value) {
  (void)opaque, (void)offset, (void)size, (void)value;
  return VME_PROT; /* it has nothing to read */
}

static uint32_t write_uart(void* opaque, uint64_t offset, uint32_t size, uint64_t value) {
  struct board* board = opaque;
  (void)offset;
  if (size != 1 || board->characters == sizeof board->printed) return VME_MMIO;
  board->printed[board->characters++] = (char)value;
  return VME_OK;
}

/* The walk of the guest's page tables. */
static vme_rc walk(void* opaque, uint64_t gva, uint32_t access, uint32_t mmu_mode,
                   uint64_t* gpa_page, uint32_t* permitted) {
  struct board* board = opaque;
  (void)access, (void)mmu_mode;
  ++board->walks;
  *permitted = VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE;
  *gpa_page = gva / PAGE == UART_GVA / PAGE ? UART : RAM + gva / PAGE * PAGE;
  if (*gpa_page == UART) return VME_OK;
  return gva < PAGES * PAGE && board->present[gva / PAGE] ? VME_OK : VME_XLAT;
}

static void print_fault(const char* what, uint64_t left, const vme_cpu* cpu) {
  printf("%s: %" PRIu64 " left; %" PRIu64 " done, then %s at 0x%" PRIx64 ", the %s\n", what, left,
         cpu->fault.done, vme_rc_name((vme_rc)cpu->fault.rc), cpu->fault.gva,
         cpu->fault.side == VME_SIDE_SOURCE ? "source" : "destination");
}

/* --- A load of 8 bytes, as a JIT without an assembler writes it: ten instructions where the
 * soft TLB has the page, else vme_load. */

typedef vme_value (*load_fn)(vme_cpu* cpu, uint64_t gva);

#if defined(__x86_64__)
static const unsigned char load_code[] = {0x48,
                                          0x89,
                                          0xf0, /* mov rax, rsi */
                                          0x48,
                                          0xc1,
                                          0xe8,
                                          VME_TLB_INDEX_SHIFT, /* shr rax, 7 */
                                          0x48,
                                          0x23,
                                          0x47,
                                          VME_TLB_MASK_OFFSET, /* and rax, [rdi + ...] */
                                          0x48,
                                          0x03,
                                          0x47,
                                          VME_TLB_TABLE_OFFSET, /* add rax, [rdi + ...] */
                                          0x48,
                                          0x8d,
                                          0x4e,
                                          7, /* lea rcx, [rsi + 7] */
                                          0x48,
                                          0x81,
                                          0xe1,
                                          0x00,
                                          0xf0,
                                          0xff,
                                          0xff, /* and rcx, ~0xfff */
                                          0x48,
                                          0x3b,
                                          0x48,
                                          VME_TLB_ENTRY_READ_OFFSET, /* cmp rcx, [rax + ...] */
                                          0x75,
                                          10, /* jne slow */
                                          0x48,
                                          0x03,
                                          0x70,
                                          VME_TLB_ENTRY_ADDEND_OFFSET, /* add rsi, [rax + ...] */
                                          0x48,
                                          0x8b,
                                          0x06, /* mov rax, [rsi] */
                                          0x31,
                                          0xd2, /* xor edx, edx: nothing left */
                                          0xc3, /* ret */
                                          0xba,
                                          0x00,
                                          3 << (VME_ELEM_SHIFT - 8),
                                          0x00,
                                          0x00, /* slow: mov edx, 3 << ELEM_SHIFT */
                                          0x48,
                                          0xb8,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0, /* mov rax, vme_load */
                                          0xff,
                                          0xe0}; /* jmp rax */

static load_fn make_load(void) {
  unsigned char* const page =
      mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  vme_value (*const slow)(vme_cpu*, uint64_t, uint32_t) = vme_load;
  memcpy(page, load_code, sizeof load_code);
  memcpy(page + sizeof load_code - 10, &slow, sizeof slow);
  if (mprotect(page, PAGE, PROT_READ | PROT_EXEC) != 0) return NULL;
  load_fn load = NULL;
  memcpy(&load, &page, sizeof load);
  return load;
}
#else
/* The same in C. */
static vme_value probe_and_load(vme_cpu* cpu, uint64_t gva) {
  const uint64_t at = gva >> VME_TLB_INDEX_SHIFT & cpu->tlb[0].mask;
  const vme_tlb_entry* const entry = cpu->tlb[0].table + at / VME_TLB_ENTRY_BYTES;
  if (entry->read != ((gva + 7) & ~(uint64_t)0xfff)) return vme_load(cpu, gva, 3 << VME_ELEM_SHIFT);
  vme_value loaded = {0, 0};
  memcpy(&loaded.value, (const void*)(uintptr_t)(gva + entry->addend), sizeof loaded.value);
  return loaded;
}
static load_fn make_load(void) { return probe_and_load; }
#endif

static int loads(vme_cpu* cpu, struct board* board) {
  const load_fn load = make_load();
  if (load == NULL) return 0;
  vme_store(cpu, 0x10, UINT64_C(0x1122334455667788), 3 << VME_ELEM_SHIFT);
  vme_tlb_flush(cpu);
  for (int i = 0; i < 2; ++i) {
    const unsigned before = board->walks;
    const vme_value loaded = load(cpu, 0x10);
    printf("load: 0x%" PRIx64 ", %u walks\n", loaded.value, board->walks - before);
  }
  print_fault("load of a page that is not there", load(cpu, 7 * PAGE).left, cpu);
  return 1;
}

/* --- What x86's rep movsb is, or Arm's CPYF: registers that say how far it got. */

struct copy_registers {
  uint64_t dst, src, n;
};

static int copy_with_page_faults(vme_cpu* cpu, struct board* board, struct copy_registers* r) {
  uint64_t left;
  while ((left = vme_copy(cpu, r->dst, r->src, r->n, VME_OVERLAP_PROPAGATE)) != 0) {
    print_fault("copy", left, cpu);
    r->dst += r->n - left;
    r->src += r->n - left;
    r->n = left;
    if (cpu->fault.rc != VME_XLAT || cpu->fault.gva >= PAGES * PAGE) return 0;
    board->present[cpu->fault.gva / PAGE] = 1; /* the guest's handler; then once more */
  }
  printf("copy: complete\n");
  return 1;
}

static int copies(vme_memory* memory, vme_cpu* cpu, struct board* board) {
  unsigned char bytes[2 * PAGE], copied[6000];
  for (int i = 0; i < 2 * PAGE; ++i) bytes[i] = (unsigned char)(i * 7);
  if (vme_memory_write(memory, RAM, bytes, sizeof bytes, NULL) != 0) return 0;
  struct copy_registers r = {.dst = 4 * PAGE - 100, .src = 200, .n = sizeof copied};
  if (!copy_with_page_faults(cpu, board, &r)) return 0;
  vme_read(cpu, copied, 4 * PAGE - 100, sizeof copied, 0);
  const int is_right = memcmp(copied, bytes + 200, sizeof copied) == 0;
  printf("copy: the bytes are %s\n", is_right ? "right" : "wrong");

  /* To a place two bytes behind itself: rep movsb repeats them, a memmove does not. */
  char text[13] = {0};
  vme_write(cpu, 0, "ab----------", 12, 0);
  vme_copy(cpu, 2, 0, 10, VME_OVERLAP_PROPAGATE);
  vme_read(cpu, text, 0, 12, 0);
  printf("propagate: %s\n", text);
  vme_write(cpu, 0, "abcdefghijkl", 12, 0);
  vme_copy(cpu, 2, 0, 10, VME_OVERLAP_MEMMOVE);
  vme_read(cpu, text, 0, 12, 0);
  printf("memmove: %s\n", text);

  /* Page 2 is not there. Backwards it is the end that is done; or nothing at all. */
  print_fault("backward", vme_fill(cpu, 3 * PAGE - 50, 0, 150, VME_BACKWARD), cpu);
  print_fault("all or nothing", vme_fill(cpu, 2 * PAGE - 50, 0, 150, VME_ATOMIC_OR_NOTHING), cpu);
  return is_right;
}

static int devices_and_requests(vme_cpu* cpu, struct board* board) {
  vme_write(cpu, 0, "hello", 5, 0);
  const uint64_t left = vme_copy(cpu, UART_GVA, 0, 5, 0);
  printf("device: %" PRIu64 " left, %zu accesses, \"%.*s\"\n", left, board->characters,
         (int)board->characters, board->printed);
  print_fault("no devices", vme_copy(cpu, UART_GVA, 0, 5, VME_NO_MMIO), cpu);

  /* Somebody wants this vCPU: a long copy lets go at the next page. */
  cpu->exit_request = 1;
  print_fault("asked to stop", vme_copy(cpu, 4 * PAGE, 0, 2 * PAGE, VME_POLL), cpu);
  cpu->exit_request = 0;
  return left == 0;
}

/* --- LL/SC, and translated code: whoever writes is noticed. */

static int exclusives(vme_memory* memory, vme_cpu* cpu) {
  const uint32_t word = 2 << VME_ELEM_SHIFT;
  vme_value seen = vme_excl_load(cpu, 0x40, word);
  vme_value failed = vme_excl_store(cpu, 0x40, seen.value + 1, word);
  printf("store-conditional: %s", failed.value == 0 ? "stored" : "refused");
  seen = vme_excl_load(cpu, 0x40, word);
  vme_memory_write(memory, RAM + 0x40, "DMA.", 4, NULL);
  failed = vme_excl_store(cpu, 0x40, seen.value + 1, word);
  printf("; after somebody's write: %s\n", failed.value == 0 ? "stored" : "refused");
  return seen.left == 0 && failed.left == 0 && failed.value == 1;
}

static void on_written(void* opaque, const vme_tc_event* events, size_t n) {
  static const char* const causes[] = {"store", "copy", "DMA", "host", "unmap", "remap"};
  for (size_t i = 0; i < n; ++i) {
    printf("code: %" PRIu64 " bytes at 0x%" PRIx64 " were written: %s\n", events[i].written.len,
           events[i].written.ram_off, events[i].why < 6 ? causes[events[i].why] : "gone");
  }
  *(int*)opaque = 1; /* a JIT unlinks the block here */
}

static int translated_code(vme_engine* engine, vme_memory* memory, vme_cpu* cpu) {
  int is_stale = 0;
  vme_tc* tc = NULL;
  vme_translation block = {.n = 0};
  unsigned char code[16];
  if (vme_thread_attach(cpu) != VME_OK) return 0;
  if (vme_tc_register(engine, on_written, &is_stale, &tc) != VME_OK) return 0;
  if (vme_tc_fetch(tc, cpu, 0x800, code, sizeof code, 0, &block) != 0) return 0;
  printf("code: %s\n", vme_tc_end_translate(tc, &block) != 0 ? "unchanged, linked" : "changed");
  vme_store(cpu, 0x900, 1, 3 << VME_ELEM_SHIFT); /* data beside it */
  vme_store(cpu, 0x808, 1, 2 << VME_ELEM_SHIFT);
  vme_memory_write(memory, RAM + 0x80c, "DMA.", 4, NULL);
  vme_tc_release(tc, &block);
  vme_tc_unregister(tc);
  vme_thread_detach();
  return is_stale;
}

static void bad_input(vme_memory* memory, vme_cpu* cpu, vme_config config) {
  vme_engine* none = NULL;
  char words[96] = "";
  config.abi_version = VME_ABI_VERSION + 1;
  printf("another ABI version: %s\n", vme_rc_name(vme_engine_create_over(memory, &config, &none)));
  const vme_rc rc = vme_memory_add_ram(memory, RAM, PAGE, 0, NULL);
  vme_memory_error(memory, words, sizeof words);
  printf("RAM where there is some: %s, \"%s\"\n", vme_rc_name(rc), words);
  static vme_cpu foreign;
  printf("no vCPU: %" PRIu64 " left; not the library's: %" PRIu64 " left, %s\n",
         vme_copy(NULL, 0, 0, 16, 0), vme_copy(&foreign, 0, 0, 16, 0),
         vme_rc_name(vme_thread_attach(&foreign)));
  print_fault("unknown flags", vme_copy(cpu, 0, 0, 16, 1u << 31), cpu);
}

int main(void) {
  static struct board board = {.present = {1}};
  static const vme_device_ops uart = {read_uart, write_uart};
  const vme_config config = {
      .abi_version = VME_ABI_VERSION, .translate = walk, .translate_opaque = &board};
  vme_memory* memory = NULL;
  vme_engine* engine = NULL;
  vme_cpu* cpu = NULL;
  if (vme_memory_create(0, &memory) != VME_OK) return 1;
  if (vme_memory_add_ram(memory, RAM, PAGES * PAGE, VME_RAM_CODE_WATCH, NULL) != VME_OK) return 1;
  if (vme_memory_add_device(memory, UART, PAGE, &uart, &board, NULL) != VME_OK) return 1;
  if (vme_engine_create_over(memory, &config, &engine) != VME_OK) return 1;
  if (vme_cpu_create(engine, &cpu) != VME_OK) return 1;

  const int is_right = loads(cpu, &board) && copies(memory, cpu, &board) &&
                       devices_and_requests(cpu, &board) && exclusives(memory, cpu) &&
                       translated_code(engine, memory, cpu);
  bad_input(memory, cpu, config);
  vme_cpu_destroy(cpu);
  vme_engine_destroy(engine);
  vme_memory_destroy(memory);
  return is_right ? 0 : 1;
}
