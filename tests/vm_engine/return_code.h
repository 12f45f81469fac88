// The smallest function there is, as machine code of the host that runs the test.
#ifndef TESTS_VM_ENGINE_RETURN_CODE_H_
#define TESTS_VM_ENGINE_RETURN_CODE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace vm_test {

// `value` as the result of a function without arguments. Needs: 0 <= value < 65536.
inline std::vector<std::byte> function_returning(int value) {
  const auto number = static_cast<std::uint32_t>(value);
#if defined(__x86_64__)
  std::vector<std::byte> code(6);
  const std::uint8_t move = 0xb8;  // mov eax, number
  const std::uint8_t back = 0xc3;  // ret
  std::memcpy(code.data(), &move, 1);
  std::memcpy(code.data() + 1, &number, 4);
  std::memcpy(code.data() + 5, &back, 1);
#else
  const std::uint32_t words[] = {0x52800000 | number << 5,  // mov w0, number
                                 0xd65f03c0};               // ret
  std::vector<std::byte> code(sizeof words);
  std::memcpy(code.data(), words, sizeof words);
#endif
  return code;
}

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_RETURN_CODE_H_
