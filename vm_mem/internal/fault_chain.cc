#include "vm_mem/internal/fault_chain.h"

#include <ucontext.h>

#include <atomic>

namespace vm_mem::internal {
namespace {

struct Previous {
  struct sigaction action {};
  std::atomic<bool> spent{false};  // SA_RESETHAND, and it has run
};

// Written before our action is installed, then read by handlers.
Previous previous_of_bus;
Previous previous_of_segv;

Previous& previous_of(int signal) { return signal == SIGBUS ? previous_of_bus : previous_of_segv; }

// The union's two members: which one is set shows in SA_SIGINFO.
bool has_handler(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) != 0 ||
         (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

void restore_default(int signal) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
}

// The mask that the kernel would run this action with.
void take_mask_of(int signal, const struct sigaction& action, const void* context) {
  sigset_t mask = static_cast<const ucontext_t*>(context)->uc_sigmask;
  for (int other = 1; other < NSIG; ++other) {
    if (sigismember(&action.sa_mask, other) == 1) sigaddset(&mask, other);
  }
  if ((action.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, signal);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

void call(const struct sigaction& action, int signal, siginfo_t* information, void* context) {
  take_mask_of(signal, action, context);
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, information, context);
  } else {
    action.sa_handler(signal);
  }
}

// The handlers share their place in the union.
bool is_same(const struct sigaction& a, const struct sigaction& b) {
  return a.sa_sigaction == b.sa_sigaction && a.sa_flags == b.sa_flags;
}

}  // namespace

bool was_sent(int signal, const siginfo_t& information) {
  return information.si_code <= 0 || (signal == SIGBUS && information.si_code == BUS_MCEERR_AO);
}

bool install_before_chain(int signal, const struct sigaction& action) {
  Previous& previous = previous_of(signal);
  // Kept before ours can run.
  if (sigaction(signal, nullptr, &previous.action) != 0) return false;
  struct sigaction replaced {};
  if (sigaction(signal, &action, &replaced) != 0) return false;
  // Somebody else's, installed since it was asked for.
  if (!is_same(replaced, previous.action)) previous.action = replaced;
  return true;
}

void chain_fault(int signal, siginfo_t* information, void* context) {
  Previous& previous = previous_of(signal);
  const bool once = (previous.action.sa_flags & static_cast<int>(SA_RESETHAND)) != 0;
  const bool spent = once && previous.spent.exchange(true);
  if (has_handler(previous.action) && !spent) {
    return call(previous.action, signal, information, context);
  }
  const bool sent = was_sent(signal, *information);
  if (sent && previous.action.sa_handler == SIG_IGN) return;
  restore_default(signal);
  // Nothing would raise it again. It is blocked here, and so comes with the return.
  if (sent) raise(signal);
}

}  // namespace vm_mem::internal
