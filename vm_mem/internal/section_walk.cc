#include "vm_mem/internal/section_walk.h"

#include <algorithm>

#include "vm_mem/dirty_log.h"

namespace vm_mem::internal {
AccessFault refusal(const MapSection& section, Access access) {
  if (section.protection == Protection::kNone) return AccessFault::kProtected;
  const bool read_only =
      section.protection == Protection::kRead || section.kind == RegionKind::kRom;
  return access == Access::kWrite && read_only ? AccessFault::kReadOnly : AccessFault::kNone;
}

Permitted permitted_prefix(const MemoryMap& map, GuestAddress at, std::uint64_t bytes,
                           Access access) {
  Permitted permitted;
  for (const MapSection* section = map.find(at); permitted.bytes < bytes;
       section = map.next(*section)) {
    if (section == nullptr) {
      permitted.fault = AccessFault::kUnmapped;
      break;
    }
    permitted.fault = refusal(*section, access);
    if (permitted.fault != AccessFault::kNone) break;
    const GuestAddress reached = at.offset_by(permitted.bytes);
    permitted.bytes +=
        std::min(bytes - permitted.bytes, section->range.end().value - reached.value);
  }
  return permitted;
}

Run run_at(const MemoryMap& map, GuestAddress at, std::uint64_t bytes) {
  const MapSection* section = map.find(at);
  const std::uint64_t offset = at.value - section->range.begin().value;
  return {section, offset, std::min(bytes, section->range.bytes() - offset)};
}

void mark_dirty(const Run& run, WriteCause cause) {
  if (run.section->dirty_log == nullptr || run.bytes == 0) return;
  run.section->dirty_log->mark(run.section->region_offset + run.offset, run.bytes, cause);
}

}  // namespace vm_mem::internal
