// What the checks of the Linux guest share.
#ifndef TOOLS_LINUX_GUEST_H_
#define TOOLS_LINUX_GUEST_H_

#include "nolibc.h"

enum { kPage = 4096, kReadWrite = PROT_READ | PROT_WRITE };

// One check: its name, and 1 where it passed, 0 where it failed, negative where this machine
// lacks what it takes.
struct check {
  const char* name;
  int (*passes)(void);
};
extern const struct check kMemoryChecks[];  // each list ends with an entry without a name
extern const struct check kProcessChecks[];
extern const struct check kDiskChecks[];
extern const struct check kDeviceChecks[];

unsigned next_random(unsigned* state);
void fill(unsigned char* at, size_t bytes, unsigned seed);
int holds(const unsigned char* at, size_t bytes, unsigned seed);  // what fill() left
unsigned crc32_of(unsigned crc, const unsigned char* at, size_t bytes);

unsigned char* new_memory(size_t bytes, int rights);     // private; null: there is none
unsigned char* shared_memory(size_t bytes, int rights);  // with children
int set_rights(void* at, size_t bytes, int rights);      // 1: done

// The child that ended, and how, as wait4 tells it.
pid_t wait_for(pid_t child, int* status);
// 1 where that many children ended with status 0.
int all_ended_well(int children);

#endif  // TOOLS_LINUX_GUEST_H_
