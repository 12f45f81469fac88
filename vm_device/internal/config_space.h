// How a driver reads the configuration space of a device.
#ifndef VM_DEVICE_INTERNAL_CONFIG_SPACE_H_
#define VM_DEVICE_INTERNAL_CONFIG_SPACE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_device::internal {

// The bytes of `config` at `offset`, and zeros beyond its end.
inline void copy_config(std::span<const std::byte> config, std::uint64_t offset,
                        std::span<std::byte> to) {
  const auto from = config.subspan(std::min<std::uint64_t>(offset, config.size()));
  const std::size_t count = std::min(from.size(), to.size());
  std::copy_n(from.begin(), count, to.begin());
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(count), to.end(), std::byte{0});
}

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_CONFIG_SPACE_H_
