#include "bench/vm_engine/suite/copy_loop_code.h"

#include <sys/mman.h>

#include <cstring>
#include <initializer_list>

#include "bench/vm_mem/suite/guest_memory.h"

namespace vm_bench {
namespace {

constexpr std::size_t kCodeBytes = 64 << 10;

void append(vm_engine::CodeBuffer& code, std::initializer_list<std::uint8_t> bytes) {
  for (const std::uint8_t byte : bytes) code.bytes[code.used++] = std::byte{byte};
}

template <class Number>
void append_number(vm_engine::CodeBuffer& code, Number value) {
  std::memcpy(code.bytes.data() + code.used, &value, sizeof value);
  code.used += sizeof value;
}

// rbx walks over the copies, r12 counts them down. A loop starts at a line of its own.
void append_loop(vm_engine::CodeBuffer& code, const CopyLoopCode::Body& body) {
  append(code, {0x53});                    // push rbx
  append(code, {0x41, 0x54});              // push r12
  append(code, {0x48, 0x83, 0xec, 0x08});  // sub rsp, 8
  append(code, {0x48, 0x89, 0xfb});        // mov rbx, rdi
  append(code, {0x49, 0x89, 0xf4});        // mov r12, rsi
  while (code.used % 64 != 0) append(code, {0x90});
  const std::size_t loop = code.used;
  append(code, {0x48, 0x8b, 0x3b});        // mov rdi, [rbx]
  append(code, {0x48, 0x8b, 0x73, 0x08});  // mov rsi, [rbx + 8]
  append(code, {0x48, 0x8b, 0x53, 0x10});  // mov rdx, [rbx + 16]
  body(code);
  append(code, {0x48, 0x83, 0xc3, 0x18});  // add rbx, 24
  append(code, {0x49, 0xff, 0xcc});        // dec r12
  append(code, {0x0f, 0x85});              // jnz loop
  append_number(code, static_cast<std::int32_t>(loop - (code.used + 4)));
  append(code, {0x48, 0x83, 0xc4, 0x08});  // add rsp, 8
  append(code, {0x41, 0x5c});              // pop r12
  append(code, {0x5b});                    // pop rbx
  append(code, {0xc3});                    // ret
}

}  // namespace

static_assert(sizeof(LoopCopy) == 24);

CopyLoopCode::CopyLoopCode(const Body& body) {
  void* const mapped =
      mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(mapped != MAP_FAILED, "the host gives no memory for code");
  memory_ = static_cast<std::byte*>(mapped);
  vm_engine::CodeBuffer code;
  code.bytes = {memory_, kCodeBytes};
  append_loop(code, body);
  require(vm_engine::emit_slow_paths(code).ok(), "slow paths of the benchmark are not emitted");
  require(mprotect(memory_, kCodeBytes, PROT_READ | PROT_EXEC) == 0,
          "the host does not let memory be executed");
}

CopyLoopCode::~CopyLoopCode() { munmap(memory_, kCodeBytes); }

void CopyLoopCode::run(std::span<const LoopCopy> copies) const {
  reinterpret_cast<void (*)(const LoopCopy*, std::size_t)>(memory_)(copies.data(), copies.size());
}

void CopyLoopCode::set_register(vm_engine::CodeBuffer& code, vm_engine::Reg reg,
                                std::uint64_t value) {
  const auto number = static_cast<std::uint8_t>(reg);
  append(code, {static_cast<std::uint8_t>(0x48 + number / 8),
                static_cast<std::uint8_t>(0xb8 + number % 8)});  // mov reg, value
  append_number(code, value);
}

void CopyLoopCode::call_libc(vm_engine::CodeBuffer& code, vm_engine::CopySize size) {
  if (!size.in_register()) {
    append(code, {0xba});  // mov edx, bytes
    append_number(code, static_cast<std::uint32_t>(size.bytes()));
  }
  set_register(code, vm_engine::Reg::kRax, reinterpret_cast<std::uint64_t>(&std::memcpy));
  append(code, {0xff, 0xd0});  // call rax
}

}  // namespace vm_bench
