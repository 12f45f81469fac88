// Storage behind a block device.
//
// An image needs five functions: bytes, access, read_at, write_at and flush. The others
// have defaults; it overrides those that it can do better.
#ifndef VM_DEVICE_BLOCK_IMAGE_H_
#define VM_DEVICE_BLOCK_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>

#include "vm_device/async_file.h"

namespace vm_device {

inline constexpr std::uint64_t kSectorBytes = 512;

enum class ImageAccess : std::uint8_t { kReadOnly, kReadWrite };

// What becomes of the space that zeroed sectors take.
enum class ZeroSpace : std::uint8_t { kKeep, kMayFree };

// Which memory read_at() and write_at() work on.
enum class ImageMemory : std::uint8_t {
  kHost,
  // The guest's own RAM too. It changes while the image reads it, and may turn out not to be
  // there (EFAULT): memory for a system call, not for memcpy.
  kGuest,
};

// Threads:  the functions of an image are called one at a time, unless it says that it
//           takes more.
class BlockImage {
 public:
  virtual ~BlockImage() = default;

  // A multiple of kSectorBytes. An image whose size changes says so by announce_resize(),
  // and where it can shrink looks again at the range that it is given.
  virtual std::uint64_t bytes() const = 0;
  virtual ImageAccess access() const = 0;

  // All of the span, or an error: 0 or an errno. What was moved before an error stays.
  //
  // Needs:  the range inside the image; write_at only on a writable one.
  virtual int read_at(std::uint64_t offset, std::span<std::byte> to) = 0;
  virtual int write_at(std::uint64_t offset, std::span<const std::byte> from) = 0;
  // What was written before is on stable storage afterwards.
  virtual int flush() = 0;

  virtual ImageMemory memory() const { return ImageMemory::kHost; }

  // Where a file of the host's holds [offset, offset + bytes) of the image, for AsyncDma to
  // move and to sync beside the calls of the other functions. By default nowhere.
  virtual AsyncFile file_at(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) const { return {}; }

  // Whether discard() does anything; the same at every call.
  virtual bool can_discard() const { return false; }
  // Forgets the sectors: they then read as anything. The result as that of write_at().
  virtual int discard(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) { return 0; }
  // The sectors then read as zeros. Without kMayFree a later write to them finds its space.
  // By default zeros are written.
  virtual int write_zeroes(std::uint64_t offset, std::uint64_t bytes, ZeroSpace space);

  // What announce_resize() calls: the device in front of the image sets it. Once this
  // returns the one before is not called any more.
  void set_resize_listener(std::function<void()> listener);

 protected:
  // For an image whose bytes() has changed, on the host's order. From any thread.
  void announce_resize();

 private:
  std::mutex listener_mutex_;
  std::function<void()> listener_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_BLOCK_IMAGE_H_
