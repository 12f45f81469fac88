// Which pages of host memory hold anything, without reading them: reading a page of a memfd
// that is not there allocates it.
#ifndef VM_MEM_INTERNAL_POPULATED_H_
#define VM_MEM_INTERNAL_POPULATED_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vm_mem::internal {

// Bytes of a region, from its beginning.
struct ByteRun {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  friend bool operator==(const ByteRun&, const ByteRun&) = default;
};

// Memory of this process alone that reads as zero where the kernel has given no page: by
// PAGEMAP_SCAN (Linux 6.7), else by mincore(2), which misses pages that are swapped out and is
// used without swap alone, else all of it.
//
// Units:  begins and ends at host pages; so do the runs, which are sorted and disjoint.
std::vector<ByteRun> populated_private(std::span<const std::byte> memory);

// [offset, offset + bytes) of a file or a memfd: by SEEK_DATA, else all of it.
std::vector<ByteRun> populated_file(int fd, std::uint64_t offset, std::uint64_t bytes);

// The ways of populated_private(), for tests. nullopt: this host does not have it.
std::optional<std::vector<ByteRun>> populated_by_scan(std::span<const std::byte> memory);
std::optional<std::vector<ByteRun>> populated_by_mincore(std::span<const std::byte> memory);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_POPULATED_H_
