#include "vm_mem/guest_address.h"

#include <gtest/gtest.h>

#include "tests/support/guest_range.h"

namespace vm_mem {
namespace {

using vm_test::range;

TEST(GuestRangeTest, MakeRefusesToWrap) {
  EXPECT_FALSE(GuestRange::make(GuestAddress{UINT64_MAX}, 1).has_value());
  EXPECT_FALSE(GuestRange::make(GuestAddress{1}, UINT64_MAX).has_value());
  EXPECT_TRUE(GuestRange::make(GuestAddress{0}, UINT64_MAX).has_value());
  EXPECT_TRUE(GuestRange::make(GuestAddress{UINT64_MAX}, 0).has_value());
}

TEST(GuestRangeTest, ContainsIsHalfOpen) {
  EXPECT_TRUE(range(0x1000, 0x10).contains(GuestAddress{0x1000}));
  EXPECT_TRUE(range(0x1000, 0x10).contains(GuestAddress{0x100f}));
  EXPECT_FALSE(range(0x1000, 0x10).contains(GuestAddress{0x1010}));
  EXPECT_FALSE(range(0x1000, 0x10).contains(GuestAddress{0xfff}));
  EXPECT_FALSE(range(0x1000, 0).contains(GuestAddress{0x1000}));
}

TEST(GuestRangeTest, ContainsARangeOnlyWhole) {
  EXPECT_TRUE(range(0x1000, 0x10).contains(range(0x1000, 0x10)));
  EXPECT_FALSE(range(0x1000, 0x10).contains(range(0x1001, 0x10)));
  EXPECT_FALSE(range(0x1000, 0x10).contains(range(0xfff, 0x2)));
  EXPECT_FALSE(range(0x1000, 0x10).contains(range(0x1004, 0)));
}

TEST(GuestRangeTest, NeighboursDoNotOverlap) {
  EXPECT_FALSE(range(0x1000, 0x10).overlaps(range(0x1010, 0x10)));
  EXPECT_FALSE(range(0x1010, 0x10).overlaps(range(0x1000, 0x10)));
  EXPECT_TRUE(range(0x1000, 0x11).overlaps(range(0x1010, 0x10)));
  EXPECT_FALSE(range(0x1000, 0x10).overlaps(range(0x1008, 0)));
}

}  // namespace
}  // namespace vm_mem
