// A disk image that is the disk's bytes and nothing else, in a file or a block device.
#ifndef VM_DEVICE_RAW_IMAGE_H_
#define VM_DEVICE_RAW_IMAGE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "vm_device/block_image.h"

namespace vm_device {

// Holds a lock (flock) on the file: readers share it, a writer is alone.
//
// Threads:  any number at a time.
class RawImage final : public BlockImage {
 public:
  // Errors:  each message is "<path>: <reason>".
  //          kNotFound            there is no such file
  //          kPermissionDenied    the host does not let us
  //          kInvalidArgument     a directory or another thing that is no disk; a size
  //                               of 0, or not a multiple of 512
  //          kFailedPrecondition  in use by another process, or opened twice
  //          kUnavailable         anything else; errno in the text
  static absl::StatusOr<std::unique_ptr<RawImage>> open(const std::string& path,
                                                        ImageAccess access);
  RawImage(const RawImage&) = delete;
  RawImage& operator=(const RawImage&) = delete;
  ~RawImage() override;

  std::uint64_t bytes() const override { return bytes_; }
  ImageAccess access() const override { return access_; }
  // EIO where the file has become shorter than it was when opened.
  int read_at(std::uint64_t offset, std::span<std::byte> to) override;
  int write_at(std::uint64_t offset, std::span<const std::byte> from) override;
  int flush() override;

 private:
  RawImage(int descriptor, std::uint64_t bytes, ImageAccess access)
      : descriptor_(descriptor), bytes_(bytes), access_(access) {}

  int descriptor_;
  std::uint64_t bytes_;
  ImageAccess access_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_RAW_IMAGE_H_
