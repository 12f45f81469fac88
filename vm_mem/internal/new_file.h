// A file that gets its name once it is whole: until then it has another in the same folder.
#ifndef VM_MEM_INTERNAL_NEW_FILE_H_
#define VM_MEM_INTERNAL_NEW_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/file_calls.h"

namespace vm_mem::internal {

// Every error is file_refused()'s, of the final name.
class NewFile {
 public:
  enum class Cache : std::uint8_t { kAvoided, kUsed };

  // `calls` outlives it.
  // Errors:  kInvalidArgument: something else than a file, or a link, has the name
  static absl::StatusOr<NewFile> create(const std::string& path, Cache cache,
                                        FileCalls& calls = FileCalls::host());
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  // Removes the file, unless it has its name.
  ~NewFile();

  OpenFile& file() { return file_; }
  absl::Status resize(std::uint64_t bytes);
  // What was written is on the disk.
  absl::Status sync();
  // Gives it its name, in the place of what has it, and sees to it that the folder is on the
  // disk too. Where only that fails, the new file has the name.
  absl::Status publish();

 private:
  NewFile(FileCalls& calls, OpenFile file);

  FileCalls& calls_;
  std::string temporary_;  // empty: nothing is to be removed
  OpenFile file_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_NEW_FILE_H_
