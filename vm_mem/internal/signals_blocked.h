// Keeps this thread's signal handlers out of a piece of code that they would need themselves.
#ifndef VM_MEM_INTERNAL_SIGNALS_BLOCKED_H_
#define VM_MEM_INTERNAL_SIGNALS_BLOCKED_H_

#include <signal.h>

namespace vm_mem::internal {

// Async-signal-safe.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SIGNALS_BLOCKED_H_
