// Patterns of bytes, and checks of them, at the speed of the host's own copies: tests
// look at every byte around thousands of copies, in builds without optimization.
#ifndef TESTS_SUPPORT_BYTES_H_
#define TESTS_SUPPORT_BYTES_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace vm_test {

inline bool all_are(std::span<const std::byte> bytes, std::byte value) {
  if (bytes.empty()) return true;
  return bytes[0] == value && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

// 1 to 251 again and again: no power of two is a period. `first` is the place of the first
// byte in it, from 0 on.
inline void number(std::span<std::byte> bytes, std::size_t first) {
  constexpr std::size_t kPeriod = 251;
  static const std::array<std::byte, 16 * kPeriod> periods = [] {
    std::array<std::byte, 16 * kPeriod> all{};
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::byte>(1 + i % kPeriod);
    return all;
  }();
  std::size_t at = first % kPeriod;
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), periods.size() - at);
    std::memcpy(bytes.data(), &periods[at], count);
    bytes = bytes.subspan(count);
    at = (at + count) % kPeriod;
  }
}

// Bytes that differ from their neighbours and from those of another seed.
inline std::vector<std::byte> noise(std::size_t bytes, std::uint64_t seed = 1) {
  std::vector<std::byte> out(bytes);
  std::uint32_t state = static_cast<std::uint32_t>(seed) * 2654435761u + 1;
  for (std::byte& byte : out) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return out;
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_BYTES_H_
