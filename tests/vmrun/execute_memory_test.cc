#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;
constexpr std::uint64_t kPattern = 0x8899aabbccddeeff;

std::uint64_t loaded(unsigned funct3, int offset) {
  BareHart hart;
  hart.poke(BareHart::kData, kPattern);
  hart.x(6) = BareHart::kData + 16;
  hart.execute({as::load(funct3, 5, 6, offset - 16)});
  return hart.x(5);
}

TEST(ExecuteMemoryTest, LoadsExtendAsTheirNamesSay) {
  EXPECT_EQ(loaded(0, 0), 0xffffffffffffffff);  // lb
  EXPECT_EQ(loaded(1, 0), 0xffffffffffffeeff);  // lh
  EXPECT_EQ(loaded(2, 0), 0xffffffffccddeeff);  // lw
  EXPECT_EQ(loaded(3, 0), kPattern);            // ld
  EXPECT_EQ(loaded(4, 0), 0xffu);               // lbu
  EXPECT_EQ(loaded(5, 0), 0xeeffu);             // lhu
  EXPECT_EQ(loaded(6, 0), 0xccddeeffu);         // lwu
}

TEST(ExecuteMemoryTest, LoadsOfAnyAlignmentWork) {
  EXPECT_EQ(loaded(1, 1), 0xffffffffffffddee);
  EXPECT_EQ(loaded(6, 3), 0x99aabbccu);
  EXPECT_EQ(loaded(3, 1), 0x008899aabbccddee);
}

TEST(ExecuteMemoryTest, StoresWriteTheirWidthAndNoMore) {
  for (unsigned funct3 = 0; funct3 < 4; ++funct3) {
    BareHart hart;
    hart.x(6) = BareHart::kData;
    hart.x(7) = kPattern;
    hart.execute({as::store(funct3, 7, 6, 0)});
    const unsigned bits = 8u << funct3;
    const std::uint64_t mask = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData), kPattern & mask);
  }
}

TEST(ExecuteMemoryTest, AccessesMayCrossAPage) {
  BareHart hart;
  hart.x(6) = BareHart::kData + 0xffd;
  hart.x(7) = kPattern;
  hart.execute({as::store(3, 7, 6, 0), as::load(3, 5, 6, 0)});
  EXPECT_EQ(hart.x(5), kPattern);
  EXPECT_EQ(hart.peek<std::uint8_t>(BareHart::kData + 0xffd), 0xffu);
  EXPECT_EQ(hart.peek<std::uint8_t>(BareHart::kData + 0x1004), 0x88u);
}

TEST(ExecuteMemoryTest, ALoadFromNothingFaultsAndKeepsItsRegister) {
  BareHart hart;
  hart.x(5) = 42;
  hart.x(6) = 0x1000;
  hart.execute({as::kNop, as::load(3, 5, 6, 8), as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 5u);
  EXPECT_EQ(hart.state().csrs.mtval, 0x1008u);
  EXPECT_EQ(hart.state().csrs.mepc, BareHart::kCode + 4);
  EXPECT_EQ(hart.x(5), 42u);
}

TEST(ExecuteMemoryTest, AStoreToNothingFaults) {
  BareHart hart;
  hart.x(6) = 0x1000;
  hart.execute({as::store(2, 5, 6, -4), as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 7u);
  EXPECT_EQ(hart.state().csrs.mtval, 0xffcu);
}

TEST(ExecuteMemoryTest, AnAccessThatRunsOutOfRamNamesTheFirstByteBeyond) {
  BareHart hart;
  hart.x(6) = BareHart::kEnd - 3;
  hart.execute({as::load(3, 5, 6, 0), as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 5u);
  EXPECT_EQ(hart.state().csrs.mtval, BareHart::kEnd);
}

TEST(ExecuteMemoryTest, OnlyInstructionsBeforeAFaultRetire) {
  BareHart hart;
  hart.x(6) = 0x1000;
  hart.program({{as::kNop, as::kNop, as::load(3, 5, 6, 0)}});
  hart.program({{as::jal(0, 0)}}, BareHart::kHandler);
  static_cast<void>(hart.hart().run(3));
  EXPECT_EQ(hart.state().clock.retired(), 3u);  // two before, one in the handler
}

TEST(ExecuteMemoryTest, AccessesAreCounted) {
  BareHart hart;
  hart.x(6) = BareHart::kData;
  hart.execute({as::load(3, 5, 6, 0), as::store(0, 5, 6, 0), as::amo(0, 2, 5, 6, 7)});
  EXPECT_EQ(hart.hart().memory().accesses().operations, 3u);
  EXPECT_EQ(hart.hart().memory().accesses().bytes, 8u + 1u + 2u * 4u);
}

constexpr std::uint32_t cbo(unsigned which) {
  return as::i_type(static_cast<int>(which), 6, 2, 0, 0x0f);
}
constexpr std::uint32_t kInval = cbo(0), kClean = cbo(1), kFlush = cbo(2), kZero = cbo(4);

TEST(CacheBlockTest, ZeroClearsTheBlockAndNothingElse) {
  BareHart hart;
  for (std::uint64_t at = 0; at < 192; at += 8) hart.poke<std::uint64_t>(BareHart::kData + at, 7);
  hart.x(6) = BareHart::kData + 64 + 13;
  hart.execute({kZero, kClean, kInval, kFlush});
  EXPECT_EQ(hart.state().csrs.mcause, 0u);
  for (std::uint64_t at = 0; at < 192; at += 8) {
    EXPECT_EQ(hart.peek<std::uint64_t>(BareHart::kData + at), at / 64 == 1 ? 0u : 7u) << at;
  }
}

TEST(CacheBlockTest, WhatCannotBeReachedIsAStoreFault) {
  for (const std::uint32_t word : {kInval, kClean, kFlush, kZero}) {
    BareHart hart;
    hart.x(6) = BareHart::kEnd + 13;
    hart.execute({word, as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, 7u);
    EXPECT_EQ(hart.state().csrs.mtval, BareHart::kEnd + 13);
  }
}

TEST(CacheBlockTest, EnvcfgKeepsLowerModesOut) {
  const struct {
    std::uint32_t word;
    std::uint64_t bits;
  } kinds[] = {{kInval, 1u << 4}, {kClean, 1u << 6}, {kFlush, 1u << 6}, {kZero, 1u << 7}};
  for (const auto& [word, bits] : kinds) {
    for (const auto& [privilege, machine, supervisor, cause] :
         {std::tuple{Privilege::kSupervisor, std::uint64_t{0}, bits, 2u},
          std::tuple{Privilege::kSupervisor, bits, std::uint64_t{0}, 0u},
          std::tuple{Privilege::kUser, bits, std::uint64_t{0}, 2u},
          std::tuple{Privilege::kUser, bits, bits, 0u}}) {
      BareHart hart;
      hart.open_pmp();
      hart.x(6) = BareHart::kData;
      hart.state().privilege = privilege;
      hart.state().csrs.menvcfg = machine;
      hart.state().csrs.senvcfg = supervisor;
      hart.execute({word, as::kNop});
      EXPECT_EQ(hart.state().csrs.mcause, cause) << std::hex << word;
    }
  }
}

}  // namespace
}  // namespace vmrun
