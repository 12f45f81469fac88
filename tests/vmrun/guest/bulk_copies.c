// The guest's library of bulk copies beside loops, sizes up to 300 at many overlaps. It
// switches off with a failure code at the first difference.

#include <stdint.h>

#include "tools/vmrun/guest/vm_copy.h"

enum { kBytes = 1024, kMiddle = 512, kMost = 300 };

void* memcpy(void* restrict to, const void* restrict from, size_t bytes);
void* memmove(void* to, const void* from, size_t bytes);
void* memset(void* to, int value, size_t bytes);

// Not in the pages of the code, which a translator watches.
static uint8_t got[kBytes] __attribute__((aligned(4096)));
static uint8_t want[kBytes];

static void fail(uint32_t code) { *(volatile uint32_t*)0x100000 = code << 16 | 0x3333; }

static void start(void) {
  for (int i = 0; i < kBytes; ++i) got[i] = want[i] = (uint8_t)(i * 7 + i / 256);
}

static void compare(uint32_t code) {
  for (int i = 0; i < kBytes; ++i) {
    if (got[i] != want[i]) fail(code);
  }
}

// volatile: loops stay loops.
static void loop_up(volatile uint8_t* to, const volatile uint8_t* from, int bytes) {
  for (int i = 0; i < bytes; ++i) to[i] = from[i];
}
static void loop_down(volatile uint8_t* to, const volatile uint8_t* from, int bytes) {
  while (bytes-- != 0) to[bytes] = from[bytes];
}

static void try_all(int distance, int bytes) {
  uint8_t* const to = got + kMiddle + distance;
  start();
  if (memmove(to, got + kMiddle, (size_t)bytes) != to) fail(1);
  (distance > 0 ? loop_down : loop_up)(want + kMiddle + distance, want + kMiddle, bytes);
  compare(2);
  if (vm_copy_up(to, got + kMiddle, (size_t)bytes) != to + bytes) fail(3);
  loop_up(want + kMiddle + distance, want + kMiddle, bytes);
  compare(4);
  if (vm_copy_down(to + bytes, got + kMiddle + bytes, (size_t)bytes) != to) fail(5);
  loop_down(want + kMiddle + distance, want + kMiddle, bytes);
  compare(6);
  if (memset(to, bytes | 0x5500, (size_t)bytes) != to) fail(7);
  for (volatile uint8_t* at = want + kMiddle + distance; bytes-- != 0;) *at++ = to[0];
  compare(8);
}

int main(void) {
  for (int bytes = 0; bytes <= kMost; bytes += 1 + bytes / 8) {
    for (int distance = -200; distance <= 200; distance += 1 + (distance & 15)) {
      try_all(distance, bytes);
    }
  }
  return 0;
}
