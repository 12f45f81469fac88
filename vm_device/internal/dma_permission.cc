#include "vm_device/internal/dma_permission.h"

#include <algorithm>

namespace vm_device::internal {

using vm_mem::AccessFault;

AccessFault refusal_of(const vm_mem::MapSection* section, DmaAccess access) {
  if (section == nullptr) return AccessFault::kUnmapped;
  if (section->protection == vm_mem::Protection::kNone) return AccessFault::kProtected;
  const bool read_only =
      section->protection == vm_mem::Protection::kRead || section->kind == vm_mem::RegionKind::kRom;
  return access != DmaAccess::kRead && read_only ? AccessFault::kReadOnly : AccessFault::kNone;
}

vm_mem::AccessResult permitted(const vm_mem::MemoryMap& map, vm_mem::GuestAddress at,
                               std::uint64_t bytes, DmaAccess access) {
  vm_mem::AccessResult result;
  while (result.done < bytes) {
    result.at = at.offset_by(result.done);
    const vm_mem::MapSection* const section = map.find(result.at);
    result.fault = refusal_of(section, access);
    if (!result.ok()) break;
    result.done += std::min(bytes - result.done, section->range.end().value - result.at.value);
  }
  return result;
}

}  // namespace vm_device::internal
