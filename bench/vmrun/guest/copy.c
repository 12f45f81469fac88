// Reads a disk, moves what it read in pieces of all sizes by the machine's own copy
// instruction, fills, and writes back: what a guest does that serves files.

#include "bench/vmrun/guest/console.h"
#include "bench/vmrun/guest/disk.h"
#include "tools/vmrun/guest/vm_copy.h"

enum { kBytes = 4 << 20, kRequest = 256 << 10, kSector = 512, kRounds = 30, kPieces = 12000 };

static uint8_t file[kBytes + 4096] __attribute__((aligned(4096)));
static uint8_t pages[kBytes + 65536] __attribute__((aligned(4096)));

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

// What is written lies behind what is read.
static int transfer(enum disk_direction direction) {
  const uint64_t begin = direction == kDiskWrite ? kBytes : 0;
  for (uint64_t at = 0; at < kBytes; at += kRequest) {
    if (!disk_transfer(direction, (begin + at) / kSector, file + at, kRequest)) return 0;
  }
  return 1;
}

// As many small ones as large ones: 64 bytes, 4 KiB and 64 KiB, and some less.
static void serve(void) {
  for (int i = 0; i < kPieces; ++i) {
    const uint64_t chance = next_random();
    const uint64_t most = (chance & 3) == 0 ? 65536 : (chance & 3) == 1 ? 64 : 4096;
    const uint64_t bytes = most - (chance >> 8) % (most / 4);
    vm_copy(pages + (chance >> 20) % kBytes, file + (chance >> 40) % (kBytes - 65536), bytes);
    if ((chance & 0xf0) == 0) vm_set(file + (chance >> 24) % kBytes, (int)(chance >> 3), 4096);
  }
}

static uint64_t sum_of(const uint8_t* bytes) {
  uint64_t sum = 0;
  for (uint64_t at = 0; at < kBytes; at += 64) sum = sum * 31 + *(const uint64_t*)(bytes + at);
  return sum;
}

int main(void) {
  if (!disk_start()) return put_text("no disk\n"), 1;
  for (int round = 0; round < kRounds; ++round) {
    if (!transfer(kDiskRead)) return put_text("the disk cannot be read\n"), 1;
    serve();
    vm_copy(file, pages, kBytes);
    if (!transfer(kDiskWrite)) return put_text("the disk cannot be written\n"), 1;
  }
  put_result("file", sum_of(file));
  put_result("pages", sum_of(pages));
  return 0;
}
