#include "vm_mem/host_fault.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/fault_chain.h"
#include "vm_mem/internal/fault_context.h"
#include "vm_mem/internal/fault_fixups.h"
#include "vm_mem/internal/fault_ranges.h"
#include "vm_mem/internal/fault_thread.h"
#include "vm_mem/internal/first_fault_source.h"

namespace vm_mem {
namespace internal {

thread_local constinit bool thread_is_prepared = false;

}  // namespace internal

namespace {

// Written under install_mutex, which a child of fork() may find locked for ever if it was made
// while another thread installed the handlers: once both are there nobody takes it. One signal
// alone where the host refused the other, which is then asked for again each time.
std::mutex install_mutex;
constinit std::atomic<bool> bus_installed{false};
constinit std::atomic<bool> segv_installed{false};

// Filled from the front, never emptied, and without a lock.
constinit std::array<std::atomic<HostFaultSource*>, kMostHostFaultSources> fault_sources{};
constinit std::atomic<HostFaultSource*> first_source{nullptr};

bool replaced_by_zeros(int signal, const siginfo_t& information) {
  // A machine check (BUS_MCEERR_AR) is not papered over.
  return signal == SIGBUS && information.si_code == BUS_ADRERR &&
         internal::map_zero_page(reinterpret_cast<std::uintptr_t>(information.si_addr));
}

bool recovered_first(const siginfo_t& information, void* context) {
  HostFaultSource* const source = first_source.load(std::memory_order_acquire);
  if (source == nullptr) return false;
  HostFault fault(information, context);
  return source->recover(fault);
}

bool recovered_by_source(const siginfo_t& information, void* context) {
  HostFault fault(information, context);
  for (const std::atomic<HostFaultSource*>& slot : fault_sources) {
    HostFaultSource* const source = slot.load(std::memory_order_acquire);
    if (source == nullptr) return false;
    if (source->recover(fault)) return true;
  }
  return false;
}

bool redirected(void* context) {
  const std::uintptr_t landing = internal::landing_of(internal::program_counter(context));
  if (landing == 0) return false;
  internal::set_program_counter(context, landing);
  return true;
}

void on_fault(int signal, siginfo_t* information, void* context) {
  if (recover_host_fault(signal, information, context)) return;
  const int error = errno;
  internal::chain_fault(signal, information, context);
  errno = error;
}

absl::Status install_for(int signal, std::atomic<bool>& installed) {
  if (installed.load(std::memory_order_acquire)) return absl::OkStatus();
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  // Everything else waits: a fault is dealt with in one piece.
  sigfillset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (internal::install_before_chain(signal, action)) {
    installed.store(true, std::memory_order_release);
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("sigaction of signal %d failed: errno %d", signal, errno));
}

}  // namespace

std::uintptr_t HostFault::program_counter() const { return internal::program_counter(context_); }

void HostFault::go_on_at(std::uintptr_t instruction) {
  internal::set_program_counter(context_, instruction);
}

absl::Status install_host_fault_handler() {
  internal::copy_state();  // no recoverable copy comes before
  if (bus_installed.load(std::memory_order_acquire) &&
      segv_installed.load(std::memory_order_acquire)) {
    return absl::OkStatus();
  }
  const std::lock_guard lock(install_mutex);
  if (absl::Status bus = install_for(SIGBUS, bus_installed); !bus.ok()) return bus;
  return install_for(SIGSEGV, segv_installed);
}

absl::Status add_host_fault_source(HostFaultSource* source) {
  for (std::atomic<HostFaultSource*>& slot : fault_sources) {
    HostFaultSource* there = nullptr;
    if (slot.compare_exchange_strong(there, source, std::memory_order_acq_rel)) {
      return absl::OkStatus();
    }
    if (there == source) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrFormat(
      "there are %d sources of host faults: there can be no more", kMostHostFaultSources));
}

void internal::set_first_fault_source(HostFaultSource* source) {
  first_source.store(source, std::memory_order_release);
}

bool recover_host_fault(int signal, siginfo_t* information, void* context) noexcept {
  if (signal != SIGBUS && signal != SIGSEGV) return false;
  if (internal::was_sent(signal, *information)) return false;
  const int error = errno;
  const bool recovered = recovered_first(*information, context) ||
                         replaced_by_zeros(signal, *information) ||
                         recovered_by_source(*information, context) || redirected(context);
  errno = error;
  return recovered;
}

void prepare_thread_for_host_faults() {
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGBUS);
  sigaddset(&faults, SIGSEGV);
  pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
  internal::thread_is_prepared = true;
}

}  // namespace vm_mem
