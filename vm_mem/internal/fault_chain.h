// The handlers that were there before ours, called as the kernel would call them.
#ifndef VM_MEM_INTERNAL_FAULT_CHAIN_H_
#define VM_MEM_INTERNAL_FAULT_CHAIN_H_

#include <signal.h>

namespace vm_mem::internal {

// Sent by a process, or a notice of damaged memory that nobody has touched
// (BUS_MCEERR_AO): no instruction raises it again.
bool was_sent(int signal, const siginfo_t& information);

// Makes `action` the one of `signal`, SIGBUS or SIGSEGV, and keeps the one before it for
// chain_fault(). False: the host refused, see errno.
//
// Needs:  at most one success for a signal; one thread at a time.
bool install_before_chain(int signal, const struct sigaction& action);

// What the action before ours does with this signal. Where that is the default, or a
// fault that was to be ignored, the default is restored: the instruction faults again
// once the handler has returned, and the process ends as it would have.
//
// Memory:  async-signal-safe as far as the handler that is called.
void chain_fault(int signal, siginfo_t* information, void* context);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FAULT_CHAIN_H_
