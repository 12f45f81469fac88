// Where the pages of a HostMapping come from.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_SOURCE_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/host_file.h"

namespace vm_mem::internal {

struct PageTraits {
  std::size_t page_bytes = 0;
  FileSharing sharing = FileSharing::kPrivate;
  FileAccess access = FileAccess::kReadWrite;
};

// Offsets count from the beginning of the mapping.
class PageSource {
 public:
  virtual ~PageSource() = default;

  virtual PageTraits traits() const = 0;

  // Whether the source has [0, bytes).
  virtual absl::Status check_length(std::uint64_t bytes) const;

  // Maps the source from `offset` on at `part` of a reservation.
  //
  // Errors:  those of HostMapping; `part` is as before.
  virtual absl::Status map(std::span<std::byte> part, std::size_t offset) const = 0;

  // HostMapping::discard().
  virtual absl::Status discard(std::span<std::byte> part, std::size_t offset) const = 0;

  // HostMapping::refresh(): discard(), where nobody else owns what the pages hold.
  virtual absl::Status refresh(std::span<std::byte> part, std::size_t offset) const {
    return discard(part, offset);
  }

  // Frees what the source keeps for a range that is mapped no more.
  virtual absl::Status drop(std::size_t offset, std::size_t bytes) const;

  // Makes sure that every page has its place, so that touching one cannot fault.
  virtual absl::Status allocate(std::size_t offset, std::size_t bytes) const;

  // -1 where no other process could share the memory.
  virtual int shareable_fd() const { return -1; }
  virtual std::uint64_t fd_offset() const { return 0; }
};

const PageSource& anonymous_source();

// Gives up this process's own copies of the pages of `part`, by madvise(2).
absl::Status drop_private_pages(std::span<std::byte> part);

absl::StatusOr<std::unique_ptr<PageSource>> memfd_source(std::size_t bytes);

// Needs:  check_huge_page_size(huge_page_bytes) is ok, `bytes` is a multiple of it.
absl::StatusOr<std::unique_ptr<PageSource>> hugetlb_source(std::size_t bytes,
                                                           std::size_t huge_page_bytes);

absl::StatusOr<std::unique_ptr<PageSource>> file_source(const HostFile& file);

std::unique_ptr<PageSource> caller_owned_source();

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_SOURCE_H_
