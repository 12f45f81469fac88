#include "guest.h"

unsigned next_random(unsigned* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

void fill(unsigned char* at, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; ++i) at[i] = (unsigned char)next_random(&seed);
}

int holds(const unsigned char* at, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; ++i) {
    if (at[i] != (unsigned char)next_random(&seed)) return 0;
  }
  return 1;
}

unsigned crc32_of(unsigned crc, const unsigned char* at, size_t bytes) {
  crc = ~crc;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= at[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & -(crc & 1));
  }
  return ~crc;
}

static unsigned char* mapped(size_t bytes, int rights, int flags) {
  void* at = mmap(0, bytes, rights, flags | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? 0 : at;
}

unsigned char* new_memory(size_t bytes, int rights) { return mapped(bytes, rights, MAP_PRIVATE); }
unsigned char* shared_memory(size_t bytes, int rights) { return mapped(bytes, rights, MAP_SHARED); }

int set_rights(void* at, size_t bytes, int rights) {
  return my_syscall3(__NR_mprotect, at, bytes, rights) == 0;
}

pid_t wait_for(pid_t child, int* status) {
  return (pid_t)my_syscall4(__NR_wait4, child, status, 0, 0);
}

int all_ended_well(int children) {
  int good = 1;
  for (int i = 0; i < children; ++i) {
    int status = -1;
    if (wait_for(-1, &status) <= 0 || status != 0) good = 0;
  }
  return good;
}
