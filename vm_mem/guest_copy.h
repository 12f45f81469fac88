// Copies to, from and within guest memory by host pointers, for who has found them: which
// other vCPUs read and write at the same time. Nothing is checked, marked or counted.
//
// Needs:   memory that cannot fault in the host.
// Memory:  1, 2, 4 or 8 bytes at a naturally aligned guest address are one relaxed
//          atomic access, however the host buffer is aligned. Longer copies never
//          tear an aligned 8-byte word on the guest's side. The ends of what is written
//          are naturally aligned pieces, each one access; those of what is read may be
//          loaded as part of their whole words, and again. Up to 16 bytes nothing is
//          stored to the guest twice.
//          Copies are not ordered against each other; what streams ends with a
//          store fence.
// Source:  docs/memory_model.md
#ifndef VM_MEM_GUEST_COPY_H_
#define VM_MEM_GUEST_COPY_H_

#include <cstddef>

namespace vm_mem {

// The host buffer and the guest range are disjoint.
void copy_to_guest(std::byte* guest_dst, const std::byte* host_src, std::size_t n);
void copy_from_guest(std::byte* host_dst, const std::byte* guest_src, std::size_t n);

// The ranges may overlap. Words stay whole in dst, and in src too where dst and src
// are congruent modulo 8.
void copy_within_guest(std::byte* dst, const std::byte* src, std::size_t n);

void fill_guest(std::byte* dst, std::byte value, std::size_t n);

}  // namespace vm_mem

#endif  // VM_MEM_GUEST_COPY_H_
