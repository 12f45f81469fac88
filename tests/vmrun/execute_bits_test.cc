// Zba and Zbb beside the manual's own definitions, bit by bit.

#include <gtest/gtest.h>

#include <random>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;
using Word = std::uint64_t;

Word bit(Word value, unsigned index) { return value >> index & 1; }
Word extended(Word value, unsigned width) {
  for (unsigned i = width; i < 64; ++i) {
    value = (value & ~(Word{1} << i)) | bit(value, width - 1) << i;
  }
  return value;
}
Word rotated_left(Word value, unsigned by, unsigned width) {
  Word out = 0;
  for (unsigned i = 0; i < width; ++i) out |= bit(value, i) << ((i + by) % width);
  return extended(out, width);
}
Word ones(Word value, unsigned width) {
  Word count = 0;
  for (unsigned i = 0; i < width; ++i) count += bit(value, i);
  return count;
}
Word trailing(Word value, unsigned width) {
  unsigned i = 0;
  while (i < width && bit(value, i) == 0) ++i;
  return i;
}
Word leading(Word value, unsigned width) {
  unsigned i = 0;
  while (i < width && bit(value, width - 1 - i) == 0) ++i;
  return i;
}
Word by_bytes(Word value, Word (*change)(Word byte), bool reversed) {
  Word out = 0;
  for (unsigned i = 0; i < 8; ++i) {
    out |= change(value >> 8 * i & 255) << 8 * (reversed ? 7 - i : i);
  }
  return out;
}
Word low(Word value) { return value & 0xffff'ffff; }
bool less(Word a, Word b) { return (a ^ Word{1} << 63) < (b ^ Word{1} << 63); }

struct Case {
  const char* name;
  std::uint32_t encoding;  // x5 from x6 and x7
  Word (*want)(Word a, Word b);
};

std::uint32_t rr(unsigned funct7, unsigned funct3) { return as::op(funct7, funct3, 5, 6, 7); }
std::uint32_t rw(unsigned funct7, unsigned funct3) { return as::op_w(funct7, funct3, 5, 6, 7); }
std::uint32_t ri(unsigned funct3, int imm) { return as::i_type(imm, 6, funct3, 5, 0x13); }
std::uint32_t wi(unsigned funct3, int imm) { return as::i_type(imm, 6, funct3, 5, 0x1b); }

const Case kCases[] = {
    {"add.uw", rw(4, 0), [](Word a, Word b) { return low(a) + b; }},
    {"sh1add", rr(0x10, 2), [](Word a, Word b) { return 2 * a + b; }},
    {"sh2add", rr(0x10, 4), [](Word a, Word b) { return 4 * a + b; }},
    {"sh3add", rr(0x10, 6), [](Word a, Word b) { return 8 * a + b; }},
    {"sh1add.uw", rw(0x10, 2), [](Word a, Word b) { return 2 * low(a) + b; }},
    {"sh2add.uw", rw(0x10, 4), [](Word a, Word b) { return 4 * low(a) + b; }},
    {"sh3add.uw", rw(0x10, 6), [](Word a, Word b) { return 8 * low(a) + b; }},
    {"slli.uw 33", wi(1, 0x080 + 33), [](Word a, Word) { return low(a) << 33; }},
    {"andn", rr(0x20, 7), [](Word a, Word b) { return a & ~b; }},
    {"orn", rr(0x20, 6), [](Word a, Word b) { return a | ~b; }},
    {"xnor", rr(0x20, 4), [](Word a, Word b) { return ~(a ^ b); }},
    {"min", rr(5, 4), [](Word a, Word b) { return less(a, b) ? a : b; }},
    {"minu", rr(5, 5), [](Word a, Word b) { return a < b ? a : b; }},
    {"max", rr(5, 6), [](Word a, Word b) { return less(a, b) ? b : a; }},
    {"maxu", rr(5, 7), [](Word a, Word b) { return a < b ? b : a; }},
    {"rol", rr(0x30, 1), [](Word a, Word b) { return rotated_left(a, b % 64, 64); }},
    {"ror", rr(0x30, 5), [](Word a, Word b) { return rotated_left(a, (64 - b % 64) % 64, 64); }},
    {"rolw", rw(0x30, 1), [](Word a, Word b) { return rotated_left(a, b % 32, 32); }},
    {"rorw", rw(0x30, 5), [](Word a, Word b) { return rotated_left(a, (32 - b % 32) % 32, 32); }},
    {"rori 41", ri(5, 0x600 + 41), [](Word a, Word) { return rotated_left(a, 23, 64); }},
    {"roriw 9", wi(5, 0x600 + 9), [](Word a, Word) { return rotated_left(a, 23, 32); }},
    {"clz", ri(1, 0x600), [](Word a, Word) { return leading(a, 64); }},
    {"ctz", ri(1, 0x601), [](Word a, Word) { return trailing(a, 64); }},
    {"cpop", ri(1, 0x602), [](Word a, Word) { return ones(a, 64); }},
    {"clzw", wi(1, 0x600), [](Word a, Word) { return leading(a, 32); }},
    {"ctzw", wi(1, 0x601), [](Word a, Word) { return trailing(a, 32); }},
    {"cpopw", wi(1, 0x602), [](Word a, Word) { return ones(a, 32); }},
    {"sext.b", ri(1, 0x604), [](Word a, Word) { return extended(a, 8); }},
    {"sext.h", ri(1, 0x605), [](Word a, Word) { return extended(a, 16); }},
    {"zext.h", as::r_type(4, 0, 6, 4, 5, 0x3b), [](Word a, Word) { return a & 0xffff; }},
    {"orc.b", ri(5, 0x287),
     [](Word a, Word) {
       return by_bytes(a, [](Word byte) { return byte == 0 ? Word{0} : Word{255}; }, false);
     }},
    {"rev8", ri(5, 0x6b8),
     [](Word a, Word) { return by_bytes(a, [](Word byte) { return byte; }, true); }}};

TEST(ExecuteBitsTest, InstructionsGiveTheManualsResult) {
  BareHart hart;
  std::mt19937_64 random(1);
  for (int i = 0; i < 40; ++i) {
    const Word a = i == 0 ? 0 : random() >> (i % 8 * 9) << (i % 5 * 7);
    const Word b = i == 1 ? a : random() >> (i % 3 * 20);
    for (const Case& test : kCases) {
      hart.x(6) = a;
      hart.x(7) = b;
      hart.execute({test.encoding});
      EXPECT_EQ(hart.x(5), test.want(a, b)) << test.name << std::hex << " " << a << " " << b;
      EXPECT_EQ(hart.state().csrs.mcause, 0u) << test.name;
    }
  }
}

TEST(ExecuteBitsTest, NeighbouringEncodingsAreIllegal) {
  for (const std::uint32_t word :
       {ri(1, 0x603), ri(1, 0x606), wi(1, 0x603), wi(1, 0x604), ri(5, 0x288), ri(5, 0x6b9),
        as::r_type(4, 1, 6, 4, 5, 0x3b), rr(0x10, 3), rw(0x20, 4), rr(5, 0), wi(5, 0x620)}) {
    BareHart hart;
    hart.execute({word, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, 2u) << std::hex << word;
  }
}

}  // namespace
}  // namespace vmrun
