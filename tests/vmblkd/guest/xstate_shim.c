// For LD_PRELOAD of User-mode Linux 6.1. It keeps 2696 bytes of the FPU's state for each of its
// processes, and the host takes no less than all it has: on a CPU with AMX more than 8 KiB, and
// every guest ends at its first process. Here the rest is added.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
  kXstate = 0x202,       // NT_X86_XSTATE
  kPresentAt = 512,      // the mask of the components that are there
  kPresentHere = 0x2ff,  // those that end before the 2696th byte
};

typedef long Ptrace(enum __ptrace_request, pid_t, void*, void*);

// No stack of User-mode Linux is large enough. One thread traces.
static unsigned char all[65536];

static long exchange(Ptrace* next, enum __ptrace_request request, pid_t pid, struct iovec* part) {
  void* const kind = (void*)kXstate;
  struct iovec whole = {all, sizeof all};
  const long status = next(PTRACE_GETREGSET, pid, kind, &whole);
  if (status < 0) return status;
  if (part->iov_len > whole.iov_len) part->iov_len = whole.iov_len;
  if (request == PTRACE_SETREGSET) {
    memcpy(all, part->iov_base, part->iov_len);
    return next(request, pid, kind, &whole);
  }
  memcpy(part->iov_base, all, part->iov_len);
  if (part->iov_len >= kPresentAt + sizeof(uint64_t)) {
    uint64_t present = 0;
    unsigned char* const at = (unsigned char*)part->iov_base + kPresentAt;
    memcpy(&present, at, sizeof present);
    present &= kPresentHere;
    memcpy(at, &present, sizeof present);
  }
  return 0;
}

long ptrace(enum __ptrace_request request, ...) {
  va_list rest;
  va_start(rest, request);
  const pid_t pid = va_arg(rest, pid_t);
  void* const address = va_arg(rest, void*);
  void* const data = va_arg(rest, void*);
  va_end(rest);
  Ptrace* const next = (Ptrace*)dlsym(RTLD_NEXT, "ptrace");
  const int is_state = (request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) &&
                       (uintptr_t)address == kXstate;
  return is_state ? exchange(next, request, pid, data) : next(request, pid, address, data);
}
