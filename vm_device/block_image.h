// Storage behind a block device.
#ifndef VM_DEVICE_BLOCK_IMAGE_H_
#define VM_DEVICE_BLOCK_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_device {

inline constexpr std::uint64_t kSectorBytes = 512;

enum class ImageAccess : std::uint8_t { kReadOnly, kReadWrite };

class BlockImage {
 public:
  virtual ~BlockImage() = default;

  // A multiple of kSectorBytes, above 0, the same at every call.
  virtual std::uint64_t bytes() const = 0;
  virtual ImageAccess access() const = 0;

  // All of the span, or an error: 0 or an errno. What was moved before an error stays.
  //
  // Needs:  the range inside the image; write_at only on a writable one.
  virtual int read_at(std::uint64_t offset, std::span<std::byte> to) = 0;
  virtual int write_at(std::uint64_t offset, std::span<const std::byte> from) = 0;
  // What was written before is on stable storage afterwards.
  virtual int flush() = 0;
};

}  // namespace vm_device

#endif  // VM_DEVICE_BLOCK_IMAGE_H_
