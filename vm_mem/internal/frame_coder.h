// Compresses frames of pages, and makes pages of them again. CMake picks the sources: those of
// the libraries that are installed.
#ifndef VM_MEM_INTERNAL_FRAME_CODER_H_
#define VM_MEM_INTERNAL_FRAME_CODER_H_

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/snapshot_format.h"

namespace vm_mem::internal {

// For one thread.
class FrameCoder {
 public:
  virtual ~FrameCoder() = default;

  // How many bytes of `to` it takes; 0 where there are too few, or no memory is left.
  virtual std::size_t compress(std::span<const std::byte> from, std::span<std::byte> to) = 0;
  // Whether `from`, which may be any bytes, makes exactly all of `to`. Nothing else is written.
  virtual bool decompress(std::span<const std::byte> from, std::span<std::byte> to) = 0;
};

// nullptr: this program was built without.
std::unique_ptr<FrameCoder> make_lz4_coder();
std::unique_ptr<FrameCoder> make_zstd_coder();

// Needs:   not kPlain.
// Errors:  kUnimplemented: built without; the message names the library
absl::StatusOr<std::unique_ptr<FrameCoder>> make_frame_coder(FrameCodec codec);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FRAME_CODER_H_
