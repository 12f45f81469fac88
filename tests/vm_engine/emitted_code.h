// Emitted x86-64 code in pages of its own, run with every register holding a pattern.
#ifndef TESTS_VM_ENGINE_EMITTED_CODE_H_
#define TESTS_VM_ENGINE_EMITTED_CODE_H_

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "tests/vm_engine/emit_trampoline.h"
#include "vm_engine/emit.h"

namespace vm_test {

inline constexpr std::uint64_t kStatusFlags = 0x8d5;

inline unsigned id(vm_engine::Reg reg) { return static_cast<unsigned>(reg); }

// Written while writable, run while executable. Code that goes on at exit_target() is
// counted, and ends as other code does.
class EmittedCode {
 public:
  EmittedCode()
      : memory_(
            static_cast<std::byte*>(mmap(nullptr, kCodeBytes + kDataBytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    if (memory_ == MAP_FAILED) throw std::runtime_error("no memory for code");
    begin();
  }
  ~EmittedCode() { munmap(memory_, kCodeBytes + kDataBytes); }
  EmittedCode(const EmittedCode&) = delete;
  EmittedCode& operator=(const EmittedCode&) = delete;

  static vm_engine::ExitTarget exit_target() { return vm_engine::ExitTarget::at_offset(0); }

  vm_engine::CodeBuffer& buffer() { return buffer_; }
  // Code emitted from here on is what run() runs.
  void start() { start_ = buffer_.used; }

  // The way back, and the slow paths.
  void finish() {
    append_jump_back();
    const absl::Status status = emit_slow_paths(buffer_);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(mprotect(memory_, kCodeBytes, PROT_READ | PROT_EXEC), 0);
  }
  // As a function of the ABI instead.
  void* finish_function() {
    append({0xc3});
    EXPECT_EQ(mprotect(memory_, kCodeBytes, PROT_READ | PROT_EXEC), 0);
    return memory_ + start_;
  }
  void start_anew() {
    ASSERT_EQ(mprotect(memory_, kCodeBytes, PROT_READ | PROT_WRITE), 0);
    begin();
  }

  RegisterFile run(const RegisterFile& in, unsigned rsp_mod_16) const {
    RegisterFile out;
    vm_test_run_emitted(memory_ + start_, &in, &out, rsp_mod_16);
    return out;
  }
  std::uint64_t exits() const {
    std::uint64_t count = 0;
    std::memcpy(&count, memory_ + kCodeBytes, sizeof(count));
    return count;
  }
  std::byte* memory() const { return memory_; }

  static constexpr std::size_t kCodeBytes = 64 << 10;
  static constexpr std::size_t kDataBytes = 4096;

 private:
  void begin() {
    buffer_ = vm_engine::CodeBuffer{.bytes = {memory_, kCodeBytes}};
    constexpr std::uint32_t kToCounter = kCodeBytes - 7;
    append({0x48, 0xff, 0x05});  // inc qword [rip + kToCounter]
    append_number(kToCounter);
    append_jump_back();
    start();
  }
  void append_jump_back() {
    append({0xff, 0x25, 0, 0, 0, 0});  // jmp through the next 8 bytes
    append_number(reinterpret_cast<std::uint64_t>(&vm_test_emitted_done));
  }
  void append(std::initializer_list<std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes) memory_[buffer_.used++] = std::byte{byte};
  }
  template <typename Number>
  void append_number(Number value) {
    std::memcpy(memory_ + buffer_.used, &value, sizeof(value));
    buffer_.used += sizeof(value);
  }

  std::byte* memory_;
  vm_engine::CodeBuffer buffer_;
  std::size_t start_ = 0;
};

inline RegisterFile patterned() {
  RegisterFile file;
  for (std::size_t i = 0; i < 16; ++i) file.gpr[i] = 0x1111111111111111 * i + 0xabc0000000;
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t k = 0; k < 32; ++k) {
      file.vector[i][k] = static_cast<std::uint8_t>(i * 32 + k * 5 + 1);
    }
  }
  for (std::size_t i = 0; i < kRedZoneBytes; ++i) {
    file.red_zone[i] = static_cast<std::uint8_t>(200 - i * 3);
  }
  return file;
}

// What survived a run under the promise that emit.h makes: all but `may_change` and
// scratch vectors; `vector_bytes` of those.
inline void expect_survivors(const vm_engine::EmitConfig& config, const RegisterFile& in,
                             const RegisterFile& out, vm_engine::RegSet may_change,
                             std::ptrdiff_t vector_bytes) {
  EXPECT_EQ(out.rsp_moved, 0u);
  const auto red_zone = std::min<std::ptrdiff_t>(config.red_zone_bytes, kRedZoneBytes);
  EXPECT_TRUE(
      std::equal(in.red_zone.end() - red_zone, in.red_zone.end(), out.red_zone.end() - red_zone));
  for (unsigned i = 0; i < 16; ++i) {
    if (i == id(vm_engine::Reg::kRsp) || (may_change >> i & 1) != 0) continue;
    EXPECT_EQ(out.gpr[i], in.gpr[i]) << "register " << i;
  }
  for (unsigned i = 0; i < 16; ++i) {
    if ((config.scratch_vectors >> i & 1) != 0) continue;
    EXPECT_TRUE(std::equal(in.vector[i].begin(), in.vector[i].begin() + vector_bytes,
                           out.vector[i].begin()))
        << "vector " << i;
  }
}

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_EMITTED_CODE_H_
