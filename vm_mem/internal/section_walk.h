// How a range of guest addresses lies across the sections of a map.
#ifndef VM_MEM_INTERNAL_SECTION_WALK_H_
#define VM_MEM_INTERNAL_SECTION_WALK_H_

#include <cstddef>
#include <cstdint>

#include "vm_mem/access.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/write_cause.h"

namespace vm_mem::internal {

enum class Access : std::uint8_t { kRead, kWrite };

// Why the section does not permit the access, or kNone.
AccessFault refusal(const MapSection& section, Access access);

// The longest prefix of a range that the map permits, and what stops it there.
struct Permitted {
  std::uint64_t bytes = 0;
  AccessFault fault = AccessFault::kNone;  // kNone: nothing stops it
};
Permitted permitted_prefix(const MemoryMap& map, GuestAddress at, std::uint64_t bytes,
                           Access access);

// Consecutive bytes of one section.
struct Run {
  const MapSection* section = nullptr;
  std::uint64_t offset = 0;  // of the first byte in the section
  std::uint64_t bytes = 0;

  bool is_device() const { return section->kind == RegionKind::kMmio; }
  // Memory that the host may fail to provide.
  bool is_recoverable() const { return section->recoverable; }
  // Memory only.
  std::byte* host() const { return section->host + offset; }
  GuestAddress begin() const { return section->range.begin().offset_by(offset); }
  Run first(std::uint64_t count) const { return {section, offset, count}; }
  Run last(std::uint64_t count) const { return {section, offset + bytes - count, count}; }
};

// The run at `at`, of at most `bytes`. Needs: mapped there.
Run run_at(const MemoryMap& map, GuestAddress at, std::uint64_t bytes);

// Marks what was written to `run`, which is memory, and tells who watches it.
void mark_dirty(const Run& run, WriteCause cause);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_SECTION_WALK_H_
