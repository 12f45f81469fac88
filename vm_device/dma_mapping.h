// Host bytes that stand for a range of bus addresses, for as long as a device needs a
// pointer to them.
#ifndef VM_DEVICE_DMA_MAPPING_H_
#define VM_DEVICE_DMA_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace vm_device {

namespace internal {
class HeldMapping;
}

// Who writes the bytes.
enum class DmaDirection : std::uint8_t {
  kToDevice,    // the guest has; the device reads
  kFromDevice,  // the device does
  kBoth,
};

// A ticket: DmaSpace::map() gives it, DmaSpace::unmap() takes it. Copies are the same
// mapping, so that what one of them ended is ended for all.
class DmaMapping {
 public:
  DmaMapping() = default;

  // Empty once unmapped, or when the space is gone: a use after that is seen.
  //
  // Needs:  those of kToDevice are not written.
  std::span<std::byte> bytes() const;
  std::uint64_t address() const;
  // Whether bytes() are the guest's own.
  bool is_zero_copy() const;

 private:
  friend class DmaSpace;
  explicit DmaMapping(std::shared_ptr<internal::HeldMapping> held) : held_(std::move(held)) {}

  std::shared_ptr<internal::HeldMapping> held_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_DMA_MAPPING_H_
