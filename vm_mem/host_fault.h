// Host memory that fails under an access: a file or memfd that somebody shortened, a
// hole in huge pages without a page left to fill it, a page without permission. The
// kernel raises SIGBUS or SIGSEGV; accesses to recoverable regions turn that into
// AccessFault::kHostFault with an exact count.
//
// Only faults of the library's own instructions, of pages that a LazyRestore brings, of pages
// of regions with HostFaultPolicy::kZeroPage, and those that a HostFaultSource recognizes, are
// taken.
// Every other signal is the previous handler's.
#ifndef VM_MEM_HOST_FAULT_H_
#define VM_MEM_HOST_FAULT_H_

#include <signal.h>

#include <cstdint>

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

// One fault of this thread, as its handler sees it.
class HostFault {
 public:
  HostFault(const siginfo_t& information, void* context)
      : information_(information), context_(context) {}

  // si_signo is SIGBUS or SIGSEGV.
  const siginfo_t& information() const { return information_; }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(information_.si_addr); }
  // Of the instruction that faulted.
  std::uintptr_t program_counter() const;
  // Where the thread runs on when the handler has returned; it stays where it faulted
  // otherwise, and tries again.
  void go_on_at(std::uintptr_t instruction);

 private:
  const siginfo_t& information_;
  void* context_;
};

// Code outside of vm_mem whose instructions may fault: what a translator has emitted. One
// handler serves them all, so that no two have to know each other.
class HostFaultSource {
 public:
  // True where the fault is one of this source's and has been dealt with; false, with
  // nothing touched, where it is not. Called for faults that the kernel raised, never for
  // signals that were sent, on the thread that faulted.
  //
  // Memory:  async-signal-safe, and no lock. errno is kept for it.
  virtual bool recover(HostFault& fault) noexcept = 0;

 protected:
  ~HostFaultSource() = default;
};

inline constexpr int kMostHostFaultSources = 8;

// From here on `source` is asked about every fault, before the library's own instructions
// are looked at. A second call with the same one does nothing. The handler itself is
// installed by install_host_fault_handler(), or is the embedder's.
//
// Needs:   it lives until the process ends: a fault may be with it at any time.
// Errors:  kResourceExhausted  kMostHostFaultSources were added
absl::Status add_host_fault_source(HostFaultSource* source);

// Unblocks SIGBUS and SIGSEGV in this thread: a thread that blocks them is killed by a
// fault, whatever handler there is. The first access of each thread to a recoverable
// region does it; a thread that blocks them after that calls this again.
void prepare_thread_for_host_faults();

}  // namespace vm_mem

#endif  // VM_MEM_HOST_FAULT_H_
