// The ranges of host memory whose missing pages read as zero instead of failing.
#ifndef VM_MEM_INTERNAL_FAULT_RANGES_H_
#define VM_MEM_INTERNAL_FAULT_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "vm_mem/protection.h"

namespace vm_mem::internal {

inline constexpr std::size_t kMostFaultRanges = 1024;

// From here on a page of `memory` that the host fails to provide (SIGBUS) becomes a page
// of zeros that belongs to this process alone: what backs the range is not there any
// more, and does not see what is written.
//
// Units:   `page_bytes` is the unit of the mapping: of huge pages, their size.
// Needs:   `memory` is mapped until it is unregistered; it overlaps no other range.
// Errors:  kInvalidArgument    not made of whole pages
//          kResourceExhausted  kMostFaultRanges are registered
absl::Status register_fault_range(std::span<std::byte> memory, std::size_t page_bytes,
                                  Protection protection);
void unregister_fault_range(std::span<std::byte> memory);
// While the pages of a range are brought by somebody else, none is replaced by zeros.
void suspend_fault_range(std::span<std::byte> memory, bool suspended);

// Maps a page of zeros where `address` lies in a range, or finds that another thread
// has done it. False: no range, or the host refused.
//
// Memory:  async-signal-safe, no lock: who comes second retries its access instead of
//          waiting, so that nobody's page replaces one that is in use already.
bool map_zero_page(std::uintptr_t address);

// Whether a read of the 8 bytes at `address` raises no signal. Memory:  async-signal-safe.
bool is_readable(std::uintptr_t address);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FAULT_RANGES_H_
