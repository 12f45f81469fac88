// A memory barrier on every thread of this process at once, so that those threads need
// none themselves (an asymmetric barrier).
#ifndef VM_MEM_INTERNAL_PROCESS_BARRIER_H_
#define VM_MEM_INTERNAL_PROCESS_BARRIER_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vm_mem::internal {

enum class BarrierForm : std::uint8_t {
  kMembarrier,      // membarrier(2), private and expedited
  kPageProtection,  // x86-64: taking away a page's write permission interrupts every CPU
                    // that runs this process, to drop the translation
};

// Best first.
inline constexpr BarrierForm kBarrierForms[] = {BarrierForm::kMembarrier,
                                                BarrierForm::kPageProtection};

class ProcessBarrier {
 public:
  // The first of `allowed` that this host offers.
  // Errors:  kUnimplemented; the message says why each form is out.
  // Source:  membarrier(2); folly, AsymmetricThreadFence.
  static absl::StatusOr<ProcessBarrier> make(std::span<const BarrierForm> allowed = kBarrierForms);

  ProcessBarrier(ProcessBarrier&& other) noexcept;
  ProcessBarrier& operator=(ProcessBarrier&& other) noexcept;
  ~ProcessBarrier();

  BarrierForm form() const { return form_; }

  // When it returns, every thread of this process has passed a full memory barrier since
  // the call began, this one included. One caller at a time.
  // Errors:  kUnavailable: the host refuses it by now (errno in the message), and there
  //          was no barrier.
  absl::Status run();

 private:
  ProcessBarrier(BarrierForm form, void* page) : form_(form), page_(page) {}

  BarrierForm form_;
  void* page_;  // kPageProtection's, else null
};

// Whether kPageProtection holds on this CPU. One file per architecture defines it.
// Errors:  kUnimplemented.
absl::Status protection_change_interrupts();

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PROCESS_BARRIER_H_
