// What tests of executed AArch64 code share: a program of emitted pieces, and what a run of
// it may have changed.
#ifndef TESTS_VM_ENGINE_EMIT_A64_PROGRAM_H_
#define TESTS_VM_ENGINE_EMIT_A64_PROGRAM_H_

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "tests/vm_engine/emit_a64_trampoline.h"
#include "vm_engine/emit.h"

namespace vm_test {

inline constexpr std::uint64_t kFlagsIn = 0xa0000000;  // negative and carry

inline unsigned id(vm_engine::Reg reg) { return static_cast<unsigned>(reg); }

inline A64Registers patterned() {
  A64Registers file;
  file.nzcv = kFlagsIn;
  for (std::size_t i = 0; i < file.x.size(); ++i) file.x[i] = 0x0101010101010101 * i + 0xabc000000;
  for (std::size_t i = 0; i < file.v.size(); ++i) {
    for (std::size_t k = 0; k < 16; ++k) file.v[i][k] = static_cast<std::uint8_t>(i * 16 + k * 5);
  }
  for (std::size_t i = 0; i < kBelowSpBytes; ++i) {
    file.below_sp[i] = static_cast<std::uint8_t>(200 - i);
  }
  return file;
}

// Emitted code between the branch that enters it and those that leave it.
class Program {
 public:
  static constexpr std::size_t kExit = 0;

  Program() {
    buffer.bytes = {vm_test_a64_code, kA64CodeBytes};
    EXPECT_EQ(
        mprotect(buffer.bytes.data(), buffer.bytes.size(), PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    put_branch(&vm_test_a64_exit);
  }

  // After the last piece of code.
  void finish() {
    put_branch(&vm_test_a64_done);
    const absl::Status status = vm_engine::emit_slow_paths(buffer);
    ASSERT_TRUE(status.ok()) << status;
    auto* const begin = reinterpret_cast<char*>(buffer.bytes.data());
    __builtin___clear_cache(begin, begin + buffer.used);
  }
  A64Registers run(const A64Registers& in) const {
    A64Registers out;
    vm_test_run_a64(&in, &out);
    return out;
  }

  vm_engine::CodeBuffer buffer;

 private:
  void put_branch(void (*to)()) {
    const auto from = reinterpret_cast<std::intptr_t>(buffer.bytes.data() + buffer.used);
    const auto distance = reinterpret_cast<std::intptr_t>(to) - from;
    const auto word = static_cast<std::uint32_t>(0x14000000 | (distance / 4 & 0x3ffffff));
    std::memcpy(buffer.bytes.data() + buffer.used, &word, sizeof word);
    buffer.used += sizeof word;
  }
};

// What survived a run: all but `may_change` and the vectors that the config gives.
inline void check_survivors(const vm_engine::EmitConfig& config, const A64Registers& in,
                            const A64Registers& out, vm_engine::RegSet may_change) {
  EXPECT_EQ(out.sp_moved, 0u);
  EXPECT_EQ(out.nzcv, in.nzcv);
  const auto below = static_cast<std::ptrdiff_t>(config.red_zone_bytes);
  EXPECT_TRUE(std::equal(in.below_sp.end() - below, in.below_sp.end(), out.below_sp.end() - below));
  for (unsigned i = 0; i < 31; ++i) {
    if ((may_change >> i & 1) == 0) {
      EXPECT_EQ(out.x[i], in.x[i]) << "x" << i;
    }
  }
  for (unsigned i = 0; i < 32; ++i) {
    if ((config.scratch_vectors >> i & 1) == 0) {
      EXPECT_EQ(out.v[i], in.v[i]) << "v" << i;
    }
  }
}

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_EMIT_A64_PROGRAM_H_
