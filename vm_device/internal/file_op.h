// One system call on a file, and what makes it.
#ifndef VM_DEVICE_INTERNAL_FILE_OP_H_
#define VM_DEVICE_INTERNAL_FILE_OP_H_

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "vm_device/async_file.h"

namespace vm_device::internal {

enum class FileOpKind : std::uint8_t { kRead, kWrite, kSync, kDataSync };

struct FileOp {
  FileOpKind kind = FileOpKind::kRead;
  int descriptor = -1;
  std::span<const iovec> pieces;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // of the pieces
  FileHome home = FileHome::kAnywhere;
  // Nothing of its request is left then, and no device is reached: who submits may make it.
  bool is_all_in_ram = false;
};

// Makes the call and waits for it. Threads: any number at a time.
class FileCalls {
 public:
  virtual ~FileCalls() = default;
  // Bytes, or -errno.
  virtual std::int64_t perform(const FileOp& op) = 0;
};

// preadv(2), pwritev(2), fsync(2) and fdatasync(2).
class SystemFileCalls final : public FileCalls {
 public:
  std::int64_t perform(const FileOp& op) override;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_FILE_OP_H_
