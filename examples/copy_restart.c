/* A CPU engine in C11: guest memory as callbacks, page tables, and copies that stop at a
 * page fault and go on at the very byte. Prints what it does. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vm_engine/vm_engine.h"

enum { PAGE = 4096, PAGES = 8, UART = 0x10000 };

/* Eight pages of RAM from 0 on, which the guest's page tables show where they lie, once they
 * are present; and a device that takes characters. */
struct board {
  unsigned char ram[PAGES * PAGE];
  int present[PAGES];
  char printed[64];
  size_t characters;
};

static uint64_t read_memory(void* opaque, uint64_t gpa, void* host, uint64_t n, uint32_t* why) {
  const struct board* board = opaque;
  if (gpa >= sizeof board->ram) {
    *why = VME_UNMAPPED;
    return 0;
  }
  memcpy(host, board->ram + gpa, n); /* never crosses a page */
  return n;
}

static uint64_t write_memory(void* opaque, uint64_t gpa, const void* host, uint64_t n,
                             uint32_t* why) {
  struct board* board = opaque;
  if (gpa < sizeof board->ram) {
    memcpy(board->ram + gpa, host, n);
    return n;
  }
  if (gpa >= UART && n == 1 && board->characters < sizeof board->printed) {
    board->printed[board->characters++] = *(const char*)host;
    return n;
  }
  *why = VME_MMIO; /* the device refuses */
  return 0;
}

static uint32_t probe_memory(void* opaque, uint64_t gpa, uint32_t access) {
  const struct board* board = opaque;
  if (gpa < sizeof board->ram) return VME_OK;
  return gpa >= UART && access == VME_ACCESS_WRITE ? VME_MMIO : VME_UNMAPPED;
}

/* The walk of the guest's page tables. */
static vme_rc walk(void* opaque, uint64_t gva, uint32_t access, uint32_t mmu_mode,
                   uint64_t* gpa_page, uint32_t* permitted) {
  const struct board* board = opaque;
  (void)access, (void)mmu_mode;
  if (gva < UART && (gva >= PAGES * PAGE || !board->present[gva / PAGE])) return VME_XLAT;
  *gpa_page = gva / PAGE * PAGE;
  *permitted = VME_ACCESS_READ | VME_ACCESS_WRITE;
  return VME_OK;
}

static void print_fault(const char* what, uint64_t left, const vme_cpu* cpu) {
  printf("%s: %" PRIu64 " left; %" PRIu64 " done, then %s at 0x%" PRIx64 ", the %s\n", what, left,
         cpu->fault.done, vme_rc_name((vme_rc)cpu->fault.rc), cpu->fault.gva,
         cpu->fault.side == VME_SIDE_SOURCE ? "source" : "destination");
}

/* What x86's rep movsb is, or Arm's CPYF: three registers that say how far it got. */
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

static int copies(vme_cpu* cpu, struct board* board) {
  for (uint64_t i = 0; i < 2 * PAGE; ++i) board->ram[i] = (unsigned char)(i * 7);
  board->present[0] = 1;
  struct copy_registers r = {.dst = 4 * PAGE - 100, .src = 200, .n = 6000};
  if (!copy_with_page_faults(cpu, board, &r)) return 0;
  printf("  the bytes are %s\n",
         memcmp(board->ram + 4 * PAGE - 100, board->ram + 200, 6000) == 0 ? "right" : "wrong");

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
  return 1;
}

static int devices_and_requests(vme_cpu* cpu, struct board* board) {
  vme_write(cpu, 0, "hello", 5, 0);
  const uint64_t left = vme_copy(cpu, UART, 0, 5, 0);
  printf("device: %" PRIu64 " left, %zu accesses, \"%.*s\"\n", left, board->characters,
         (int)board->characters, board->printed);
  print_fault("no devices", vme_copy(cpu, UART, 0, 5, VME_NO_MMIO), cpu);

  /* Somebody wants this vCPU: a long copy lets go at the next page. */
  cpu->exit_request = 1;
  print_fault("asked to stop", vme_copy(cpu, 4 * PAGE, 0, 2 * PAGE, VME_POLL), cpu);
  cpu->exit_request = 0;
  return left == 0;
}

static void bad_input(vme_cpu* cpu, vme_config config) {
  vme_engine* none = NULL;
  config.abi_version = VME_ABI_VERSION + 1;
  printf("another ABI version: %s\n", vme_rc_name(vme_engine_create(&config, &none)));
  config.abi_version = VME_ABI_VERSION;
  config.memory = NULL;
  printf("no memory: %s\n", vme_rc_name(vme_engine_create(&config, &none)));
  static vme_cpu foreign;
  printf("no vCPU: %" PRIu64 " left; not the library's: %" PRIu64 " left, %s\n",
         vme_copy(NULL, 0, 0, 16, 0), vme_copy(&foreign, 0, 0, 16, 0),
         vme_rc_name(vme_thread_attach(&foreign)));
  print_fault("unknown flags", vme_copy(cpu, 0, 0, 16, 1u << 31), cpu);
}

int main(void) {
  static struct board board;
  static const vme_memory_ops memory = {read_memory, write_memory, probe_memory};
  const vme_config config = {.abi_version = VME_ABI_VERSION,
                             .memory = &memory,
                             .memory_opaque = &board,
                             .translate = walk,
                             .translate_opaque = &board};
  vme_engine* engine = NULL;
  vme_cpu* cpu = NULL;
  if (vme_engine_create(&config, &engine) != VME_OK) return 1;
  if (vme_cpu_create(engine, &cpu) != VME_OK) return 1;

  const int is_right = copies(cpu, &board) && devices_and_requests(cpu, &board);
  bad_input(cpu, config);
  vme_cpu_destroy(cpu);
  vme_engine_destroy(engine);
  return is_right ? 0 : 1;
}
