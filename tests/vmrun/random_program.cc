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

// Of I, M and A: what Unicorn knows.
bool is_base_set(Op op) { return op != Op::kIllegal && op < Op::kFlw; }

// What a random halfword may be: no jump, no trap, no access but through a base, no
// write of one.
bool is_tame(const DecodedOp& op) {
  if (!is_base_set(op.op) || op.op == Op::kEbreak) return false;
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
    if (is_base_set(decode(raw).op)) return raw;
  }
}

std::uint32_t RandomProgram::immediate_op() {
  constexpr unsigned kOpcodes[] = {0x13, 0x1b};
  if (below(8) == 0) return as::u_type(below(1 << 20), destination(), 0x37);
  for (;;) {
    const std::uint32_t raw = as::i_type(static_cast<int>(below(4096)) - 2048, below(32), below(8),
                                         destination(), kOpcodes[below(2)]);
    if (is_base_set(decode(raw).op)) return raw;
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

std::uint32_t RandomProgram::float_memory_op() {
  const unsigned width = 2 + below(2);
  const unsigned index = below(kSingles) + (width == 3 ? kSingles : 0);
  const int offset = static_cast<int>(below(2 * kReachBytes - 8)) - static_cast<int>(kReachBytes);
  if (below(2) == 0) return as::i_type(offset, base(), width, index, 0x07);
  return as::s_type(offset, index, base(), width, 0x27);
}

// Minimum and maximum are left out: see unicorn_test.cc.
std::uint32_t RandomProgram::float_op() {
  const unsigned format = below(2);
  const auto number = [&](unsigned of) { return below(kSingles) + (of == 1 ? kSingles : 0); };
  const unsigned a = number(format), b = number(format), to = number(format);
  const unsigned mode = below(6) == 5 ? 7 : below(5);
  const auto op = [&](unsigned funct5, unsigned rs2, unsigned rs1, unsigned rm, unsigned rd) {
    return as::r_type(funct5 << 2 | format, rs2, rs1, rm, rd, 0x53);
  };
  switch (below(12)) {
    case 0:
    case 1: return op(below(4), b, a, mode, to);                     // + - * /
    case 2: return op(0x0b, 0, a, mode, to);                         // square root
    case 3: return op(4, b, a, below(3), to);                        // signs
    case 4: return op(0x14, b, a, below(3), destination());          // comparisons
    case 5: return op(0x1c, 0, a, below(2), destination());          // move, class
    case 6: return op(0x18, below(4), a, mode, destination());       // to integers
    case 7: return op(0x1a, below(4), below(32), mode, to);          // from integers
    case 8: return op(8, format ^ 1, number(format ^ 1), mode, to);  // the other format
    case 9: return op(0x1e, 0, below(32), 0, to);                    // move
    default: return as::r_type(number(format) << 2 | format, b, a, mode, to, 0x43 + 4 * below(4));
  }
}

std::uint16_t RandomProgram::compressed() {
  for (;;) {
    const auto raw = static_cast<std::uint16_t>(random_());
    if ((raw & 3) != 3 && is_tame(decode_compressed(raw))) return raw;
  }
}

std::uint32_t RandomProgram::simple() {
  switch (below(11)) {
    case 0:
    case 1: return memory_op();
    case 2: return atomic_op();
    case 3:
    case 4: return immediate_op();
    case 5:
    case 6: return float_op();
    case 7: return float_memory_op();
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
