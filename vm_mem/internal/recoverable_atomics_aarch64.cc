// A flag is set before the accesses and cleared behind them; a fault goes past the
// clearing. A compare-exchange is an exclusive pair, tried until it succeeds; what
// faults in it has stored nothing. It stores what it found where that is not what was
// expected: whether memory may be written must not depend on its content. The other
// read-modify-writes are made of it.
#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/recoverable_atomics.h"
#include "vm_mem/internal/recoverable_words.h"

namespace vm_mem::internal {
namespace {

#define VM_MEM_TRY(instruction)                                                                \
  __asm__ volatile(                                                                            \
      "mov %w[failed], #1\n\t" VM_MEM_CAN_FAULT_TO_2(instruction) "mov %w[failed], #0\n2:\n\t" \
      : [failed] "=&r"(failed), [bits] "+&r"(bits)                                             \
      : [at] "r"(at)                                                                           \
      : "memory")

bool load_acquire(const std::byte* at, unsigned bytes, std::uint64_t& bits) {
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("ldarb %w[bits], [%[at]]"); break;
    case 2: VM_MEM_TRY("ldarh %w[bits], [%[at]]"); break;
    case 4: VM_MEM_TRY("ldar %w[bits], [%[at]]"); break;
    default: VM_MEM_TRY("ldar %x[bits], [%[at]]");
  }
  return failed == 0;
}

bool load_relaxed(const std::byte* at, unsigned bytes, std::uint64_t& bits) {
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("ldrb %w[bits], [%[at]]"); break;
    case 2: VM_MEM_TRY("ldrh %w[bits], [%[at]]"); break;
    case 4: VM_MEM_TRY("ldr %w[bits], [%[at]]"); break;
    default: VM_MEM_TRY("ldr %x[bits], [%[at]]");
  }
  return failed == 0;
}

bool store_release(std::byte* at, unsigned bytes, std::uint64_t bits) {
  unsigned failed;
  switch (bytes) {
    case 1: VM_MEM_TRY("stlrb %w[bits], [%[at]]"); break;
    case 2: VM_MEM_TRY("stlrh %w[bits], [%[at]]"); break;
    case 4: VM_MEM_TRY("stlr %w[bits], [%[at]]"); break;
    default: VM_MEM_TRY("stlr %x[bits], [%[at]]");
  }
  return failed == 0;
}

bool store_relaxed(std::byte* at, unsigned bytes, std::uint64_t bits) {
  switch (bytes) {
    case 1: return RecoverableWord<std::uint8_t>::store(at, static_cast<std::uint8_t>(bits));
    case 2: return RecoverableWord<std::uint16_t>::store(at, static_cast<std::uint16_t>(bits));
    case 4: return RecoverableWord<std::uint32_t>::store(at, static_cast<std::uint32_t>(bits));
    default: return RecoverableWord<std::uint64_t>::store(at, bits);
  }
}

// `kind` is the ending of the instructions, `w` the width of the registers.
#define VM_MEM_TRY_EXCHANGE(kind, w) \
  __asm__ volatile(                                                                           \
      "mov %w[failed], #1\n3:\n\t"                                                            \
      VM_MEM_CAN_FAULT_TO_2("ldaxr" kind " %" w "[found], [%[at]]")                           \
      "cmp %" w "[found], %" w "[expected]\n\t"                                               \
      "csel %" w "[stored], %" w "[desired], %" w "[found], eq\n\t"                           \
      VM_MEM_CAN_FAULT_TO_2("stlxr" kind " %w[busy], %" w "[stored], [%[at]]")                \
      "cbnz %w[busy], 3b\n\tmov %w[failed], #0\n2:\n\t"                                      \
      : [failed] "=&r"(failed), [found] "+&r"(found), [stored] "=&r"(stored),                 \
        [busy] "=&r"(busy)                                                                    \
      : [at] "r"(at), [expected] "r"(expected), [desired] "r"(desired)                        \
      : "memory", "cc")

// Needs:  `expected` zero-extended.
bool compare_exchange(std::byte* at, unsigned bytes, std::uint64_t expected, std::uint64_t desired,
                      std::uint64_t& found) {
  unsigned failed;
  unsigned busy;
  std::uint64_t stored;
  switch (bytes) {
    case 1: VM_MEM_TRY_EXCHANGE("b", "w"); break;
    case 2: VM_MEM_TRY_EXCHANGE("h", "w"); break;
    case 4: VM_MEM_TRY_EXCHANGE("", "w"); break;
    default: VM_MEM_TRY_EXCHANGE("", "x");
  }
  return failed == 0;
}

std::uint64_t low_bytes(std::uint64_t bits, unsigned bytes) {
  return bits & (~std::uint64_t{0} >> (64 - 8 * bytes));
}

}  // namespace

bool load_or_fault(const std::byte* from, unsigned bytes, std::uint64_t& bits,
                   std::memory_order order) {
  std::uint64_t loaded = 0;
  const bool relaxed = order == std::memory_order_relaxed;
  if (!(relaxed ? load_relaxed : load_acquire)(from, bytes, loaded)) return false;
  bits = loaded;
  return true;
}

bool store_or_fault(std::byte* to, unsigned bytes, std::uint64_t bits, std::memory_order order) {
  const bool relaxed = order == std::memory_order_relaxed;
  return (relaxed ? store_relaxed : store_release)(to, bytes, bits);
}

bool modify_or_fault(std::byte* at, unsigned bytes, WordOperation operation, std::uint64_t operand,
                     std::uint64_t& previous) {
  std::uint64_t found = 0;
  if (!load_relaxed(at, bytes, found)) return false;
  for (;;) {
    const std::uint64_t expected = found;
    const std::uint64_t desired = apply(operation, expected, operand);
    if (!compare_exchange(at, bytes, expected, desired, found)) return false;
    if (found == expected) break;
  }
  previous = found;
  return true;
}

bool compare_exchange_or_fault(std::byte* at, unsigned bytes, std::uint64_t& expected,
                               std::uint64_t desired, bool& exchanged) {
  std::uint64_t found = 0;
  const std::uint64_t wanted = low_bytes(expected, bytes);
  if (!compare_exchange(at, bytes, wanted, desired, found)) return false;
  exchanged = found == wanted;
  expected = found;
  return true;
}

}  // namespace vm_mem::internal
