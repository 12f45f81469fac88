// A loop of machine code (x86-64) around one copy, or another access: what a JIT's code around
// it would be.
#ifndef BENCH_VM_ENGINE_SUITE_COPY_LOOP_CODE_H_
#define BENCH_VM_ENGINE_SUITE_COPY_LOOP_CODE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "vm_engine/emit.h"

namespace vm_bench {

struct LoopCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::uint64_t bytes = 0;
};

// Runs its body once for each of the copies it is given, with the destination in rdi, the
// source in rsi, the size in rdx and rsp a multiple of 16. The body may change what a call may.
class CopyLoopCode {
 public:
  using Body = std::function<void(vm_engine::CodeBuffer&)>;

  // What the body needs out of line is put behind the loop. Ends the program where the host
  // gives no memory for code.
  explicit CopyLoopCode(const Body& body);
  ~CopyLoopCode();
  CopyLoopCode(const CopyLoopCode&) = delete;
  CopyLoopCode& operator=(const CopyLoopCode&) = delete;

  void run(std::span<const LoopCopy> copies) const;

  // For bodies: a register that a call may change becomes `value`.
  static void set_register(vm_engine::CodeBuffer& code, vm_engine::Reg reg, std::uint64_t value);

  // The body of the peer: a call of libc's memcpy, with a size that the body's maker knew or
  // with that in rdx.
  static void call_libc(vm_engine::CodeBuffer& code, vm_engine::CopySize size);

 private:
  std::byte* memory_;
};

}  // namespace vm_bench

#endif  // BENCH_VM_ENGINE_SUITE_COPY_LOOP_CODE_H_
