// Runs emitted x86-64 code with every register, the flags and the red zone holding a
// pattern of the test's, and reads them all back. Needs AVX2.
#ifndef TESTS_VM_ENGINE_EMIT_TRAMPOLINE_H_
#define TESTS_VM_ENGINE_EMIT_TRAMPOLINE_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace vm_test {

inline constexpr std::size_t kRedZoneBytes = 256;  // that are looked at

struct RegisterFile {
  std::array<std::uint64_t, 16> gpr{};  // in encoding order; rsp's is not used
  std::array<std::array<std::uint8_t, 32>, 16> vector{};
  std::uint64_t flags = 0;  // out
  std::array<std::uint8_t, kRedZoneBytes> red_zone{};
  std::uint64_t rsp_moved = 0;  // out: rsp at the end less rsp at the start
};
static_assert(offsetof(RegisterFile, vector) == 128);
static_assert(offsetof(RegisterFile, flags) == 640);
static_assert(offsetof(RegisterFile, red_zone) == 648);
static_assert(offsetof(RegisterFile, rsp_moved) == 904);

// The status flags that the code starts with: carry, zero, sign, overflow.
inline constexpr std::uint64_t kFlagsIn = 0x8c1;

extern "C" {
// `code` ends in a jump to vm_test_emitted_done. rsp_mod_16 is 0 or 8.
void vm_test_run_emitted(const void* code, const RegisterFile* in, RegisterFile* out,
                         std::uint64_t rsp_mod_16);
void vm_test_emitted_done();

// All of the 32 zmm registers around `code`, which ends in a return; dst, src and size
// in rdi, rsi and rdx. Needs AVX-512.
void vm_test_run_wide(const void* code, void* dst, const void* src, std::uint64_t bytes);
extern std::uint8_t vm_test_wide_in[32][64];
extern std::uint8_t vm_test_wide_out[32][64];
extern std::uint64_t vm_test_wide_rsp;  // where the code began

// Stands in for a helper: notes its rsp and changes every vector.
void vm_test_wide_helper();
extern std::uint64_t vm_test_wide_helper_rsp;
}

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_EMIT_TRAMPOLINE_H_
