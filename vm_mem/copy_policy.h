// The size limits by which the copy core chooses a path.
#ifndef VM_MEM_COPY_POLICY_H_
#define VM_MEM_COPY_POLICY_H_

#include <cstddef>

#include "absl/status/status.h"

namespace vm_mem {

// Units:  bytes. memcpy_adaptive takes the inline path where n <= inline_max, the
//         streaming path where n >= stream_min, the vector path between. Reads and
//         writes of guest memory stream from there on too; copies within it do not.
struct CopyPolicy {
  std::size_t inline_max = 0;
  std::size_t vector_width = 0;  // of the row in use: 8 (scalar), 16, 32 or 64
  std::size_t stream_min = 0;
  // Between these the row may use `rep movsb`; rep_movsb_min > rep_movsb_max: never.
  std::size_t rep_movsb_min = 0;
  std::size_t rep_movsb_max = 0;

  friend bool operator==(const CopyPolicy&, const CopyPolicy&) = default;
};

// The policy in force: this CPU's defaults, what the file named by VM_MEM_POLICY says,
// or what set_copy_policy() set. The reference stays valid, and its values as they
// are, when the policy changes. Where VM_MEM_ISA forces a row, inline_max has no
// effect: nothing is copied in line.
const CopyPolicy& copy_policy() noexcept;

// Needs:   inline_max <= 4096; vector_width as it is; stream_min >= 4096 and above
//          inline_max; rep_movsb_min <= rep_movsb_max only on a CPU with ERMS.
// Errors:  kInvalidArgument names the field, its value and what is allowed; the
//          policy in force stays as it was.
// Memory:  copies that run meanwhile use either policy; both are correct.
absl::Status set_copy_policy(CopyPolicy policy);

}  // namespace vm_mem

#endif  // VM_MEM_COPY_POLICY_H_
