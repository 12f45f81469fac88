#include "tools/vmrun/soft_float.h"

#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <limits>
#include <random>

namespace vmrun {
namespace {

constexpr int kRounds = 30'000;

template <typename Bits>
using Native = std::conditional_t<sizeof(Bits) == 4, float, double>;

struct Mode {
  Rounding ours;
  int host;
};
constexpr Mode kHostModes[] = {{Rounding::kNearestEven, FE_TONEAREST},
                               {Rounding::kTowardZero, FE_TOWARDZERO},
                               {Rounding::kDown, FE_DOWNWARD},
                               {Rounding::kUp, FE_UPWARD}};

// The host's answer, whatever it does with NaNs, and the flags it raised.
template <typename Bits>
struct Answer {
  Bits bits = 0;
  unsigned flags = 0;

  friend bool operator==(const Answer&, const Answer&) = default;
};

unsigned host_flags() {
  const int raised = std::fetestexcept(FE_ALL_EXCEPT);
  return ((raised & FE_INEXACT) != 0 ? unsigned{kInexact} : 0u) |
         ((raised & FE_UNDERFLOW) != 0 ? unsigned{kUnderflow} : 0u) |
         ((raised & FE_OVERFLOW) != 0 ? unsigned{kOverflow} : 0u) |
         ((raised & FE_DIVBYZERO) != 0 ? unsigned{kDivideByZero} : 0u) |
         ((raised & FE_INVALID) != 0 ? unsigned{kInvalid} : 0u);
}

template <typename Result, typename Function>
Answer<Result> on_host(int mode, Function function) {
  std::fesetround(mode);
  std::feclearexcept(FE_ALL_EXCEPT);
  const volatile auto value = function();
  const unsigned flags = host_flags();
  std::fesetround(FE_TONEAREST);
  const auto bits = std::bit_cast<Result>(static_cast<Native<Result>>(value));
  return {is_nan(bits) ? kFloatNan<Result> : bits, flags};
}

template <typename Result, typename Function>
Answer<Result> by_us(Rounding rounding, Function function) {
  FloatContext context{.rounding = rounding};
  const Result bits = function(context);
  return {bits, context.flags};
}

// Numbers of every size, with few and with many bits, next to the edges, and NaNs.
template <typename Bits>
class Operands {
 public:
  Bits next() {
    using Format = FloatFormat<Bits>;
    constexpr Bits kEdges[] = {0,
                               1,
                               Bits{1} << Format::kFractionBits,
                               (Bits{1} << Format::kFractionBits) - 1,
                               kFloatInfinity<Bits> - 1,
                               kFloatInfinity<Bits>,
                               kFloatInfinity<Bits> + 1,
                               kFloatNan<Bits>,
                               static_cast<Bits>(Format::kBias) << Format::kFractionBits};
    const Bits any = static_cast<Bits>(random_());
    const Bits sign = static_cast<Bits>(any & kFloatSign<Bits>);
    switch (random_() % 6) {
      case 0: return sign | kEdges[random_() % std::size(kEdges)];
      case 1: return any;
      case 2: return sign | near_one(any);
      case 3: return sign | (near_one(any) & ~(~Bits{0} >> (random_() % 24 + 8)));
      case 4: return sign | (any >> (1 + Format::kFractionBits / 2 + random_() % 12));  // tiny
      default: return sign | (near_one(any) & (~Bits{0} << (random_() % Format::kFractionBits)));
    }
  }

 private:
  // With an exponent within 32 of that of one, so that operands meet.
  Bits near_one(Bits any) {
    using Format = FloatFormat<Bits>;
    const auto exponent = static_cast<Bits>(Format::kBias - 32 + static_cast<int>(random_() % 64));
    return (exponent << Format::kFractionBits) | (any & ((Bits{1} << Format::kFractionBits) - 1));
  }

  std::mt19937_64 random_{1};
};

template <typename T>
class SoftFloatTest : public testing::Test {};
using Formats = testing::Types<std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(SoftFloatTest, Formats);

// Operations of both sides, on three operands.
#define EXPECT_AS_HOST(Result, OURS, HOST)                                           \
  EXPECT_EQ((by_us<Result>(mode.ours, [&](FloatContext& context) { return OURS; })), \
            (on_host<Result>(mode.host, [&] { return HOST; })))                      \
      << std::hex << a << " " << b << " " << c << " mode " << static_cast<int>(mode.ours)

TYPED_TEST(SoftFloatTest, ArithmeticIsTheHostsInFourModes) {
  using Bits = TypeParam;
  using Number = Native<Bits>;
  Operands<Bits> operands;
  for (int i = 0; i < kRounds && !this->HasFailure(); ++i) {
    const Mode mode = kHostModes[i % 4];
    const Bits a = operands.next(), b = operands.next(), c = operands.next();
    const volatile Number x = std::bit_cast<Number>(a), y = std::bit_cast<Number>(b),
                          z = std::bit_cast<Number>(c);
    EXPECT_AS_HOST(Bits, float_add(a, b, context), x + y);
    EXPECT_AS_HOST(Bits, float_subtract(a, b, context), x - y);
    EXPECT_AS_HOST(Bits, float_multiply(a, b, context), x * y);
    EXPECT_AS_HOST(Bits, float_divide(a, b, context), x / y);
    EXPECT_AS_HOST(Bits, float_square_root(a, context), std::sqrt(Number{x}));
    // Inf * 0 + NaN is invalid here, and need not be for the host.
    if (!std::isnan(z)) {
      EXPECT_AS_HOST(Bits, float_multiply_add(a, b, c, context),
                     std::fma(Number{x}, Number{y}, Number{z}));
    }
  }
}

TYPED_TEST(SoftFloatTest, ConversionsAreTheHosts) {
  using Bits = TypeParam;
  using Number = Native<Bits>;
  Operands<Bits> operands;
  std::mt19937_64 random(2);
  for (int i = 0; i < kRounds && !this->HasFailure(); ++i) {
    const Mode mode = kHostModes[i % 4];
    const Bits a = operands.next(), b = 0, c = 0;
    const volatile Number x = std::bit_cast<Number>(a);
    const volatile auto integer = static_cast<std::int64_t>(random() >> (i % 64));
    EXPECT_AS_HOST(Bits, (float_from_integer<Bits, std::int64_t>(integer, context)),
                   static_cast<Number>(integer));
    EXPECT_AS_HOST(Bits, (float_from_integer<Bits>(static_cast<std::int32_t>(integer), context)),
                   static_cast<Number>(static_cast<std::int32_t>(integer)));
    if (std::abs(Number{x}) < Number(1) * (std::uint64_t{1} << 62)) {
      FloatContext context{.rounding = mode.ours};
      std::fesetround(mode.host);
      const Number rounded = std::nearbyint(Number{x});
      std::fesetround(FE_TONEAREST);
      EXPECT_EQ((float_to_integer<std::int64_t>(a, context)), static_cast<std::int64_t>(rounded))
          << std::hex << a;
      EXPECT_EQ(context.flags, rounded == x ? 0 : kInexact);
    }
  }
}

TEST(SoftFloatFormatTest, WideningAndNarrowingAreTheHosts) {
  Operands<std::uint64_t> doubles;
  Operands<std::uint32_t> singles;
  for (int i = 0; i < kRounds && !testing::Test::HasFailure(); ++i) {
    const Mode mode = kHostModes[i % 4];
    const std::uint64_t a =
        i % 3 == 0 ? doubles.next() >> 1 ^ 0x1800'0000'0000'0000 : doubles.next();
    const std::uint32_t b = singles.next(), c = 0;
    const volatile double x = std::bit_cast<double>(a);
    const volatile float y = std::bit_cast<float>(b);
    EXPECT_AS_HOST(std::uint32_t, float_narrow(a, context), static_cast<float>(x));
    EXPECT_AS_HOST(std::uint64_t, float_widen(b, context), static_cast<double>(y));
  }
}

// The product of two singles is exact as a double, and so is the middle of its neighbours.
TEST(SoftFloatFormatTest, TiesGoAwayFromZeroWhereAskedTo) {
  Operands<std::uint32_t> operands;
  int ties = 0;
  for (int i = 0; i < kRounds; ++i) {
    const std::uint32_t a = operands.next(), b = operands.next();
    const auto in = [&](Rounding rounding) {
      return by_us<std::uint32_t>(rounding,
                                  [&](auto& context) { return float_multiply(a, b, context); });
    };
    const auto away = in(Rounding::kNearestAway), even = in(Rounding::kNearestEven);
    const double exact = double{std::bit_cast<float>(a)} * double{std::bit_cast<float>(b)};
    const bool up = exact > 0;
    const double near = std::bit_cast<float>(in(Rounding::kTowardZero).bits);
    const auto outer = in(up ? Rounding::kUp : Rounding::kDown);
    const double far = std::bit_cast<float>(outer.bits);
    const bool tie = near != far && std::isfinite(far) && near + far == 2 * exact;
    ties += tie;
    EXPECT_EQ(away, tie ? Answer<std::uint32_t>({outer.bits, away.flags}) : even)
        << std::hex << a << " " << b;
  }
  EXPECT_GT(ties, 50);
}

TEST(SoftFloatFormatTest, OverflowGoesWhereTheModeSays) {
  constexpr std::uint32_t kLargest = kFloatInfinity<std::uint32_t> - 1, kSign = 0x8000'0000;
  const auto twice = [](std::uint32_t a, Rounding rounding) {
    return by_us<std::uint32_t>(rounding, [a](auto& context) { return float_add(a, a, context); });
  };
  const unsigned flags = kOverflow | kInexact;
  using Want = Answer<std::uint32_t>;
  EXPECT_EQ(twice(kLargest, Rounding::kNearestAway), (Want{kLargest + 1, flags}));
  EXPECT_EQ(twice(kLargest, Rounding::kDown), (Want{kLargest, flags}));
  EXPECT_EQ(twice(kLargest | kSign, Rounding::kDown), (Want{(kLargest + 1) | kSign, flags}));
  EXPECT_EQ(twice(kLargest | kSign, Rounding::kUp), (Want{kLargest | kSign, flags}));
}

TEST(SoftFloatFormatTest, IntegersThatDoNotFitSaturate) {
  struct Case {
    double value;
    std::int64_t word, unsigned_word, double_word, unsigned_double;
    unsigned flags[4];
  };
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  const Case cases[] = {
      {NAN, 0x7fff'ffff, 0xffff'ffff, kMax, -1, {kInvalid, kInvalid, kInvalid, kInvalid}},
      {-NAN, 0x7fff'ffff, 0xffff'ffff, kMax, -1, {kInvalid, kInvalid, kInvalid, kInvalid}},
      {-INFINITY, -0x8000'0000l, 0, kMin, 0, {kInvalid, kInvalid, kInvalid, kInvalid}},
      {-0.75, -1, 0, -1, 0, {kInexact, kInvalid, kInexact, kInvalid}},
      {-0.25, 0, 0, 0, 0, {kInexact, kInexact, kInexact, kInexact}},
      {2147483648.0, 0x7fff'ffff, 0x8000'0000, 0x8000'0000, 0x8000'0000, {kInvalid, 0, 0, 0}},
      {-2147483648.0, -0x8000'0000l, 0, -0x8000'0000l, 0, {0, kInvalid, 0, kInvalid}},
      {0x1p63, 0x7fff'ffff, 0xffff'ffff, kMax, kMin, {kInvalid, kInvalid, kInvalid, 0}},
      {0x1p64, 0x7fff'ffff, 0xffff'ffff, kMax, -1, {kInvalid, kInvalid, kInvalid, kInvalid}}};
  for (const Case& want : cases) {
    const auto a = std::bit_cast<std::uint64_t>(want.value);
    FloatContext contexts[4];
    EXPECT_EQ(float_to_integer<std::int32_t>(a, contexts[0]), want.word) << want.value;
    EXPECT_EQ(float_to_integer<std::uint32_t>(a, contexts[1]), want.unsigned_word) << want.value;
    EXPECT_EQ(float_to_integer<std::int64_t>(a, contexts[2]), want.double_word) << want.value;
    EXPECT_EQ(static_cast<std::int64_t>(float_to_integer<std::uint64_t>(a, contexts[3])),
              want.unsigned_double);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(contexts[i].flags, want.flags[i]) << want.value << i;
  }
}

TEST(SoftFloatFormatTest, ComparisonsKnowZerosAndNans) {
  constexpr std::uint64_t kMinusZero = kFloatSign<std::uint64_t>, kOne = 0x3ff0'0000'0000'0000;
  constexpr std::uint64_t kSignaling = kFloatInfinity<std::uint64_t> + 1;
  constexpr std::uint64_t kNan = kFloatNan<std::uint64_t>;
  FloatContext context;
  EXPECT_TRUE(float_equal(kMinusZero, std::uint64_t{0}, context));
  EXPECT_FALSE(float_less(kMinusZero, std::uint64_t{0}, context));
  EXPECT_TRUE(float_less_or_equal(std::uint64_t{0}, kMinusZero, context));
  EXPECT_TRUE(float_less(kOne | kMinusZero, kMinusZero, context));
  EXPECT_EQ(float_minimum(std::uint64_t{0}, kMinusZero, context), kMinusZero);
  EXPECT_EQ(float_maximum(kMinusZero, std::uint64_t{0}, context), 0u);
  EXPECT_EQ(float_minimum(kNan, kOne, context), kOne);
  EXPECT_EQ(float_maximum(kNan, kNan, context), kNan);
  EXPECT_FALSE(float_equal(kNan, kNan, context));
  EXPECT_EQ(context.flags, 0);
  EXPECT_EQ(float_minimum(kSignaling, kOne, context), kOne);
  EXPECT_EQ(context.flags, kInvalid);
  context = {};
  EXPECT_FALSE(float_less(kNan, kOne, context));
  EXPECT_EQ(context.flags, kInvalid);
  context = {};
  EXPECT_EQ(float_multiply_add(kFloatInfinity<std::uint64_t>, std::uint64_t{0}, kNan, context),
            kNan);
  EXPECT_EQ(context.flags, kInvalid);
}

TEST(SoftFloatFormatTest, ClassesAreOneBitOfTen) {
  const double values[] = {-INFINITY, -1, -1e-310, -0.0, 0, 1e-310, 1, INFINITY};
  for (unsigned i = 0; i < 8; ++i) {
    EXPECT_EQ(float_class(std::bit_cast<std::uint64_t>(values[i])), 1u << i);
  }
  EXPECT_EQ(float_class(kFloatInfinity<std::uint32_t> + 1), 1u << 8);
  EXPECT_EQ(float_class(kFloatNan<std::uint32_t>), 1u << 9);
}

}  // namespace
}  // namespace vmrun
