#include <lz4.h>

#include "vm_mem/internal/frame_coder.h"

namespace vm_mem::internal {
namespace {

const char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}
char* chars(std::span<std::byte> bytes) { return reinterpret_cast<char*>(bytes.data()); }

// Frames are far below the 2 GiB that an int counts.
class Lz4Coder final : public FrameCoder {
 public:
  std::size_t compress(std::span<const std::byte> from, std::span<std::byte> to) override {
    return static_cast<std::size_t>(LZ4_compress_default(
        chars(from), chars(to), static_cast<int>(from.size()), static_cast<int>(to.size())));
  }
  bool decompress(std::span<const std::byte> from, std::span<std::byte> to) override {
    const int made = LZ4_decompress_safe(chars(from), chars(to), static_cast<int>(from.size()),
                                         static_cast<int>(to.size()));
    return made >= 0 && static_cast<std::size_t>(made) == to.size();
  }
};

}  // namespace

std::unique_ptr<FrameCoder> make_lz4_coder() { return std::make_unique<Lz4Coder>(); }

}  // namespace vm_mem::internal
