// Host memory that backs guest RAM: anonymous, a memfd that another process can
// share, a file, huge pages, or memory of the caller's.
#ifndef VM_MEM_HOST_MAPPING_H_
#define VM_MEM_HOST_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/host_file.h"
#include "vm_mem/host_memory_options.h"

namespace vm_mem {

namespace internal {
class PageSource;
}

struct HostMappingOptions {
  // Reserves host addresses up to here, so that resize() never moves the memory; 0:
  // as many as are mapped.
  std::size_t max_bytes = 0;
  HostMemoryOptions host = {};
};

// Owns one host mapping, the host addresses reserved around it, and the descriptor
// behind it if there is one; unmaps and closes on destruction. Movable, not copyable.
//
// What every factory has in common:
// Units:   `bytes` and max_bytes are rounded up to the host page size.
// Errors:  kInvalidArgument     bytes is 0, or above max_bytes; options that contradict
//                               each other or the kind of memory
//          kResourceExhausted   the host refused; the message carries errno, and the
//                               limit to raise where one is known
//          kUnimplemented       the host's kernel lacks what an option asks for
//          kCancelled           the progress callback said so
//          On each of them nothing is left mapped or open.
// Cost:    a few mmaps; pages are touched only by prefault_threads and lock.
class HostMapping {
 public:
  // Maps zero-filled, demand-paged memory that belongs to this process.
  //
  // Source:  mmap(2), MAP_NORESERVE.
  static absl::StatusOr<HostMapping> anonymous(std::size_t bytes,
                                               const HostMappingOptions& options = {});

  // The same, as a mapping of a memfd of exactly max_bytes (or `bytes`), sealed against
  // shrinking and growing, so that no holder of the descriptor can take pages away
  // under a running access.
  //
  // Source:  memfd_create(2), fcntl(2) F_ADD_SEALS.
  static absl::StatusOr<HostMapping> memfd(std::size_t bytes,
                                           const HostMappingOptions& options = {});

  // Maps a range of a regular file, which is never made longer. Accesses fault where
  // somebody makes it shorter later on.
  //
  // Units:   file.offset is a multiple of the host page size.
  // Errors:  kNotFound            no such file
  //          kPermissionDenied    the file may not be read, or not be written while
  //                               kShared and kReadWrite ask for it
  //          kInvalidArgument     neither or both of path and fd; not a regular file;
  //                               shorter than offset + bytes; offset misaligned
  static absl::StatusOr<HostMapping> file(std::size_t bytes, const HostFile& file,
                                          const HostMappingOptions& options = {});

  // Maps a memfd of huge pages, sealed as memfd(), which the host's pool sets aside at
  // once. Pages that another holder of the descriptor punches out are lost to the pool,
  // so that accesses can fault.
  //
  // Units:   `bytes` and max_bytes are multiples of `huge_page_bytes`.
  // Errors:  kInvalidArgument    they are not, or it is not a power of two
  //          kUnimplemented      the host has no huge pages of this size
  //          kResourceExhausted  the pool is too small; the message says how many pages
  //                              are missing, and which file to write to
  // Source:  memfd_create(2) MFD_HUGETLB.
  static absl::StatusOr<HostMapping> hugetlb(std::size_t bytes, std::uint64_t huge_page_bytes,
                                             const HostMappingOptions& options = {});

  // Shows the first `bytes` of memory that the caller has mapped, and unmaps later.
  // Of the host options prefault alone is possible: the rest is the owner's to decide.
  //
  // Needs:   `memory` outlives this object.
  // Errors:  kInvalidArgument     `memory` is empty, shorter than `bytes` or max_bytes,
  //                               or does not begin at a multiple of the host page size
  static absl::StatusOr<HostMapping> caller_owned(std::span<std::byte> memory, std::size_t bytes,
                                                  const HostMappingOptions& options = {});

  HostMapping(HostMapping&& other) noexcept;
  HostMapping& operator=(HostMapping&& other) noexcept;
  ~HostMapping();

  std::span<std::byte> bytes() const { return bytes_; }
  std::size_t max_bytes() const { return max_bytes_; }

  // What discard() works in: the host's page size, or the huge page's.
  std::size_t page_bytes() const;

  // False after make_read_only(), and for a file mapped kReadOnly.
  bool writable() const { return writable_; }

  // Whether it is anonymous(): nobody else has the memory, and pages that the host has not
  // given are zero.
  bool is_anonymous() const { return source_ == nullptr; }

  // As it was made with.
  HugePageAdvice huge_page_advice() const { return host_.huge_pages; }

  // The descriptor by which another process can share the memory, which stays this
  // object's, and where in it the memory begins; -1 for memory that is not shareable.
  int fd() const;
  std::uint64_t fd_offset() const;

  // Takes away the right to write through this mapping (ROM).
  absl::Status make_read_only();

  // Makes the mapping longer or shorter, in place. What is added reads as zero (a file:
  // as the file); what is cut off goes back to the host, for every sharer of a memfd.
  //
  // Needs:   no access to what is cut off, then or later.
  // Errors:  kInvalidArgument    0, or above max_bytes(), or a file that is too short
  //          kResourceExhausted  and the others of the factory, for what is added
  //          On each of them the mapping is as before.
  absl::Status resize(std::size_t bytes);

  // Gives pages back to the host: [offset, offset + bytes) reads as zero afterwards, for
  // every sharer, and takes memory again once it is written. A shared file gets a hole.
  // May run beside accesses, which see the old bytes or zero.
  //
  // Units:   multiples of page_bytes().
  // Errors:  kInvalidArgument     misaligned, or outside of bytes()
  //          kFailedPrecondition  private file or read-only mapping, where the file would
  //                               show again; caller-owned memory
  //          kUnimplemented       the file system cannot punch holes
  // Source:  madvise(2) MADV_DONTNEED, fallocate(2) FALLOC_FL_PUNCH_HOLE.
  absl::Status discard(std::size_t offset, std::size_t bytes);

  // Makes [offset, offset + bytes) show what resize() would if the part were cut off and
  // added again: zero, or a file as it is, without the changes of a private mapping. What
  // a file or the caller's memory holds stays. May run beside accesses.
  //
  // Units:   multiples of page_bytes().
  // Errors:  kInvalidArgument  misaligned, or outside of bytes(); or done, of a file that
  //                            has become too short
  //          those of discard() for memory that belongs to neither file nor caller
  absl::Status refresh(std::size_t offset, std::size_t bytes);

 private:
  HostMapping();
  static absl::StatusOr<HostMapping> make(std::unique_ptr<internal::PageSource> source,
                                          std::size_t bytes, const HostMappingOptions& options);
  const internal::PageSource& source() const;
  std::span<std::byte> part(std::size_t offset, std::size_t bytes) const;
  absl::Status check_inside(std::size_t offset, std::size_t bytes) const;
  absl::Status grow(std::size_t bytes);
  absl::Status shrink(std::size_t bytes);
  absl::Status give_back(std::span<std::byte> cut, std::size_t offset) const;
  void release() noexcept;

  std::span<std::byte> reserved_;  // what is unmapped in the end; empty if the caller's
  std::span<std::byte> bytes_;
  std::size_t max_bytes_ = 0;
  bool writable_ = true;
  std::unique_ptr<internal::PageSource> source_;  // null: anonymous, which needs no state
  HostMemoryOptions host_;
};

}  // namespace vm_mem

#endif  // VM_MEM_HOST_MAPPING_H_
