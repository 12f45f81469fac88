#include <isa-l/crc.h>

#include <algorithm>

#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {

// ISA-L takes its lengths as int and does not write through the pointer.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) {
  constexpr std::size_t kStep = std::size_t{1} << 30;
  std::uint32_t state = ~before;
  while (!bytes.empty()) {
    const std::span<const std::byte> step = bytes.first(std::min(bytes.size(), kStep));
    auto* const data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(step.data()));
    state = crc32_iscsi(data, static_cast<int>(step.size()), state);
    bytes = bytes.subspan(step.size());
  }
  return ~state;
}

}  // namespace vm_mem::internal
