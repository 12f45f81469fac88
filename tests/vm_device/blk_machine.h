// A guest with one block device, driven through its registers.
#ifndef TESTS_VM_DEVICE_BLK_MACHINE_H_
#define TESTS_VM_DEVICE_BLK_MACHINE_H_

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "vm_device/virtio_blk.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"

namespace vm_device {

inline constexpr std::uint64_t kSlot = 0x1000'1000;
inline constexpr std::uint64_t kFeatureFlush = 1 << 9;

// A disk in host memory, whose failures a test sets. What is discarded reads as kForgotten.
class MemoryImage final : public BlockImage {
 public:
  explicit MemoryImage(std::size_t sectors, ImageAccess access = ImageAccess::kReadWrite)
      : content(sectors * kSectorBytes), access_(access) {
    for (std::size_t i = 0; i < content.size(); ++i) {
      content[i] = static_cast<std::byte>(i * 7 + i / kSectorBytes);
    }
  }
  std::uint64_t bytes() const override { return content.size(); }
  ImageAccess access() const override { return access_; }
  int read_at(std::uint64_t offset, std::span<std::byte> to) override {
    if (failure == 0) std::memcpy(to.data(), &content[offset], to.size());
    return failure;
  }
  int write_at(std::uint64_t offset, std::span<const std::byte> from) override {
    if (failure == 0) std::memcpy(&content[offset], from.data(), from.size());
    return failure;
  }
  int flush() override {
    ++flushes;
    return failure;
  }
  bool can_discard() const override { return true; }
  int discard(std::uint64_t offset, std::uint64_t bytes) override {
    if (failure == 0 && bytes != 0) std::memset(&content[offset], kForgotten, bytes);
    return failure;
  }
  void resize(std::size_t sectors) {
    content.resize(sectors * kSectorBytes);
    announce_resize();
  }

  static constexpr int kForgotten = 0xdd;

  std::vector<std::byte> content;
  int failure = 0;
  int flushes = 0;

 private:
  ImageAccess access_;
};

class BlkMachine {
 public:
  static constexpr std::uint16_t kQueueSize = 16;
  static constexpr std::uint64_t kRing = kRamBase;
  static constexpr std::uint64_t kHeader = kRamBase + 0x1'0000;
  static constexpr std::uint64_t kStatus = kRamBase + 0x1'1000;
  static constexpr std::uint64_t kData = kRamBase + 0x2'0000;
  static constexpr std::byte kUntouched{0xee};

  explicit BlkMachine(std::unique_ptr<BlockImage> image, VirtioBlkOptions options = {})
      : slot(*guest.memory, VirtioBlk::create(std::move(image), std::move(options)).value(), line),
        ring(guest, kRing, kQueueSize) {
    EXPECT_TRUE(guest.bus.attach(guest_range(kSlot, kVirtioMmioBytes), &slot, "blk").ok());
  }

  std::uint32_t reg(std::uint64_t offset) const { return guest.get<std::uint32_t>(kSlot + offset); }
  void set_reg(std::uint64_t offset, std::uint32_t value) { guest.put(kSlot + offset, value); }
  void set_reg64(std::uint64_t offset, std::uint64_t value) {
    set_reg(offset, static_cast<std::uint32_t>(value));
    set_reg(offset + 4, static_cast<std::uint32_t>(value >> 32));
  }

  void accept(std::uint64_t features) {
    for (std::uint32_t select : {0u, 1u}) {
      set_reg(0x24, select);
      set_reg(0x20, static_cast<std::uint32_t>(features >> (32 * select)));
    }
  }
  void set_up_queue(const VirtqueueConfig& config, std::uint32_t queue = 0) {
    set_reg(0x30, queue);
    set_reg(0x38, config.size);
    set_reg64(0x80, config.descriptor_table);
    set_reg64(0x90, config.driver_area);
    set_reg64(0xa0, config.device_area);
    set_reg(0x44, 1);
  }
  // Reset, then everything a driver does up to DRIVER_OK.
  void start(std::uint64_t features = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush) {
    ring.clear();
    start_with(ring.config(), features);
  }
  void start_with(const VirtqueueConfig& config, std::uint64_t features) {
    set_reg(0x70, 0);
    set_reg(0x70, 1);
    set_reg(0x70, 3);
    accept(features);
    set_reg(0x70, 11);
    EXPECT_EQ(reg(0x70), 11u);
    set_up_queue(config);
    set_reg(0x70, 15);
    guest.put(kStatus, kUntouched);
  }
  void kick(std::uint32_t queue = 0) { set_reg(0x50, queue); }

  void put_header(std::uint32_t type, std::uint64_t sector) {
    guest.put(kHeader, type);
    guest.put(kHeader + 4, std::uint32_t{0});
    guest.put(kHeader + 8, sector);
  }
  static RawDescriptor header() { return {kHeader, 16, 0, 0}; }
  static RawDescriptor status() { return {kStatus, 1, kWrite, 0}; }
  static RawDescriptor data(std::uint32_t bytes, std::uint16_t flags) {
    return {kData, bytes, flags, 0};
  }
  int status_byte() const { return guest.get<std::uint8_t>(kStatus); }

  // The plain request: header, data (if any), status.
  void request(std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
    put_header(type, sector);
    guest.put(kStatus, kUntouched);
    const std::uint16_t direction = type == 1 ? 0 : kWrite;
    if (bytes == 0) {
      ring.offer_chain({header(), status()});
    } else {
      ring.offer_chain({header(), data(bytes, direction), status()});
    }
    kick();
  }

  bool needs_reset() const { return (reg(0x70) & 64) != 0; }
  bool config_interrupt() const { return (reg(0x60) & 2) != 0; }

  Guest guest;
  RecordingLine line;
  VirtioMmio slot;
  DriverRing ring;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_BLK_MACHINE_H_
