// CRC-32C (Castagnoli), the checksum of snapshots.
#ifndef VM_MEM_INTERNAL_CRC32C_H_
#define VM_MEM_INTERNAL_CRC32C_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_mem::internal {

// Of what came before, whose checksum is `before`, and `bytes`. CMake picks the source: ISA-L,
// or a table where that is not installed.
//
// Source:  RFC 3720, appendix B.4: of "123456789" it is 0xe3069283.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0);

// The one of the two that every build has.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before = 0);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_CRC32C_H_
