// Does what a judged block request asks for, on the image and in guest memory.
#ifndef VM_DEVICE_INTERNAL_BLK_EXECUTOR_H_
#define VM_DEVICE_INTERNAL_BLK_EXECUTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "vm_device/block_image.h"
#include "vm_device/internal/blk_request.h"

namespace vm_device::internal {

// `written` counts data bytes in guest memory, from the first writable one on; `moved` what
// the request cost, in bytes.
struct BlkOutcome {
  BlkAnswer answer = BlkAnswer::kOk;
  std::uint64_t written = 0;
  std::uint64_t moved = 0;
};

// When a write has to be on stable storage.
enum class BlkCaching : std::uint8_t { kWriteBack, kWriteThrough };

// Data in long runs goes straight between the image and guest memory where the image takes
// that; the rest, and what cannot be had so, goes through a bounce buffer, whose copies say
// exactly which byte failed. What lies in a
// device is read once.
class BlkExecutor {
 public:
  // Needs:  `image` outlives this object.
  BlkExecutor(BlockImage& image, std::string serial);

  BlkOutcome execute(const BlkRequest& request, DmaSpace& dma, BlkCaching caching);
  int flush();

 private:
  struct Progress;

  template <typename Direct, typename Bounced>
  int move(const BlkRequest& request, Progress& progress, Direct direct, Bounced bounced);
  BlkOutcome read(const BlkRequest& request, DmaSpace& dma);
  BlkOutcome write(const BlkRequest& request, DmaSpace& dma);
  BlkOutcome identify(const BlkRequest& request, DmaSpace& dma) const;
  BlkOutcome change_ranges(const BlkRequest& request);

  BlockImage* image_;
  std::string serial_;
  std::vector<std::byte> bounce_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_BLK_EXECUTOR_H_
