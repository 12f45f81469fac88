// A guest with a block device, for a fuzzer: RAM between guards, an image that notices every
// access outside it, and steps that no driver would take.
#ifndef TESTS_VM_DEVICE_FUZZ_BLK_WORLD_H_
#define TESTS_VM_DEVICE_FUZZ_BLK_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tests/vm_mem/fuzz/byte_source.h"
#include "vm_device/block_image.h"
#include "vm_device/interrupt_line.h"
#include "vm_device/mmio_bus.h"
#include "vm_device/virtio_mmio.h"
#include "vm_mem/memory_manager.h"

namespace vm_device {

// Every byte says where it is, so that a read can be told to be right.
class WatchedImage final : public BlockImage {
 public:
  static constexpr std::uint64_t kMostSectors = 48;

  std::uint64_t bytes() const override { return sectors_ * kSectorBytes; }
  ImageAccess access() const override { return ImageAccess::kReadWrite; }
  int read_at(std::uint64_t offset, std::span<std::byte> to) override;
  int write_at(std::uint64_t offset, std::span<const std::byte> from) override;
  int flush() override;
  bool can_discard() const override { return true; }
  int discard(std::uint64_t offset, std::uint64_t bytes) override;

  void resize(std::uint64_t sectors);
  void fail_next(int error) { failure_ = error; }
  // As it was in the beginning.
  void restore();
  std::byte at(std::uint64_t offset) const { return content_[offset]; }

  // Throws where an access was outside the image, or they were more than one turn may have.
  void check();

 private:
  int enter(std::uint64_t offset, std::uint64_t bytes);

  std::uint64_t sectors_ = kMostSectors;
  std::vector<std::byte> content_ = std::vector<std::byte>(kMostSectors * kSectorBytes);
  int failure_ = 0;
  std::uint64_t calls_ = 0;
  bool went_outside_ = false;
};

class BlkWorld {
 public:
  static constexpr std::uint64_t kRam = 0x8000'0000;
  static constexpr std::uint64_t kRamBytes = 64 * 1024;
  static constexpr std::uint64_t kSlot = 0x1000'1000;

  BlkWorld();

  // One step of the guest or its host. Throws where it shows a mistake.
  void step(vm_mem::ByteSource& bytes);
  // Resets the device; good requests are then served, each once, with the right bytes.
  void expect_good_requests();

 private:
  struct Line final : InterruptLine {
    void set(Level) override {}
  };

  template <typename T>
  void put(std::uint64_t address, T value);
  template <typename T>
  T get(std::uint64_t address);
  void set_reg(std::uint64_t offset, std::uint32_t value) { put(kSlot + offset, value); }
  void start(std::uint64_t features, std::uint16_t size);
  void describe(vm_mem::ByteSource& bytes);
  void offer(vm_mem::ByteSource& bytes);
  void offer_request(vm_mem::ByteSource& bytes);
  void poke(vm_mem::ByteSource& bytes);
  void touch_register(vm_mem::ByteSource& bytes);
  std::uint64_t address_of(vm_mem::ByteSource& bytes);
  void check();

  std::vector<std::byte> host_;  // guard, RAM, guard
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  MmioBus bus_;
  Line line_;
  WatchedImage* image_;
  VirtioMmio slot_;
  std::uint16_t size_ = 8;
  bool packed_ = false;
  std::uint16_t available_ = 0;  // index (split), or count of descriptors (packed)
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_FUZZ_BLK_WORLD_H_
