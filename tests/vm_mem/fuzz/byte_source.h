// The bytes of a fuzzer's input, taken as numbers. Past their end everything is zero.
#ifndef VM_TESTS_VM_MEM_FUZZ_BYTE_SOURCE_H_
#define VM_TESTS_VM_MEM_FUZZ_BYTE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_mem {

class ByteSource {
 public:
  explicit ByteSource(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }

  // Units:  of that many bytes, little-endian.
  std::uint64_t take(std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes && !bytes_.empty(); ++i) {
      value |= std::uint64_t{bytes_.front()} << (8 * i);
      bytes_ = bytes_.subspan(1);
    }
    return value;
  }
  // One byte's worth, below `end`.
  std::uint64_t below(std::uint64_t end) { return take(1) % end; }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_FUZZ_BYTE_SOURCE_H_
