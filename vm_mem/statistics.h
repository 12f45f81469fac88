// Counters of bulk operations on guest memory, by route and by path of the copy
// core. Typed loads and stores are not counted here: their front ends are too
// short to pay for it.
#ifndef VM_MEM_STATISTICS_H_
#define VM_MEM_STATISTICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "vm_mem/access.h"

namespace vm_mem {

// The size class of CopyPolicy that the bytes of an operation fall in. It is by size
// alone: of those in kStream, write() streams, read() does where buffer and guest address
// are congruent modulo 8, fills do unless the policy has string instructions, and copies
// within guest memory never do.
enum class CopyPath : std::uint8_t { kInline, kVector, kStream };
inline constexpr int kCopyPathCount = 3;

std::string_view route_name(Route route);        // "cpu", "dma", "engine", "snapshot"
std::string_view copy_path_name(CopyPath path);  // "inline", "vector", "stream"

// What a MemoryReader reads or writes within one section is counted above this many bytes:
// below, to count would take a quarter of the access.
inline constexpr std::uint64_t kUncountedBytes = 256;

struct PathCount {
  std::uint64_t operations = 0;
  std::uint64_t bytes = 0;
};

// A sum over all threads at about one moment: counters that move while they are
// added up may be seen before or after.
struct Statistics {
  std::array<std::array<PathCount, kCopyPathCount>, kRouteCount> counts{};
  std::uint64_t leases = 0;  // that exist now: 0 once everything has been let go

  const PathCount& at(Route route, CopyPath path) const {
    return counts[static_cast<std::size_t>(route)][static_cast<std::size_t>(path)];
  }
};

// One line of JSON: {"routes":{"cpu":{"inline":{"operations":0,"bytes":0},"vector":...},
// "dma":...}}, keys in the order of the enumerations, none left out.
std::string statistics_json(const Statistics& statistics);

}  // namespace vm_mem

#endif  // VM_MEM_STATISTICS_H_
