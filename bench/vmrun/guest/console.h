// What a guest program says, on the NS16550A.
#ifndef BENCH_VMRUN_GUEST_CONSOLE_H_
#define BENCH_VMRUN_GUEST_CONSOLE_H_

#include <stdint.h>

static inline void put_text(const char* text) {
  volatile uint8_t* const uart = (volatile uint8_t*)0x10000000;
  for (; *text != 0; ++text) *uart = (uint8_t)*text;
}

// "NAME HEX", on a line of its own: what both machines have to agree on.
static inline void put_result(const char* name, uint64_t value) {
  char digits[18];
  for (int i = 0; i < 16; ++i) digits[i] = "0123456789abcdef"[(value >> (60 - 4 * i)) & 15];
  digits[16] = '\n';
  digits[17] = 0;
  put_text(name);
  put_text(" ");
  put_text(digits);
}

#endif  // BENCH_VMRUN_GUEST_CONSOLE_H_
