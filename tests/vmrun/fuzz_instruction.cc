#include "tests/vmrun/fuzz_instruction.h"

#include <algorithm>
#include <iterator>

#include "tests/vmrun/assembler.h"

namespace vmrun {
namespace {

namespace as = assembler;
using Code = std::vector<std::uint16_t>;

constexpr std::uint32_t kSfenceVma = 0x12000073;

Code halves(const std::vector<std::uint32_t>& words) {
  Code out;
  for (const std::uint32_t word : words) {
    out.push_back(static_cast<std::uint16_t>(word));
    out.push_back(static_cast<std::uint16_t>(word >> 16));
  }
  return out;
}

template <typename T, std::size_t kCount>
T pick(const T (&from)[kCount], std::uint64_t bits) {
  return from[bits % kCount];
}

std::uint32_t with_opcode(std::uint64_t bits, unsigned opcode) {
  return (static_cast<std::uint32_t>(bits) & ~0x7fu) | opcode;
}

// Register, immediate, floating point and bulk operations; upper 25 bits as they come.
std::uint32_t any_operation(std::uint64_t bits) {
  constexpr unsigned kOpcodes[] = {0x33, 0x3b, 0x13, 0x1b, 0x13, 0x37, 0x17, 0x53,
                                   0x43, 0x47, 0x4b, 0x4f, 0x2f, 0x0f, 0x0b, 0x33};
  return with_opcode(bits, pick(kOpcodes, bits));
}

// Of Zbb: opcode, funct3 and the upper twelve bits; rotations take any amount.
std::uint32_t bit_operation(std::uint64_t bits) {
  constexpr std::uint32_t kWords[] = {0x60001013, 0x60101013, 0x60201013, 0x60401013, 0x60501013,
                                      0x6000101b, 0x6010101b, 0x6020101b, 0x28705013, 0x6b805013,
                                      0x60005013, 0x6000501b, 0x0800101b, 0x0800403b};
  const std::uint32_t word = pick(kWords, bits >> 24);
  const bool takes_amount = (word >> 20) == 0x600 && (word & 0x7000) == 0x5000;
  const auto amount = takes_amount ? static_cast<std::uint32_t>(bits) & 31u << 20 : 0u;
  return word | amount | (static_cast<std::uint32_t>(bits) & 0xf'8f80);
}

// Funct7 as the base set and the extensions of bits have it.
std::uint32_t register_operation(std::uint64_t bits) {
  if ((bits >> 36 & 7) == 0) return bit_operation(bits);
  constexpr unsigned kFunct7[] = {0, 0, 1, 0x20, 4, 5, 0x10, 0x30};
  constexpr unsigned kOpcodes[] = {0x33, 0x3b};
  const std::uint32_t rest = static_cast<std::uint32_t>(bits) & 0x01ff'ff80;
  return pick(kFunct7, bits >> 32) << 25 | rest | pick(kOpcodes, bits);
}

std::uint32_t access(std::uint64_t bits) {
  constexpr unsigned kOpcodes[] = {0x03, 0x23, 0x03, 0x23, 0x07, 0x27, 0x2f, 0x0b};
  constexpr unsigned kBases[] = {kDataRegister, kDataRegister, kDataRegister, kAliasRegister};
  const std::uint32_t raw = with_opcode(bits, pick(kOpcodes, bits));
  return (raw & ~(31u << 15)) | pick(kBases, bits >> 32) << 15;
}

std::uint32_t jump(std::uint64_t bits) {
  const int offset = 2 * (static_cast<int>(bits & 127) - 64);
  const auto rs1 = static_cast<unsigned>(bits >> 7 & 31),
             rs2 = static_cast<unsigned>(bits >> 12 & 31);
  switch (bits >> 32 & 7) {
    case 0: return as::jal(rs1 & 1, offset);
    case 1: return as::i_type(0, 1, 0, rs2 & 1, 0x67);  // a return
    default: return as::b_type(offset, rs2, rs1, bits >> 17 & 7);
  }
}

std::uint32_t system(std::uint64_t bits) {
  constexpr std::uint32_t kWords[] = {as::kFenceI, kSfenceVma,  kSfenceVma | kDataRegister << 15,
                                      as::kEcall,  as::kEbreak, as::kMret,
                                      0x10200073,  as::kWfi};
  constexpr unsigned kCsrs[] = {0x100, 0x300, 0x300, 0x104, 0x304, 0x141, 0x341, 0x140,
                                0x340, 0x180, 0x3a0, 0x3b0, 0x30a, 0x003, 0xc01, 0xb00,
                                0xb02, 0x302, 0x303, 0x105, 0x144, 0x344};
  const unsigned funct3 = bits >> 12 & 7;
  if ((bits >> 32 & 3) == 0 || (funct3 & 3) == 0) return pick(kWords, bits >> 20);
  return as::csr(funct3, bits >> 7 & 31, bits >> 15 & 31, pick(kCsrs, bits >> 20));
}

// Changes an entry of the page table, then fences all or the page of data.
Code remap(std::uint64_t bits) {
  const unsigned value = bits & 31;
  const std::uint32_t fence = (bits & 64) != 0 ? kSfenceVma : kSfenceVma | kDataRegister << 15;
  const int entry = 8 * static_cast<int>(bits >> 8 & 63);
  return halves({as::load(3, value, kEntryRegister, entry),
                 as::i_type(1 << (bits >> 16 & 7), value, 4, value, 0x13),  // xori
                 as::store(3, value, kEntryRegister, entry), fence});
}

constexpr unsigned kTo = 10, kFrom = 11, kEnd = 12, kCount = 12, kValue = 13;

int signed_imm(std::uint64_t bits) { return static_cast<int>(bits & 0xfff) - 0x800; }

// Sets kTo and kFrom, within reach of the data or the code.
std::vector<std::uint32_t> both_sides(std::uint64_t bits) {
  constexpr unsigned kBases[] = {kDataRegister, kDataRegister, kDataRegister, kAliasRegister};
  return {as::addi(kTo, pick(kBases, bits), signed_imm(bits >> 8)),
          as::addi(kFrom, pick(kBases, bits >> 2), signed_imm(bits >> 20))};
}

Code bulk_copy(std::uint64_t bits) {
  std::vector<std::uint32_t> words = both_sides(bits);
  words.push_back(as::addi(kCount, 0, static_cast<int>(bits >> 4 & 0x7ff)));
  words.push_back(as::r_type(0, kCount, kFrom, bits >> 34 & 3, kTo, 0x0b));
  return halves(words);
}

// As compilers make them: of one to four elements, up or down, over 40 iterations or more.
Code copy_loop(std::uint64_t bits) {
  const unsigned log2 = bits >> 4 & 3;
  const int unrolled = 1 + static_cast<int>(bits >> 6 & 3), group = unrolled << log2;
  const int step = (bits & 1u << 8) != 0 ? -group : group;
  const bool fills = (bits & 1u << 9) != 0;
  std::vector<std::uint32_t> words = both_sides(bits);
  words.push_back(as::addi(kEnd, kTo, step * std::min(2040 / group, 255)));
  const std::size_t begin = words.size();
  for (int i = 0; i < unrolled; ++i) {
    const int offset = std::min(step, 0) + i * (1 << log2);
    if (!fills) words.push_back(as::load(log2, kValue, kFrom, offset));
    words.push_back(as::store(log2, kValue, kTo, offset));
  }
  words.push_back(as::addi(kFrom, kFrom, step));
  words.push_back(as::addi(kTo, kTo, step));
  words.push_back(as::b_type(-4 * static_cast<int>(words.size() - begin), kEnd, kTo, 1));  // bne
  return halves(words);
}

Code whole(std::uint64_t bits) {
  switch (bits >> 32 & 3) {
    case 0: return halves({static_cast<std::uint32_t>(bits)});
    case 1: return bulk_copy(bits);
    default: return copy_loop(bits);
  }
}

}  // namespace

std::vector<std::uint16_t> fuzz_instruction(vm_mem::ByteSource& source) {
  const std::uint64_t kind = source.below(16);
  const std::uint64_t bits = source.take(5);
  switch (kind) {
    case 0:
    case 1:
    case 2: return halves({register_operation(bits)});
    case 3:
    case 4: return halves({any_operation(bits)});
    case 5:
    case 6:
    case 7: return halves({access(bits)});
    case 8:
    case 9: return halves({jump(bits)});
    case 10:
    case 11: return halves({system(bits)});
    case 12: return remap(bits);
    case 13: return whole(bits);
    default: return {static_cast<std::uint16_t>(bits)};
  }
}

}  // namespace vmrun
