// Why bytes of guest memory changed, for those who are told of it.
#ifndef VM_MEM_WRITE_CAUSE_H_
#define VM_MEM_WRITE_CAUSE_H_

#include <cstdint>
#include <string_view>

#include "vm_mem/access.h"

namespace vm_mem {

enum class WriteCause : std::uint8_t {
  kStore,    // a typed store or a read-modify-write of a CPU or an engine; by a manager's
             // own members of anybody
  kCopy,     // a bulk write, copy or fill of theirs
  kDma,      // a device
  kHost,     // a lease, a system call, KVM: whoever had a host pointer
  kUnmap,    // the memory is no longer seen where it was, nor anywhere else by this change
  kRemap,    // it is seen elsewhere, at another size or with another protection
  kDiscard,  // its pages were given back to the host
  kRestore,  // a snapshot was loaded
};

// The name of the enumerator, e.g. "kStore".
std::string_view write_cause_name(WriteCause cause);

// What an access by `route` is reported as; `own` is what it is of a CPU's.
constexpr WriteCause cause_of(Route route, WriteCause own) {
  if (route == Route::kDma) return WriteCause::kDma;
  return route == Route::kSnapshot ? WriteCause::kRestore : own;
}

}  // namespace vm_mem

#endif  // VM_MEM_WRITE_CAUSE_H_
