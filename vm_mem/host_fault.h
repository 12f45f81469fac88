// Host memory that fails under an access: a file or memfd that somebody shortened, a
// hole in huge pages without a page left to fill it, a page without permission. The
// kernel raises SIGBUS or SIGSEGV; accesses to recoverable regions turn that into
// AccessFault::kHostFault with an exact count.
//
// Only faults of the library's own instructions, and of pages of regions with
// HostFaultPolicy::kZeroPage, are taken. Every other signal is the previous handler's.
#ifndef VM_MEM_HOST_FAULT_H_
#define VM_MEM_HOST_FAULT_H_

#include <signal.h>

#include "absl/status/status.h"

namespace vm_mem {

// Installs the handler of SIGBUS and SIGSEGV, once in a process; further calls do
// nothing. A MemoryManager does it with its first region that needs it, unless the
// embedder owns the handler.
//
// Memory:  handlers that were installed before are kept and called for what is not the
//          library's, as the kernel would have called them. A handler that is installed
//          later has to call recover_host_fault(), or the one it replaced.
//          The handler takes no lock, allocates nothing, and runs on the alternate stack
//          of a thread that has one. It makes none.
// Errors:  kResourceExhausted  the host refused; the message carries errno
// Source:  sigaction(2), signal-safety(7)
absl::Status install_host_fault_handler();

// For an embedder that owns the handler of SIGBUS and SIGSEGV, installed with
// SA_SIGINFO: true where the fault was the library's; the handler then returns at once,
// and the access goes on. False: nothing was touched. The handler's sa_mask is free:
// while a page is replaced, all signals of the thread are blocked.
//
// Memory:  async-signal-safe; errno is kept.
bool recover_host_fault(int signal, siginfo_t* information, void* context) noexcept;

// Unblocks SIGBUS and SIGSEGV in this thread: a thread that blocks them is killed by a
// fault, whatever handler there is. The first access of each thread to a recoverable
// region does it; a thread that blocks them after that calls this again.
void prepare_thread_for_host_faults();

}  // namespace vm_mem

#endif  // VM_MEM_HOST_FAULT_H_
