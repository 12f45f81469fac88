// Makes pages present before their first access, by several threads.
#ifndef VM_MEM_INTERNAL_PREFAULT_H_
#define VM_MEM_INTERNAL_PREFAULT_H_

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "vm_mem/host_file.h"
#include "vm_mem/host_memory_options.h"

namespace vm_mem::internal {

// How the host is asked for the pages.
enum class Populate : std::uint8_t {
  kAdvice,  // MADV_POPULATE_WRITE, _READ for memory that cannot be written
  kTouch,   // an access to each page, which leaves its content alone
};

// kAdvice where the host's kernel has it.
Populate best_populate();

struct PrefaultRequest {
  std::span<std::byte> memory;
  std::size_t page_bytes = 0;
  FileAccess access = FileAccess::kReadWrite;
};

// Uses prefault_threads and prefault_progress of `options`.
//
// Needs:   kTouch: no page of the memory lies behind the end of its file, and its file
//          system has a place for each (PageSource::allocate).
// Errors:  kResourceExhausted  the host has not that many pages
//          kDataLoss           the host's memory is damaged
//          kCancelled          the callback said so
//          On each of them some pages are present.
absl::Status prefault(const PrefaultRequest& request, const HostMemoryOptions& options,
                      Populate how);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PREFAULT_H_
