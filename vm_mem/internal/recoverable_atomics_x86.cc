// Where an instruction has a result it is no `asm goto`: a flag is set before it and
// cleared behind it, and a fault goes past the clearing.
#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/recoverable_atomics.h"
#include "vm_mem/internal/recoverable_words.h"

namespace vm_mem::internal {
namespace {

// `bits`, bound by `constraint`, is read and written; `at` and `desired` are read.
#define VM_MEM_TRY(instruction, constraint)                               \
  __asm__ volatile("movl $1, %k[failed]\n\t" VM_MEM_CAN_FAULT_TO_2(       \
                       instruction) "xorl %k[failed], %k[failed]\n2:\n\t" \
                   : [failed] "=&r"(failed), [bits] constraint(bits)      \
                   : [at] "r"(at), [desired] "r"(desired)                 \
                   : "memory", "cc")

// What is beyond `bytes` of `bits` stays as it was, or becomes 0.
bool load(const std::byte* at, unsigned bytes, std::uint64_t& bits) {
  constexpr std::uint64_t desired = 0;
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("movzbl (%[at]), %k[bits]", "+&r"); break;
    case 2: VM_MEM_TRY("movzwl (%[at]), %k[bits]", "+&r"); break;
    case 4: VM_MEM_TRY("movl (%[at]), %k[bits]", "+&r"); break;
    default: VM_MEM_TRY("movq (%[at]), %q[bits]", "+&r");
  }
  return failed == 0;
}

// Locked by itself.
bool exchange(std::byte* at, unsigned bytes, std::uint64_t& bits) {
  constexpr std::uint64_t desired = 0;
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("xchgb %b[bits], (%[at])", "+&r"); break;
    case 2: VM_MEM_TRY("xchgw %w[bits], (%[at])", "+&r"); break;
    case 4: VM_MEM_TRY("xchgl %k[bits], (%[at])", "+&r"); break;
    default: VM_MEM_TRY("xchgq %q[bits], (%[at])", "+&r");
  }
  return failed == 0;
}

bool add(std::byte* at, unsigned bytes, std::uint64_t& bits) {
  constexpr std::uint64_t desired = 0;
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("lock xaddb %b[bits], (%[at])", "+&r"); break;
    case 2: VM_MEM_TRY("lock xaddw %w[bits], (%[at])", "+&r"); break;
    case 4: VM_MEM_TRY("lock xaddl %k[bits], (%[at])", "+&r"); break;
    default: VM_MEM_TRY("lock xaddq %q[bits], (%[at])", "+&r");
  }
  return failed == 0;
}

// `bits` is what is expected, then what was found.
bool compare_exchange(std::byte* at, unsigned bytes, std::uint64_t& bits, std::uint64_t desired) {
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("lock cmpxchgb %b[desired], (%[at])", "+&a"); break;
    case 2: VM_MEM_TRY("lock cmpxchgw %w[desired], (%[at])", "+&a"); break;
    case 4: VM_MEM_TRY("lock cmpxchgl %k[desired], (%[at])", "+&a"); break;
    default: VM_MEM_TRY("lock cmpxchgq %q[desired], (%[at])", "+&a");
  }
  return failed == 0;
}

bool store(std::byte* to, unsigned bytes, std::uint64_t bits) {
  switch (bytes) {
    case 1: return RecoverableWord<std::uint8_t>::store(to, static_cast<std::uint8_t>(bits));
    case 2: return RecoverableWord<std::uint16_t>::store(to, static_cast<std::uint16_t>(bits));
    case 4: return RecoverableWord<std::uint32_t>::store(to, static_cast<std::uint32_t>(bits));
    default: return RecoverableWord<std::uint64_t>::store(to, bits);
  }
}

std::uint64_t low_bytes(std::uint64_t bits, unsigned bytes) {
  return bits & (~std::uint64_t{0} >> (64 - 8 * bytes));
}

// And, or and exclusive or have no instruction that gives the previous value.
bool modify_by_loop(std::byte* at, unsigned bytes, WordOperation operation, std::uint64_t operand,
                    std::uint64_t& found) {
  if (!load(at, bytes, found)) return false;
  for (;;) {
    const std::uint64_t expected = low_bytes(found, bytes);
    found = expected;
    if (!compare_exchange(at, bytes, found, apply(operation, expected, operand))) return false;
    if (low_bytes(found, bytes) == expected) return true;
  }
}

}  // namespace

bool load_or_fault(const std::byte* from, unsigned bytes, std::uint64_t& bits, std::memory_order) {
  std::uint64_t loaded = 0;
  if (!load(from, bytes, loaded)) return false;
  bits = loaded;
  return true;
}

bool store_or_fault(std::byte* to, unsigned bytes, std::uint64_t bits, std::memory_order order) {
  const bool plain = order == std::memory_order_relaxed || order == std::memory_order_release;
  return plain ? store(to, bytes, bits) : exchange(to, bytes, bits);
}

bool modify_or_fault(std::byte* at, unsigned bytes, WordOperation operation, std::uint64_t operand,
                     std::uint64_t& previous) {
  std::uint64_t found = operand;
  bool done = false;
  switch (operation) {
    case WordOperation::kExchange: done = exchange(at, bytes, found); break;
    case WordOperation::kAdd: done = add(at, bytes, found); break;
    default: done = modify_by_loop(at, bytes, operation, operand, found);
  }
  if (done) previous = low_bytes(found, bytes);
  return done;
}

bool compare_exchange_or_fault(std::byte* at, unsigned bytes, std::uint64_t& expected,
                               std::uint64_t desired, bool& exchanged) {
  std::uint64_t found = expected;
  if (!compare_exchange(at, bytes, found, desired)) return false;
  found = low_bytes(found, bytes);
  exchanged = found == low_bytes(expected, bytes);
  expected = found;
  return true;
}

}  // namespace vm_mem::internal
