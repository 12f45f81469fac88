#include <gtest/gtest.h>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

enum Funct5 : unsigned {
  kAdd = 0x00,
  kSwap = 0x01,
  kLr = 0x02,
  kSc = 0x03,
  kXor = 0x04,
  kOr = 0x08,
  kAnd = 0x0c,
  kMin = 0x10,
  kMax = 0x14,
  kMinu = 0x18,
  kMaxu = 0x1c,
};
enum Width : unsigned { kWord = 2, kDouble = 3 };

struct Outcome {
  std::uint64_t previous, memory;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome amo(unsigned funct5, unsigned width, std::uint64_t memory, std::uint64_t operand) {
  BareHart hart;
  hart.poke(BareHart::kData, memory);
  hart.x(6) = BareHart::kData;
  hart.x(7) = operand;
  hart.execute({as::amo(funct5, width, 5, 6, 7)});
  return {hart.x(5), hart.peek<std::uint64_t>(BareHart::kData)};
}

constexpr std::uint64_t kNegative = 0xffffffff80000000;

TEST(ExecuteAtomicTest, WordsExtendTheOldValueAndKeepTheirNeighbours) {
  EXPECT_EQ(amo(kSwap, kWord, 0x1122334480000000, 5), (Outcome{kNegative, 0x1122334400000005}));
  EXPECT_EQ(amo(kAdd, kWord, 0x11223344ffffffff, 1),
            (Outcome{0xffffffffffffffff, 0x1122334400000000}));
  EXPECT_EQ(amo(kXor, kWord, 0xf0, 0xff), (Outcome{0xf0, 0x0f}));
  EXPECT_EQ(amo(kAnd, kWord, 0xf0, 0x3c), (Outcome{0xf0, 0x30}));
  EXPECT_EQ(amo(kOr, kWord, 0xf0, 0x0f), (Outcome{0xf0, 0xff}));
}

TEST(ExecuteAtomicTest, MinimaAndMaximaKnowTheirSign) {
  EXPECT_EQ(amo(kMin, kWord, 0x80000000, 1).memory, 0x80000000u);
  EXPECT_EQ(amo(kMax, kWord, 0x80000000, 1).memory, 1u);
  EXPECT_EQ(amo(kMinu, kWord, 0x80000000, 1).memory, 1u);
  EXPECT_EQ(amo(kMaxu, kWord, 0x80000000, 1).memory, 0x80000000u);
  EXPECT_EQ(amo(kMin, kDouble, kNegative, 1).memory, kNegative);
  EXPECT_EQ(amo(kMax, kDouble, kNegative, 1).memory, 1u);
  EXPECT_EQ(amo(kMinu, kDouble, kNegative, 1).memory, 1u);
  EXPECT_EQ(amo(kMaxu, kDouble, kNegative, 1).memory, kNegative);
  // Of a word operation only the low half of the operand counts.
  EXPECT_EQ(amo(kMax, kWord, 3, 0x100000000).memory, 3u);
}

TEST(ExecuteAtomicTest, DoublewordsMoveWhole) {
  EXPECT_EQ(amo(kSwap, kDouble, kNegative, 7), (Outcome{kNegative, 7}));
  EXPECT_EQ(amo(kAdd, kDouble, 0xffffffff, 1), (Outcome{0xffffffff, 0x100000000}));
  EXPECT_EQ(amo(kXor, kDouble, kNegative, kNegative), (Outcome{kNegative, 0}));
  EXPECT_EQ(amo(kAnd, kDouble, kNegative, 0xf0000000), (Outcome{kNegative, 0x80000000}));
  EXPECT_EQ(amo(kOr, kDouble, kNegative, 1), (Outcome{kNegative, kNegative | 1}));
}

struct Reserved {
  BareHart hart;
  Reserved() {
    hart.poke<std::uint64_t>(BareHart::kData, kNegative);
    hart.x(6) = BareHart::kData;
    hart.x(7) = 99;
    hart.x(8) = BareHart::kData + 8;
  }
  std::uint64_t memory() { return hart.peek<std::uint64_t>(BareHart::kData); }
};

TEST(ExecuteAtomicTest, ScAfterLrStores) {
  Reserved r;
  r.hart.execute({as::amo(kLr, kDouble, 4, 6, 0), as::amo(kSc, kDouble, 5, 6, 7)});
  EXPECT_EQ(r.hart.x(4), kNegative);
  EXPECT_EQ(r.hart.x(5), 0u);
  EXPECT_EQ(r.memory(), 99u);
}

TEST(ExecuteAtomicTest, ScWithoutLrFails) {
  Reserved r;
  r.hart.execute({as::amo(kSc, kDouble, 5, 6, 7)});
  EXPECT_EQ(r.hart.x(5), 1u);
  EXPECT_EQ(r.memory(), kNegative);
}

TEST(ExecuteAtomicTest, TheSecondScFails) {
  Reserved r;
  r.hart.execute(
      {as::amo(kLr, kWord, 4, 6, 0), as::amo(kSc, kWord, 4, 6, 7), as::amo(kSc, kWord, 5, 6, 0)});
  EXPECT_EQ(r.hart.x(4), 0u);
  EXPECT_EQ(r.hart.x(5), 1u);
  EXPECT_EQ(r.memory(), 0xffffffff00000063);
}

TEST(ExecuteAtomicTest, ScToAnotherAddressFails) {
  Reserved r;
  r.hart.execute({as::amo(kLr, kDouble, 4, 6, 0), as::amo(kSc, kDouble, 5, 8, 7)});
  EXPECT_EQ(r.hart.x(5), 1u);
  EXPECT_EQ(r.hart.peek<std::uint64_t>(BareHart::kData + 8), 0u);
}

TEST(ExecuteAtomicTest, ScOfAnotherWidthFails) {
  Reserved r;
  r.hart.execute({as::amo(kLr, kWord, 4, 6, 0), as::amo(kSc, kDouble, 5, 6, 7)});
  EXPECT_EQ(r.hart.x(5), 1u);
}

TEST(ExecuteAtomicTest, ScAfterAWriteInBetweenFails) {
  Reserved r;
  r.hart.execute(
      {as::amo(kLr, kDouble, 4, 6, 0), as::store(3, 7, 6, 0), as::amo(kSc, kDouble, 5, 6, 0)});
  EXPECT_EQ(r.hart.x(5), 1u);
  EXPECT_EQ(r.memory(), 99u);
}

struct Refusal {
  unsigned funct5, width, misaligned_by;
  std::uint64_t cause;
};

TEST(ExecuteAtomicTest, MisalignedAddressesTrap) {
  for (const Refusal& refusal : {Refusal{kLr, kWord, 2, 4}, Refusal{kSc, kWord, 1, 6},
                                 Refusal{kAdd, kWord, 2, 6}, Refusal{kSwap, kDouble, 4, 6}}) {
    BareHart hart;
    hart.x(6) = BareHart::kData + refusal.misaligned_by;
    hart.execute({as::amo(refusal.funct5, refusal.width, 5, 6, 0), as::kNop});
    EXPECT_EQ(hart.state().csrs.mcause, refusal.cause);
    EXPECT_EQ(hart.state().csrs.mtval, BareHart::kData + refusal.misaligned_by);
  }
}

TEST(ExecuteAtomicTest, AmosOnNothingAreStoreFaults) {
  BareHart hart;
  hart.x(6) = 0x1000;
  hart.execute({as::amo(kAdd, kWord, 5, 6, 0), as::kNop});
  EXPECT_EQ(hart.state().csrs.mcause, 7u);
  EXPECT_EQ(hart.state().csrs.mtval, 0x1000u);
}

}  // namespace
}  // namespace vmrun
