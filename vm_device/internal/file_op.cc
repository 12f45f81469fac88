#include "vm_device/internal/file_op.h"

#include <unistd.h>

#include <cerrno>

namespace vm_device::internal {
namespace {

std::int64_t call(const FileOp& op) {
  const auto count = static_cast<int>(op.pieces.size());
  const auto offset = static_cast<off_t>(op.offset);
  switch (op.kind) {
    case FileOpKind::kRead: return ::preadv(op.descriptor, op.pieces.data(), count, offset);
    case FileOpKind::kWrite: return ::pwritev(op.descriptor, op.pieces.data(), count, offset);
    case FileOpKind::kSync: return ::fsync(op.descriptor);
    case FileOpKind::kDataSync: break;
  }
  return ::fdatasync(op.descriptor);
}

}  // namespace

std::int64_t SystemFileCalls::perform(const FileOp& op) {
  const std::int64_t result = call(op);
  return result < 0 ? -errno : result;
}

}  // namespace vm_device::internal
