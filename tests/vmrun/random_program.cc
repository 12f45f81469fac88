#include "tests/vmrun/random_program.h"

#include <algorithm>

#include "tests/vmrun/assembler.h"
#include "tools/vmrun/decode.h"

namespace vmrun {
namespace {

namespace as = assembler;

bool is_base(unsigned index) {
  return std::find(std::begin(RandomProgram::kBases), std::end(RandomProgram::kBases), index) !=
         std::end(RandomProgram::kBases);
}

// What a random halfword may be: no jump, no trap, no access but through a base, no
// write of one.
bool is_tame(const DecodedOp& op) {
  if (op.op == Op::kIllegal || op.op == Op::kEbreak) return false;
  if (op.op >= Op::kJal && op.op <= Op::kBgeu) return false;
  if (op.op >= Op::kLb && op.op <= Op::kSd && !is_base(op.rs1)) return false;
  return !is_base(op.rd);
}

}  // namespace

unsigned RandomProgram::destination() {
  for (;;) {
    const unsigned index = below(32);
    if (!is_base(index)) return index;
  }
}

std::uint64_t RandomProgram::value() {
  constexpr std::uint64_t kEdges[] = {0,
                                      1,
                                      ~std::uint64_t{0},
                                      std::uint64_t{1} << 63,
                                      (std::uint64_t{1} << 63) - 1,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0xffffffff80000000};
  switch (below(3)) {
    case 0: return kEdges[below(9)];
    case 1: return random_();
    default: return random_() >> below(64);
  }
}

std::uint32_t RandomProgram::register_op() {
  constexpr unsigned kFunct7[] = {0, 1, 0x20};
  constexpr unsigned kOpcodes[] = {0x33, 0x3b};
  for (;;) {
    const std::uint32_t raw = as::r_type(kFunct7[below(3)], below(32), below(32), below(8),
                                         destination(), kOpcodes[below(2)]);
    if (decode(raw).op != Op::kIllegal) return raw;
  }
}

std::uint32_t RandomProgram::immediate_op() {
  constexpr unsigned kOpcodes[] = {0x13, 0x1b};
  if (below(8) == 0) return as::u_type(below(1 << 20), destination(), 0x37);
  for (;;) {
    const std::uint32_t raw = as::i_type(static_cast<int>(below(4096)) - 2048, below(32), below(8),
                                         destination(), kOpcodes[below(2)]);
    if (decode(raw).op != Op::kIllegal) return raw;
  }
}

std::uint32_t RandomProgram::memory_op() {
  const int offset = static_cast<int>(below(2 * kReachBytes - 8)) - static_cast<int>(kReachBytes);
  if (below(2) == 0) return as::load(below(7), destination(), base(), offset);
  return as::store(below(4), below(32), base(), offset);
}

// Minimum and maximum of words are left out: see unicorn_test.cc.
std::uint32_t RandomProgram::atomic_op() {
  constexpr unsigned kFirstOrdered = 0x10;
  constexpr unsigned kLoadReserved = 2;
  constexpr unsigned kStoreConditional = 3;
  constexpr unsigned kFunct5[] = {0, 1, 2, 3, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c};
  const unsigned funct5 = kFunct5[below(11)];
  const unsigned address = base();
  unsigned width = funct5 >= kFirstOrdered ? 3 : 2 + below(2);
  // Whether an SC of another width than its LR succeeds is open.
  if (funct5 == kLoadReserved || funct5 == kStoreConditional) width = address == 8 ? 2 : 3;
  return as::amo(funct5, width, destination(), address, funct5 == kLoadReserved ? 0 : below(32));
}

std::uint16_t RandomProgram::compressed() {
  for (;;) {
    const auto raw = static_cast<std::uint16_t>(random_());
    if ((raw & 3) != 3 && is_tame(decode_compressed(raw))) return raw;
  }
}

std::uint32_t RandomProgram::simple() {
  switch (below(8)) {
    case 0:
    case 1: return memory_op();
    case 2: return atomic_op();
    case 3:
    case 4: return immediate_op();
    default: return register_op();
  }
}

// A branch or a jump to just behind `code`.
RandomProgram::Code RandomProgram::skip_over(const Code& code) {
  constexpr unsigned kConditions[] = {0, 1, 4, 5, 6, 7};
  const int offset = 4 + 2 * static_cast<int>(code.size());
  const std::uint32_t raw = below(8) == 0
                                ? as::jal(destination(), offset)
                                : as::b_type(offset, below(32), below(32), kConditions[below(6)]);
  Code out{static_cast<std::uint16_t>(raw), static_cast<std::uint16_t>(raw >> 16)};
  out.insert(out.end(), code.begin(), code.end());
  return out;
}

RandomProgram::Code RandomProgram::instruction() {
  if (below(3) == 0) return {compressed()};
  const std::uint32_t raw = simple();
  return {static_cast<std::uint16_t>(raw), static_cast<std::uint16_t>(raw >> 16)};
}

std::vector<std::uint16_t> RandomProgram::make(unsigned count) {
  Code out;
  for (unsigned i = 0; i < count; ++i) {
    Code next = instruction();
    if (below(8) == 0) next = skip_over(next);
    out.insert(out.end(), next.begin(), next.end());
  }
  return out;
}

}  // namespace vmrun
