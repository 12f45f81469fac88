// Frames: data pages of a snapshot file that are compressed together. docs/snapshot_format.md
// has what they look like.
#ifndef VM_MEM_INTERNAL_FRAMES_H_
#define VM_MEM_INTERNAL_FRAMES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/frame_coder.h"
#include "vm_mem/internal/snapshot_format.h"

namespace vm_mem::internal {

// Collects pages until a frame is full.
class FramePacker {
 public:
  // Errors:  those of make_frame_coder()
  static absl::StatusOr<std::unique_ptr<FramePacker>> make(FrameCodec codec);

  bool is_full() const { return fill_ == pages_.size(); }
  bool is_empty() const { return fill_ == 0; }
  // Where the next page is to be put. Needs:  not is_full().
  std::span<std::byte> room() { return std::span(pages_).subspan(fill_, kSnapshotPageBytes); }
  void put_page() { fill_ += kSnapshotPageBytes; }
  // What the file gets of the pages so far, in whole pages, and good until room() is filled again;
  // `entry` tells of it. Then there are none. Plain, where compression would not save a page.
  std::span<const std::byte> pack(FrameEntry& entry);

 private:
  FramePacker(FrameCodec codec, std::unique_ptr<FrameCoder> coder)
      : codec_(codec), coder_(std::move(coder)), pages_(kFrameBytes), packed_(kFrameBytes) {}

  FrameCodec codec_;
  std::unique_ptr<FrameCoder> coder_;
  std::vector<std::byte> pages_;
  std::vector<std::byte> packed_;
  std::size_t fill_ = 0;
};

class FrameUnpacker {
 public:
  // Makes the pages of a frame of what the file has of it. Its checksum is compared first.
  //
  // Errors:  the reason alone: kDataLoss; those of make_frame_coder()
  absl::Status unpack(const FrameEntry& entry, std::span<const std::byte> stored,
                      std::span<std::byte> pages);

 private:
  std::array<std::unique_ptr<FrameCoder>, 3> coders_;  // by codec
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FRAMES_H_
