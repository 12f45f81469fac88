// The copies of guest_copy.h for memory that the host may fail to provide: each says
// exactly how many bytes it did.
//
// Bytes are done in order of address, and the count is of those before the first that
// cannot be done; nothing is written beyond it. A host buffer may fail too: then the
// count ends there.
//
// Memory:  as guest_copy.h. ThreadSanitizer sees none of these accesses.
// Needs:   the handler of vm_mem/host_fault.h; a copy core that has started.
#ifndef VM_MEM_INTERNAL_RECOVERABLE_COPY_H_
#define VM_MEM_INTERNAL_RECOVERABLE_COPY_H_

#include <cstddef>

#include "vm_mem/access.h"

namespace vm_mem::internal {

// The host buffer and the guest range are disjoint.
std::size_t copy_to_guest_or_fault(std::byte* guest_dst, const std::byte* host_src, std::size_t n);
std::size_t copy_from_guest_or_fault(std::byte* host_dst, const std::byte* guest_src,
                                     std::size_t n);
std::size_t fill_guest_or_fault(std::byte* dst, std::byte value, std::size_t n);

// How a copy within the guest ended. Where done < n, `side` cannot be accessed at byte
// `done`, counted from the end of the ranges where the copy descended.
struct GuestMove {
  std::size_t done = 0;
  AccessSide side = AccessSide::kSource;
};

// What it did is the beginning of dst. Needs:  dst not inside the source.
GuestMove copy_ascending_or_fault(std::byte* dst, const std::byte* src, std::size_t n);
// What it did is the end of dst. Needs:  src not inside the destination.
// Cost:  a word at a time: longer steps would leave, where they fault, bytes written in
//        the middle.
GuestMove copy_descending_or_fault(std::byte* dst, const std::byte* src, std::size_t n);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_RECOVERABLE_COPY_H_
