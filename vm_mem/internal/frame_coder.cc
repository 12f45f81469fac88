#include "vm_mem/internal/frame_coder.h"

#include "absl/strings/str_format.h"

namespace vm_mem::internal {

absl::StatusOr<std::unique_ptr<FrameCoder>> make_frame_coder(FrameCodec codec) {
  const bool is_lz4 = codec == FrameCodec::kLz4;
  std::unique_ptr<FrameCoder> coder = is_lz4 ? make_lz4_coder() : make_zstd_coder();
  if (coder != nullptr) return coder;
  const char* const name = is_lz4 ? "lz4" : "zstd";
  return absl::UnimplementedError(
      absl::StrFormat("compression with %s, which this program was built without: build it where "
                      "lib%s-dev is installed",
                      name, name));
}

}  // namespace vm_mem::internal
