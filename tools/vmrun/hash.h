// A hash for comparisons, not against an enemy: 64 bits, word by word.
#ifndef VMRUN_HASH_H_
#define VMRUN_HASH_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>

namespace vmrun {

class Hash {
 public:
  void add(std::uint64_t value) {
    state_ = (state_ ^ value) * 0x9e37'79b9'7f4a'7c15;
    state_ ^= state_ >> 29;
  }
  void add(std::initializer_list<std::uint64_t> values) {
    for (const std::uint64_t value : values) add(value);
  }
  template <typename Values>
  void add_all(const Values& values) {
    for (const auto value : values) add(value);
  }
  // And how many they are.
  void add_bytes(std::span<const std::byte> bytes) {
    add(bytes.size());
    while (!bytes.empty()) {
      std::uint64_t word = 0;
      const auto part = bytes.first(bytes.size() < sizeof word ? bytes.size() : sizeof word);
      std::memcpy(&word, part.data(), part.size());
      add(word);
      bytes = bytes.subspan(part.size());
    }
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf2'9ce4'8422'2325;
};

}  // namespace vmrun

#endif  // VMRUN_HASH_H_
