// One pass of copies and fills between two buffers, as many small ones as large: by loops
// over words where both sides are aligned, else bytes, or (VM_GUEST_BULK) by vm.cpy and vm.set.

#include <stdint.h>

#include "tools/vmrun/guest/vm_copy.h"

enum { kPieces = 24, kMost = 65536, kBufferBytes = 1 << 20 };

// Where the suite looks for them.
static uint8_t* const from = (uint8_t*)0x80100000;
static uint8_t* const to = (uint8_t*)0x80200000;

#ifdef VM_GUEST_BULK
static void copy(uint8_t* at, const uint8_t* source, uint64_t bytes) { vm_copy(at, source, bytes); }
static void fill(uint8_t* at, uint8_t value, uint64_t bytes) { vm_set(at, value, bytes); }
#else
static void copy(uint8_t* at, const uint8_t* source, uint64_t bytes) {
  if ((((uintptr_t)at | (uintptr_t)source) & 7) == 0) {
    for (; bytes >= 8; bytes -= 8, at += 8, source += 8) *(uint64_t*)at = *(const uint64_t*)source;
  }
  for (; bytes != 0; --bytes) *at++ = *source++;
}
static void fill(uint8_t* at, uint8_t value, uint64_t bytes) {
  for (; bytes != 0; --bytes) *at++ = value;
}
#endif

// 64 bytes, 4 KiB and 64 KiB, and some less; every other copy is aligned.
int main(void) {
  uint64_t state = 88172645463325252u;
  for (int i = 0; i < kPieces; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const uint64_t most = i % 3 == 0 ? 64 : i % 3 == 1 ? 4096 : kMost;
    const uint64_t bytes = most - (state >> 8) % (most / 4);
    const uint64_t mask = (i & 1) != 0 ? ~(uint64_t)7 : ~(uint64_t)0;
    copy(to + ((state >> 20) % (kBufferBytes - kMost) & mask),
         from + ((state >> 40) % (kBufferBytes - kMost) & mask), bytes);
    if (i % 8 == 7) fill(to + (state >> 30) % (kBufferBytes - kMost), (uint8_t)state, most);
  }
  return 0;
}
