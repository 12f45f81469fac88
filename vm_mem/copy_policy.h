// The size limits by which the copy core chooses a path, and the row that it runs on.
#ifndef VM_MEM_COPY_POLICY_H_
#define VM_MEM_COPY_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vm_mem {

// The limit of a path that is not taken at any size.
inline constexpr std::size_t kNever = SIZE_MAX;

// Units:  bytes, where nothing else is said. Limits named _min and _max may be kNever,
//         inline_max excepted. Copies of up to 16 lanes heed inline_max alone.
struct CopyPolicy {
  // memcpy_adaptive copies up to this many bytes in line, without a call.
  std::size_t inline_max = 0;
  // The core runs on the best row whose lanes are no wider: 8 (scalar), 16, 32 or 64.
  std::size_t vector_width = 0;
  // Up to here loops align their loads to cache lines, above their stores.
  std::size_t align_loads_max = 0;
  // From here on vector loops prefetch the destination for writing.
  std::size_t prefetch_min = 0;
  // From here on memcpy_raw, memcpy_adaptive and memmove_raw of disjoint ranges, fills, and
  // reads and writes of guest memory go past the caches. Copies within guest memory do not.
  std::size_t stream_min = 0;
  // From here on memcpy_stream does; below it is memcpy_raw.
  std::size_t stream_hint_min = 0;
  // Host pages, not bytes: streams go through 8 of them in turn, or with 1 line by line,
  // fetching the source ahead.
  std::size_t stream_pages = 1;
  // From `min` to `max` memory is copied with `rep movsb` (that of a guest with `rep movsq`,
  // where both sides are aligned to 8); where a recent copy of this thread wrote the
  // destination, from the larger of `min` and `hot_min`. With any such range, aligned fills
  // of a megabyte and more are `rep stosq`.
  std::size_t rep_movsb_min = 0;
  std::size_t rep_movsb_hot_min = 0;
  std::size_t rep_movsb_max = 0;

  friend bool operator==(const CopyPolicy&, const CopyPolicy&) = default;
};

struct CopyPolicyField {
  std::string_view name;
  std::size_t CopyPolicy::*member;
};

// Every field, in the order of the struct.
std::span<const CopyPolicyField> copy_policy_fields() noexcept;

// The policy in force: this CPU's defaults, what the file named by VM_MEM_POLICY says,
// or what set_copy_policy() set. The reference stays valid, and its values as they
// are, when the policy changes. Where VM_MEM_ISA forces a row, inline_max has no
// effect: nothing is copied in line.
const CopyPolicy& copy_policy() noexcept;

// Another vector_width switches the row, and active_isa() with it.
//
// Needs:   inline_max <= 4096; vector_width that of a row which this machine supports,
//          and of the one that VM_MEM_ISA forces, where it does; prefetch_min >= 256;
//          stream_min and stream_hint_min >= 4096, stream_min above inline_max;
//          stream_pages 1 or 8;
//          rep_movsb_min kNever, or on a CPU with ERMS from 64 to rep_movsb_max;
//          rep_movsb_hot_min >= 64.
// Errors:  kInvalidArgument names the field, its value and what is allowed; the
//          policy in force stays as it was.
// Memory:  copies that run meanwhile use either policy; both are correct.
absl::Status set_copy_policy(CopyPolicy policy);

// This CPU's defaults: for the row that is in use without a policy file, and for the
// row that `vector_width` selects.
//
// Errors:  kInvalidArgument: no row has that width, or VM_MEM_ISA forces another.
CopyPolicy default_copy_policy();
absl::StatusOr<CopyPolicy> default_copy_policy(std::size_t vector_width);

// Where the policy at start-up came from.
struct CopyPolicyOrigin {
  std::string_view defaults;                  // what CPU the defaults are for
  std::string file;                           // empty: none, or it was refused
  std::vector<std::string_view> file_fields;  // the fields that it gives
};
CopyPolicyOrigin copy_policy_origin();

// The first line of a policy file.
inline constexpr std::string_view kCopyPolicyHeader = "vm_mem copy policy 1";

// A file for VM_MEM_POLICY: every field of `policy`, and the CPU that it is for, which
// is this one. Any other CPU refuses it.
std::string copy_policy_text(const CopyPolicy& policy);

}  // namespace vm_mem

#endif  // VM_MEM_COPY_POLICY_H_
