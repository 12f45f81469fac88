// Runs emitted AArch64 code with every register, NZCV and the bytes below sp holding a
// pattern of the test's, and reads them all back.
#ifndef TESTS_VM_ENGINE_EMIT_A64_TRAMPOLINE_H_
#define TESTS_VM_ENGINE_EMIT_A64_TRAMPOLINE_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace vm_test {

inline constexpr std::size_t kBelowSpBytes = 64;

struct A64Registers {
  std::array<std::uint64_t, 31> x{};
  std::uint64_t nzcv = 0;
  std::array<std::array<std::uint8_t, 16>, 32> v{};
  std::uint64_t sp_moved = 0;  // out: sp at the end less sp at the start
  std::uint64_t exited = 0;    // out: 1 where the code ended in vm_test_a64_exit
  std::array<std::uint8_t, kBelowSpBytes> below_sp{};
};
static_assert(offsetof(A64Registers, nzcv) == 248);
static_assert(offsetof(A64Registers, v) == 256);
static_assert(offsetof(A64Registers, sp_moved) == 768);
static_assert(offsetof(A64Registers, exited) == 776);
static_assert(offsetof(A64Registers, below_sp) == 784);

extern "C" {
// The code goes here, near enough for a branch either way, and ends in one to
// vm_test_a64_done or vm_test_a64_exit.
inline constexpr std::size_t kA64CodeBytes = 1 << 16;
extern std::byte vm_test_a64_code[kA64CodeBytes];
void vm_test_run_a64(const A64Registers* in, A64Registers* out);
void vm_test_a64_done();
void vm_test_a64_exit();

// Stands in for every helper: changes all that a callee may change, the stack below it
// included, and returns vm_test_a64_trash_result in x0 and x1.
void vm_test_a64_trash();
extern std::uint64_t vm_test_a64_trash_result;
extern std::uint64_t vm_test_a64_trash_sp;  // where it was called
}

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_EMIT_A64_TRAMPOLINE_H_
