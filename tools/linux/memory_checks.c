// Copies at every alignment, pages that change their rights and their place, code that is
// written and run.

#include "guest.h"

enum { kCopyBytes = 1 << 20, kRounds = 200 };

static int copies(void) {
  unsigned char* from = new_memory(kCopyBytes + kPage, kReadWrite);
  unsigned char* to = new_memory(kCopyBytes + kPage, kReadWrite);
  if (!from || !to) return 0;
  fill(from, kCopyBytes, 7);
  for (size_t shift = 0; shift < 16; ++shift) {
    memmove(to + shift, from, kCopyBytes);
    if (!holds(to + shift, kCopyBytes, 7)) return 0;
  }
  memmove(from + 8, from, kCopyBytes);
  const int moved = holds(from + 8, kCopyBytes, 7);
  munmap(from, kCopyBytes + kPage);
  munmap(to, kCopyBytes + kPage);
  return moved;
}

// Through the kernel's copy_from_user and copy_to_user, at odd addresses and sizes.
static int copies_through_the_kernel(void) {
  static unsigned char out[3 * kPage];
  static unsigned char in[3 * kPage];
  int ends[2];
  if (my_syscall2(__NR_pipe2, ends, 0) != 0) return 0;
  for (unsigned round = 0; round < 64; ++round) {
    const size_t bytes = 1 + round * 127;
    fill(out + round, bytes, round);
    if (write(ends[1], out + round, bytes) != (ssize_t)bytes) return 0;
    if (read(ends[0], in + 64 - round, bytes) != (ssize_t)bytes) return 0;
    if (!holds(in + 64 - round, bytes, round)) return 0;
  }
  close(ends[0]);
  close(ends[1]);
  return 1;
}

// A word across two pages whose second one comes into being by it.
static int words_across_pages(void) {
  unsigned char* pages = new_memory(64 * kPage, kReadWrite);
  if (!pages) return 0;
  for (size_t page = 1; page < 64; ++page) {
    for (size_t before = 1; before < 8; ++before) {
      unsigned char* at = pages + page * kPage - before;
      const unsigned long value = 0x0123456789abcdefUL * (page + before);
      unsigned long read_back = 0;
      __asm__ volatile("sd %1, 0(%2)\n ld %0, 0(%2)"
                       : "=&r"(read_back)
                       : "r"(value), "r"(at)
                       : "memory");
      if (read_back != value) return 0;
    }
  }
  return munmap(pages, 64 * kPage) == 0;
}

// A child that stores to `at` is ended by SIGSEGV.
static int store_is_refused(volatile unsigned char* at) {
  const pid_t child = fork();
  if (child == 0) {
    *at = 1;
    exit(0);
  }
  int status = 0;
  return child > 0 && wait_for(child, &status) == child && (status & 0x7f) == SIGSEGV;
}

static int protection(void) {
  unsigned char* page = new_memory(2 * kPage, kReadWrite);
  if (!page) return 0;
  page[kPage] = 1;
  if (!set_rights(page + kPage, kPage, PROT_READ)) return 0;
  if (!store_is_refused(page + kPage) || !store_is_refused(0)) return 0;
  if (!set_rights(page + kPage, kPage, kReadWrite)) return 0;
  page[kPage] = 2;
  munmap(page + kPage, kPage);
  return store_is_refused(page + kPage) && page[0] == 0;
}

typedef unsigned (*function)(void);

// `li a0, NUMBER; ret`
static void write_function(unsigned* code, unsigned number) {
  code[0] = 0x513u | number << 20;
  code[1] = 0x8067u;
  my_syscall3(__NR_riscv_flush_icache, code, code + 2, 0);
}

static int written_code(void) {
  unsigned* code = (unsigned*)new_memory(kPage, kReadWrite | PROT_EXEC);
  if (!code) return 0;
  for (unsigned number = 0; number < kRounds; ++number) {
    write_function(code, number);
    if (((function)code)() != number) return 0;
  }
  return munmap(code, kPage) == 0;
}

// Two pages of code change places: the addresses stay, what is there does not.
static int moved_code(void) {
  enum { kMayMove = 1, kFixed = 2 };
  unsigned char* area = new_memory(3 * kPage, kReadWrite | PROT_EXEC);
  if (!area) return 0;
  unsigned char* const spare = area + 2 * kPage;
  write_function((unsigned*)area, 0);
  write_function((unsigned*)(area + kPage), 1);
  for (unsigned round = 0; round < kRounds; ++round) {
    if (((function)area)() != (round & 1) || ((function)(area + kPage))() == (round & 1)) return 0;
    unsigned char* const places[] = {area, spare, area + kPage, area, spare, area + kPage};
    for (int i = 0; i < 6; i += 2) {
      const long at =
          my_syscall5(__NR_mremap, places[i], kPage, kPage, kMayMove | kFixed, places[i + 1]);
      if (at != (long)places[i + 1]) return 0;
    }
  }
  return 1;
}

const struct check kMemoryChecks[] = {{"memory copies", copies},
                                      {"copies through the kernel", copies_through_the_kernel},
                                      {"words across pages", words_across_pages},
                                      {"protection", protection},
                                      {"code that a program writes", written_code},
                                      {"code that moves", moved_code},
                                      {0, 0}};
