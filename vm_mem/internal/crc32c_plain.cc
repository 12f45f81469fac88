// In place of crc32c_isal.cc where ISA-L is absent.
#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) {
  return crc32c_by_table(bytes, before);
}

}  // namespace vm_mem::internal
