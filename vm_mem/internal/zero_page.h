// Whether a guest page is all zeros.
#ifndef VM_MEM_INTERNAL_ZERO_PAGE_H_
#define VM_MEM_INTERNAL_ZERO_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vm_mem/internal/snapshot_format.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem::internal {

// Most pages that are not zero show it in one of three words: of their beginning, of their
// middle or of their end.
inline bool is_zero_page(const std::byte* page) {
  std::uint64_t words[3];
  std::memcpy(&words[0], page, 8);
  std::memcpy(&words[1], page + kSnapshotPageBytes / 2, 8);
  std::memcpy(&words[2], page + kSnapshotPageBytes - 8, 8);
  if ((words[0] | words[1] | words[2]) != 0) return false;
  return is_zero({page, kSnapshotPageBytes});
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_ZERO_PAGE_H_
