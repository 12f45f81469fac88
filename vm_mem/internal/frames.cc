#include "vm_mem/internal/frames.h"

#include <algorithm>
#include <cstring>

#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {

absl::StatusOr<std::unique_ptr<FramePacker>> FramePacker::make(FrameCodec codec) {
  absl::StatusOr<std::unique_ptr<FrameCoder>> coder = make_frame_coder(codec);
  if (!coder.ok()) return coder.status();
  return std::unique_ptr<FramePacker>(new FramePacker(codec, *std::move(coder)));
}

std::span<const std::byte> FramePacker::pack(FrameEntry& entry) {
  std::span<const std::byte> stored = std::span(pages_).first(fill_);
  const std::span<std::byte> room = std::span(packed_).first(fill_ - kSnapshotPageBytes);
  const std::size_t made = room.empty() ? 0 : coder_->compress(stored, room);
  entry.codec = made == 0 ? FrameCodec::kPlain : codec_;
  entry.bytes = static_cast<std::uint32_t>(made == 0 ? fill_ : made);
  if (made != 0) {
    const std::span<std::byte> packed = std::span(packed_).first(paged(made));
    std::ranges::fill(packed.subspan(made), std::byte{});
    stored = packed;
  }
  entry.checksum = crc32c(stored);
  fill_ = 0;
  return stored;
}

absl::Status FrameUnpacker::unpack(const FrameEntry& entry, std::span<const std::byte> stored,
                                   std::span<std::byte> pages) {
  if (crc32c(stored) != entry.checksum) {
    return absl::DataLossError("the frame does not match its checksum");
  }
  if (entry.codec == FrameCodec::kPlain) {
    std::memcpy(pages.data(), stored.data(), pages.size());
    return absl::OkStatus();
  }
  std::unique_ptr<FrameCoder>& coder = coders_[static_cast<std::size_t>(entry.codec)];
  if (coder == nullptr) {
    absl::StatusOr<std::unique_ptr<FrameCoder>> made = make_frame_coder(entry.codec);
    if (!made.ok()) return made.status();
    coder = *std::move(made);
  }
  if (coder->decompress(stored.first(entry.bytes), pages)) return absl::OkStatus();
  return absl::DataLossError("the frame cannot be decompressed to its pages");
}

}  // namespace vm_mem::internal
