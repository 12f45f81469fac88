#include <array>
#include <bit>
#include <cstring>

#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // its bits reversed

// Row r: what a byte does to the checksum when r more bytes follow it.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1) * kPolynomial;
    tables[0][byte] = value;
  }
  for (std::size_t row = 1; row < tables.size(); ++row) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t shorter = tables[row - 1][byte];
      tables[row][byte] = shorter >> 8 ^ tables[0][shorter & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

// Eight bytes at a time, the first of which has seven after it.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before) {
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t state = ~before;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    word ^= state & 0xffffffff;
    state = 0;
    for (unsigned i = 0; i < 8; ++i) state ^= kTables[7 - i][word >> (8 * i) & 0xff];
    bytes = bytes.subspan(8);
  }
  for (const std::byte byte : bytes) {
    state = state >> 8 ^ kTables[0][(state ^ std::to_integer<std::uint64_t>(byte)) & 0xff];
  }
  return ~static_cast<std::uint32_t>(state);
}

}  // namespace vm_mem::internal
