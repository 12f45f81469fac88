// A disk without storage: to measure what is in front of one.
#ifndef VMBLKD_NULL_IMAGE_H_
#define VMBLKD_NULL_IMAGE_H_

#include <cstdint>
#include <cstring>
#include <span>

#include "vm_device/block_image.h"

namespace vmblkd {

// Reads as zeros.
class NullImage final : public vm_device::BlockImage {
 public:
  NullImage(std::uint64_t bytes, vm_device::ImageAccess access) : bytes_(bytes), access_(access) {}

  std::uint64_t bytes() const override { return bytes_; }
  vm_device::ImageAccess access() const override { return access_; }
  int read_at(std::uint64_t, std::span<std::byte> to) override {
    std::memset(to.data(), 0, to.size());
    return 0;
  }
  int write_at(std::uint64_t, std::span<const std::byte>) override { return 0; }
  int flush() override { return 0; }
  int write_zeroes(std::uint64_t, std::uint64_t, vm_device::ZeroSpace) override { return 0; }

 private:
  const std::uint64_t bytes_;
  const vm_device::ImageAccess access_;
};

}  // namespace vmblkd

#endif  // VMBLKD_NULL_IMAGE_H_
