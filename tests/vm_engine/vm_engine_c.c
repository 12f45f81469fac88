/* A program in C11 on the C interface alone: memory as callbacks, one hole, one
 * device page. Returns the number of the line that failed, 0 where all is well. */
#include "tests/vm_engine/vm_engine_c.h"

#include <string.h>

#include "vm_engine/vm_engine.h"

_Static_assert(offsetof(vme_cpu, fault) == VME_CPU_FAULT_OFFSET, "fault");
_Static_assert(offsetof(vme_cpu, exit_request) == VME_CPU_EXIT_REQUEST_OFFSET, "exit_request");
_Static_assert(sizeof(vme_cpu) == VME_CPU_BYTES, "vme_cpu");
_Static_assert(sizeof(vme_tlb_entry) == VME_TLB_ENTRY_BYTES, "vme_tlb_entry");

enum { MEMORY_BYTES = 3 * 4096, DEVICE = 0x10000 };

struct board {
  unsigned char memory[MEMORY_BYTES];
  unsigned device_reads;
  unsigned device_bytes;
};

static uint64_t board_read(void* opaque, uint64_t gpa, void* host, uint64_t n, uint32_t* why) {
  struct board* board = opaque;
  if (gpa >= DEVICE && gpa < DEVICE + 4096) {
    ++board->device_reads;
    board->device_bytes += (unsigned)n;
    memset(host, 0xab, n);
    return n;
  }
  const uint64_t room = gpa < MEMORY_BYTES ? MEMORY_BYTES - gpa : 0;
  const uint64_t done = n < room ? n : room;
  memcpy(host, board->memory + (done != 0 ? gpa : 0), done);
  *why = VME_UNMAPPED;
  return done;
}

static uint64_t board_write(void* opaque, uint64_t gpa, const void* host, uint64_t n,
                            uint32_t* why) {
  struct board* board = opaque;
  const uint64_t room = gpa < MEMORY_BYTES ? MEMORY_BYTES - gpa : 0;
  const uint64_t done = n < room ? n : room;
  memcpy(board->memory + (done != 0 ? gpa : 0), host, done);
  *why = VME_UNMAPPED;
  return done;
}

static uint32_t board_probe(void* opaque, uint64_t gpa, uint32_t access) {
  (void)opaque;
  if (gpa >= DEVICE && gpa < DEVICE + 4096) return access == VME_ACCESS_READ ? VME_MMIO : VME_PROT;
  return gpa < MEMORY_BYTES ? VME_OK : VME_UNMAPPED;
}

#define CHECK(condition) \
  if (!(condition)) return __LINE__

static int use_cpu(vme_cpu* cpu, struct board* board) {
  char text[16] = {0};
  CHECK(vme_write(cpu, 100, "guest memory", 13, 0) == 0);
  CHECK(strcmp((const char*)board->memory + 100, "guest memory") == 0);
  CHECK(vme_copy(cpu, 4090, 100, 13, 0) == 0);
  CHECK(vme_read(cpu, text, 4090, 13, 0) == 0);
  CHECK(strcmp(text, "guest memory") == 0);
  CHECK(vme_copy(cpu, 4091, 4090, 8, VME_OVERLAP_PROPAGATE) == 0);
  CHECK(memcmp(board->memory + 4090, "ggggggggg", 9) == 0);
  CHECK(vme_fill(cpu, 0, 0x0201, 6, 1u << VME_ELEM_SHIFT) == 0);
  CHECK(memcmp(board->memory, "\1\2\1\2\1\2", 6) == 0);
  CHECK(vme_fill(cpu, MEMORY_BYTES - 10, 0x55, 32, 0) == 22);
  CHECK(cpu->fault.rc == VME_UNMAPPED && cpu->fault.gva == MEMORY_BYTES && cpu->fault.done == 10);
  CHECK(vme_fill(cpu, MEMORY_BYTES - 10, 0x66, 32, VME_ATOMIC_OR_NOTHING) == 32);
  CHECK(board->memory[MEMORY_BYTES - 1] == 0x55);
  CHECK(vme_write(cpu, MEMORY_BYTES - 2, "wxyz", 4, 2u << VME_ELEM_SHIFT) == 4);
  CHECK(board->memory[MEMORY_BYTES - 1] == 0x55 && cpu->fault.acc_size == 4);
  return 0;
}

static int use_device(vme_cpu* cpu, struct board* board) {
  uint64_t value = 0;
  CHECK(vme_read(cpu, &value, DEVICE, 8, 2u << VME_ELEM_SHIFT) == 0);
  CHECK(value == UINT64_C(0xabababababababab));
  CHECK(board->device_reads == 2 && board->device_bytes == 8);
  CHECK(vme_read(cpu, &value, DEVICE, 8, VME_NO_MMIO) == 8);
  CHECK(cpu->fault.rc == VME_MMIO && board->device_reads == 2);
  CHECK(vme_write(cpu, DEVICE, &value, 8, 0) == 8 && cpu->fault.rc == VME_PROT);
  void* host = &value;
  CHECK(vme_probe(cpu, 0, 4096, VME_ACCESS_READ | VME_ACCESS_WRITE, 0, &host) == VME_OK);
  CHECK(host == NULL);
  CHECK(vme_probe(cpu, 1, 4096, VME_ACCESS_READ, 0, NULL) == VME_EINVAL);
  return 0;
}

int vm_test_c_program(void) {
  static struct board board;
  const vme_memory_ops ops = {board_read, board_write, board_probe};
  vme_config config = {0};
  vme_engine* engine = NULL;
  vme_cpu* cpu = NULL;
  config.abi_version = vme_abi_version();
  config.memory = &ops;
  config.memory_opaque = &board;
  CHECK(vme_engine_create(&config, &engine) == VME_OK);
  CHECK(vme_cpu_create(engine, &cpu) == VME_OK);
  int failed = use_cpu(cpu, &board);
  if (failed == 0) failed = use_device(cpu, &board);
  vme_cpu_destroy(cpu);
  vme_engine_destroy(engine);
  return failed;
}
