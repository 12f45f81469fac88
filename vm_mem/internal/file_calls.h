// The system calls that snapshots make on files, so that a test can have them fail.
#ifndef VM_MEM_INTERNAL_FILE_CALLS_H_
#define VM_MEM_INTERNAL_FILE_CALLS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/host_memory_fd.h"

namespace vm_mem::internal {

// Each as the system call of that name: -1 and errno where it fails. Any thread.
class FileCalls {
 public:
  virtual ~FileCalls() = default;

  virtual ssize_t read_at(int fd, std::byte* to, std::size_t bytes, std::uint64_t offset);
  virtual ssize_t write_at(int fd, const std::byte* from, std::size_t bytes, std::uint64_t offset);
  virtual int sync_data(int fd);
  virtual int sync_folder(int fd);
  virtual int rename(const std::string& from, const std::string& to);
  // False: the kernel must not be given reads and writes in any other way.
  virtual bool may_use_ring() const { return false; }

  // The host's own.
  static FileCalls& host();
};

// A file that is open, and how errors call it.
struct OpenFile {
  std::string path;
  HostFd fd{-1};
  bool direct = false;  // O_DIRECT; off once the file system refused it
};

// What the host refused, as a status: "path: at 0x...: what: errno (text)".
// Errors:  kNotFound, kPermissionDenied, kResourceExhausted (no room), else kUnavailable
absl::Status file_refused(std::string_view path, std::uint64_t offset, std::string_view what,
                          int error);
// The same of something that is no matter of an offset.
absl::Status file_refused(std::string_view path, std::string_view what, int error);

// "path: at 0x...: reason", with the code of `reason`.
absl::Status file_error(std::string_view path, std::uint64_t offset, const absl::Status& reason);

// All of it, in as many calls as that takes.
//
// Errors:  kDataLoss where the file ends before; those of file_refused()
absl::Status read_exactly(FileCalls& calls, const OpenFile& file, std::uint64_t offset,
                          std::span<std::byte> to);
absl::Status write_exactly(FileCalls& calls, const OpenFile& file, std::uint64_t offset,
                           std::span<const std::byte> from);

// A regular file, for reading; no symbolic link. `bytes` is its length.
absl::StatusOr<OpenFile> open_to_read(const std::string& path, std::uint64_t& bytes);

// By which an open file can be opened again: absl::StrFormat() cannot fail where memory is short.
std::string name_of_descriptor(int fd);

// The same file once more, past the page cache where the file system can, or through it.
OpenFile reopened_direct(const OpenFile& file);
OpenFile reopened_buffered(const OpenFile& file);

// Whether the page of the file that has `offset` is in the page cache.
bool has_cached(const OpenFile& file, std::uint64_t offset);

// The folder that the path names a file of, "." where it has none, and the file's name there.
std::string folder_of(const std::string& path);
std::string name_of_file(const std::string& path);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FILE_CALLS_H_
