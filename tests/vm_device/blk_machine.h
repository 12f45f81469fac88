// A guest with one block device, driven through its registers.
#ifndef TESTS_VM_DEVICE_BLK_MACHINE_H_
#define TESTS_VM_DEVICE_BLK_MACHINE_H_

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/vm_device/driver_registers.h"
#include "tests/vm_device/driver_ring.h"
#include "tests/vm_device/guest.h"
#include "vm_device/virtio_blk.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"

namespace vm_device {

// Virtio 1.2, section 5.2: features, types of requests, and their status.
inline constexpr std::uint64_t kFeatureFlush = 1 << 9;
inline constexpr std::uint64_t kFeatureConfigWce = 1 << 11;
inline constexpr std::uint64_t kFeatureMq = 1 << 12;
inline constexpr std::uint64_t kFeatureDiscard = 1 << 13;
inline constexpr std::uint64_t kFeatureWriteZeroes = 1 << 14;
inline constexpr std::uint32_t kIn = 0;
inline constexpr std::uint32_t kOut = 1;
inline constexpr std::uint32_t kFlush = 4;
inline constexpr std::uint32_t kGetId = 8;
inline constexpr std::uint32_t kDiscard = 11;
inline constexpr std::uint32_t kWriteZeroes = 13;
inline constexpr std::uint8_t kOk = 0;
inline constexpr std::uint8_t kIoErr = 1;
inline constexpr std::uint8_t kUnsupp = 2;

// A disk in host memory, whose failures a test sets. What is discarded reads as kForgotten.
class MemoryImage final : public BlockImage {
 public:
  explicit MemoryImage(std::size_t sectors, ImageAccess access = ImageAccess::kReadWrite)
      : content(sectors * kSectorBytes), access_(access) {
    const std::size_t period = std::min<std::size_t>(content.size(), 256 * kSectorBytes);
    for (std::size_t i = 0; i < period; ++i) {
      content[i] = static_cast<std::byte>(i * 7 + i / kSectorBytes);
    }
    for (std::size_t at = period; at < content.size(); at += period) {
      std::memcpy(&content[at], content.data(), std::min(period, content.size() - at));
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

class BlkMachine : public DriverRegisters {
 public:
  static constexpr std::uint16_t kQueueSize = 16;
  static constexpr std::uint64_t kRing = kRamBase;
  static constexpr std::uint64_t kHeader = kRamBase + 0x1'0000;
  static constexpr std::uint64_t kStatus = kRamBase + 0x1'1000;
  static constexpr std::uint64_t kData = kRamBase + 0x2'0000;
  static constexpr std::byte kUntouched{0xee};

  explicit BlkMachine(std::unique_ptr<BlockImage> image, VirtioBlkOptions options = {},
                      VirtioMmioOptions place = {}, const vm_mem::RamOptions& ram = {})
      : DriverRegisters(guest),
        guest(ram),
        slot(*guest.memory, VirtioBlk::create(std::move(image), std::move(options)).value(), line,
             place),
        ring(guest, kRing, kQueueSize) {
    EXPECT_TRUE(guest.bus.attach(guest_range(kSlot, kVirtioMmioBytes), &slot, "blk").ok());
  }

  // Reset, then everything a driver does up to DRIVER_OK.
  void start(std::uint64_t features = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush) {
    ring.clear();
    start_with(ring.config(), features);
  }
  void start_with(const VirtqueueConfig& config, std::uint64_t features) {
    negotiate(features);
    set_up_queue(config);
    go();
    guest.put(kStatus, kUntouched);
  }

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
    const std::uint16_t direction = type == kOut ? 0 : kWrite;
    if (bytes == 0) {
      ring.offer_chain({header(), status()});
    } else {
      ring.offer_chain({header(), data(bytes, direction), status()});
    }
    kick();
  }

  Guest guest;
  RecordingLine line;
  VirtioMmio slot;
  DriverRing ring;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_BLK_MACHINE_H_
