// A range of a file that is to become guest memory.
#ifndef VM_MEM_HOST_FILE_H_
#define VM_MEM_HOST_FILE_H_

#include <cstdint>
#include <string>

namespace vm_mem {

enum class FileSharing : std::uint8_t {
  kShared,   // writes reach the file, and every other mapping of it
  kPrivate,  // writes stay here; the file is only read
};

enum class FileAccess : std::uint8_t {
  kReadWrite,
  kReadOnly,  // the mapping cannot be written either (ROM)
};

struct HostFile {
  std::string path = {};
  int fd = -1;  // in place of a path; duplicated, so that it stays the caller's
  std::uint64_t offset = 0;
  FileSharing sharing = FileSharing::kShared;
  FileAccess access = FileAccess::kReadWrite;
};

}  // namespace vm_mem

#endif  // VM_MEM_HOST_FILE_H_
