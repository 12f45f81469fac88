// The choice of row and policy: made at the first use, read by every copy.
#ifndef VM_MEM_INTERNAL_COPY_STATE_H_
#define VM_MEM_INTERNAL_COPY_STATE_H_

#include <atomic>
#include <cstddef>

#include "vm_mem/copy_policy.h"
#include "vm_mem/internal/copy_kernels.h"

namespace vm_mem::internal {

// What copies read. The fields change one by one: a copy that mixes two policies is
// as correct as either. Until the first use the limits let nothing but loops run.
struct alignas(64) CopyState {
  std::atomic<const CopyKernels*> row{nullptr};  // null until the first use
  std::atomic<const CopyPolicy*> policy{nullptr};
  std::atomic<std::size_t> least_long{kNever};  // of all limits below
  std::atomic<std::size_t> align_loads_max{0};
  std::atomic<std::size_t> prefetch_min{kNever};
  std::atomic<std::size_t> stream_min{kNever};
  std::atomic<std::size_t> stream_hint_min{kNever};
  std::atomic<std::size_t> stream_pages{1};
  std::atomic<std::size_t> rep_movsb_min{kNever};
  std::atomic<std::size_t> rep_movsb_hot_min{kNever};
  std::atomic<std::size_t> rep_movsb_max{0};
  std::atomic<std::size_t> string_fill_min{kNever};
};

// The state, also before it is made ready: for copy_state() and for kernels. Visible like
// what fills it: where a program and a plugin both have the library, the linker makes
// both use one state or each its own, but never parts of two.
extern constinit CopyState raw_copy_state;

// Reads VM_MEM_ISA and VM_MEM_POLICY and publishes what follows from them, once.
void start_copy_core();

// Makes `policy`, and the row that it asks for, the ones in use.
//
// Needs:  `policy` is valid.
void publish_policy(const CopyPolicy& policy);

// Ready to use: row is not null.
inline const CopyState& copy_state() {
  if (raw_copy_state.row.load(std::memory_order_acquire) == nullptr) start_copy_core();
  return raw_copy_state;
}

inline const CopyKernels& active_kernels() {
  return *copy_state().row.load(std::memory_order_relaxed);
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_COPY_STATE_H_
