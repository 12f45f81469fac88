// A disk image that is the disk's bytes and nothing else, in a file or a block device.
#ifndef VM_DEVICE_RAW_IMAGE_H_
#define VM_DEVICE_RAW_IMAGE_H_

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_device/block_image.h"

namespace vm_device {

// When a lock (flock) is taken on the file, which readers share and a writer has alone.
enum class ImageLock : std::uint8_t {
  kAtOnce,  // by open(), and kept
  kByCall,  // by lock(), to unlock(): who uses the image meanwhile is the caller's care
};

// A full disk, a quota or a limit on the size of files fails the request that meets it:
// what was written before stays, and nothing else changes. A program that has a limit on
// the size of files ignores SIGXFSZ.
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
  static absl::StatusOr<std::unique_ptr<RawImage>> open(const std::string& path, ImageAccess access,
                                                        ImageLock lock = ImageLock::kAtOnce);
  RawImage(const RawImage&) = delete;
  RawImage& operator=(const RawImage&) = delete;
  ~RawImage() override;

  // Takes the lock, and the size that the file has by then. Nothing changes where it is held.
  //
  // Errors:  as those of open(); the lock is not held then.
  absl::Status lock();
  // What was written may be in memory of the host's still: see flush().
  void unlock();

  std::uint64_t bytes() const override { return bytes_.load(std::memory_order_relaxed); }
  ImageAccess access() const override { return access_; }
  // EIO where the file is shorter than it was when its size was last taken. A write does not
  // make it longer again, unless somebody else shortens it at that very moment.
  int read_at(std::uint64_t offset, std::span<std::byte> to) override;
  int write_at(std::uint64_t offset, std::span<const std::byte> from) override;
  int flush() override;

  ImageMemory memory() const override { return ImageMemory::kGuest; }
  // Nowhere, too, where the file has become shorter.
  AsyncFile file_at(std::uint64_t offset, std::uint64_t bytes) const override;
  bool can_discard() const override { return true; }
  // A hole in the file, where its file system has holes; elsewhere nothing.
  int discard(std::uint64_t offset, std::uint64_t bytes) override;
  int write_zeroes(std::uint64_t offset, std::uint64_t bytes, ZeroSpace space) override;

  // Makes the file longer, by zeros, or shorter, and the guest's disk with it. Waits for
  // writes under way; those of AsyncDma on file_at() it does not know: one of them may make the
  // file longer again, but not the disk.
  //
  // Errors:  as those of open(); kPermissionDenied also on a read-only image. The image is
  //          as before.
  absl::Status resize(std::uint64_t bytes);
  // Takes the size that the file or block device has now: somebody else has resized it.
  //
  // Errors:  as those of open(). The image is as before.
  absl::Status refresh_size();

 private:
  RawImage(std::string path, int descriptor, FileHome home, std::uint64_t bytes, ImageAccess access)
      : path_(std::move(path)),
        descriptor_(descriptor),
        home_(home),
        bytes_(bytes),
        access_(access) {}
  int check_range(std::uint64_t offset, std::uint64_t bytes) const;
  int free_or_zero(int mode, std::uint64_t offset, std::uint64_t bytes) const;
  absl::Status set_size(std::uint64_t bytes);  // Needs: size_mutex_

  const std::string path_;
  const int descriptor_;
  const FileHome home_;
  std::atomic<std::uint64_t> bytes_;
  // Shared from the look at the file's size to the end of the write that it is for, held alone
  // by what changes the size.
  mutable std::shared_mutex size_mutex_;
  const ImageAccess access_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_RAW_IMAGE_H_
