// A number taken apart, and put together again with one rounding: what soft_float.cc and
// soft_float_convert.cc share.
#ifndef VMRUN_SOFT_FLOAT_PARTS_H_
#define VMRUN_SOFT_FLOAT_PARTS_H_

#include <cstdint>

#include "tools/vmrun/soft_float.h"

namespace vmrun::soft_float {

__extension__ typedef unsigned __int128 Wide;

// A finite number: significand * 2^exponent, and its sign. Lost bits below the significand
// are jammed into its lowest one, which is then worth less than it says.
struct Parts {
  bool negative = false;
  int exponent = 0;
  Wide significand = 0;
};

constexpr int top_bit(Wide value) {
  const auto high = static_cast<std::uint64_t>(value >> 64);
  if (high != 0) return 127 - __builtin_clzll(high);
  return 63 - __builtin_clzll(static_cast<std::uint64_t>(value));
}

// value / 2^count, with what is lost jammed.
constexpr Wide shift_right_jam(Wide value, int count) {
  if (count <= 0) return value;
  if (count > 127) return value != 0 ? 1 : 0;
  const Wide lost = value & ((Wide{1} << count) - 1);
  return (value >> count) | (lost != 0 ? 1 : 0);
}

// Whether what was cut off, of which `half` is the highest bit and `rest` the others, makes
// the magnitude one more.
constexpr bool rounds_up(Rounding rounding, bool negative, bool odd, bool half, bool rest) {
  switch (rounding) {
    case Rounding::kNearestEven: return half && (rest || odd);
    case Rounding::kNearestAway: return half;
    case Rounding::kDown: return negative && (half || rest);
    case Rounding::kUp: return !negative && (half || rest);
    default: return false;
  }
}

struct Rounded {
  Wide value = 0;
  bool exact = true;
};

// value / 2^count as an integer. A negative count multiplies.
constexpr Rounded round_shifted(Rounding rounding, bool negative, Wide value, int count) {
  if (count <= 0) return {value << -count, true};
  value = shift_right_jam(value, count - 2 < 0 ? 0 : count - 2);
  if (count == 1) value <<= 1;  // two bits are left below the integer
  const bool half = (value & 2) != 0;
  const bool rest = (value & 1) != 0;
  const Wide integer = value >> 2;
  const bool up = rounds_up(rounding, negative, (integer & 1) != 0, half, rest);
  return {integer + (up ? 1 : 0), !half && !rest};
}

template <typename Bits>
constexpr Bits signed_bits(bool negative, Bits magnitude) {
  return negative ? magnitude | kFloatSign<Bits> : magnitude;
}

template <typename Bits>
constexpr bool is_negative(Bits a) {
  return (a & kFloatSign<Bits>) != 0;
}
template <typename Bits>
constexpr Bits magnitude_of(Bits a) {
  return static_cast<Bits>(a & ~kFloatSign<Bits>);
}
template <typename Bits>
constexpr bool is_infinite(Bits a) {
  return magnitude_of(a) == kFloatInfinity<Bits>;
}
template <typename Bits>
constexpr bool is_zero(Bits a) {
  return magnitude_of(a) == 0;
}

// Needs:  a finite number.
template <typename Bits>
constexpr Parts parts_of(Bits a) {
  using Format = FloatFormat<Bits>;
  constexpr Bits kHidden = Bits{1} << Format::kFractionBits;
  const int biased = static_cast<int>(magnitude_of(a) >> Format::kFractionBits);
  const Bits fraction = a & (kHidden - 1);
  return {.negative = is_negative(a),
          .exponent = (biased == 0 ? 1 : biased) - Format::kBias - Format::kFractionBits,
          .significand = biased == 0 ? fraction : fraction | kHidden};
}

template <typename Bits>
Bits overflowed(bool negative, FloatContext& context) {
  context.raise(kOverflow | kInexact);
  // Half of the largest number's last place, seen from below.
  const bool up = rounds_up(context.rounding, negative, true, true, true);
  return signed_bits<Bits>(negative, up ? kFloatInfinity<Bits> : kFloatInfinity<Bits> - 1);
}

// The number that is nearest in the sense of the context. Jammed bits have to lie two or
// more below the last place.
template <typename Bits>
Bits packed(const Parts& parts, FloatContext& context) {
  using Format = FloatFormat<Bits>;
  constexpr int kLeast = 1 - Format::kBias;  // exponent of the smallest normal number
  constexpr Wide kHidden = Wide{1} << Format::kFractionBits;
  if (parts.significand == 0) return signed_bits<Bits>(parts.negative, 0);
  const int top = parts.exponent + top_bit(parts.significand);
  const auto round_at = [&](int exponent) {
    return round_shifted(context.rounding, parts.negative, parts.significand,
                         exponent - Format::kFractionBits - parts.exponent);
  };
  const int exponent = top < kLeast ? kLeast : top;
  const Rounded rounded = round_at(exponent);
  if (!rounded.exact) context.raise(kInexact);
  // Tiny after rounding: as if exponents had no end, it would stay below the least.
  const bool tiny = top < kLeast - 1 || (top < kLeast && round_at(top).value < 2 * kHidden);
  if (tiny && !rounded.exact) context.raise(kUnderflow);
  // A carry out of the fraction moves into the exponent by itself.
  const int biased = rounded.value < kHidden ? 0 : exponent + Format::kBias - 1;
  if (biased > 2 * Format::kBias) return overflowed<Bits>(parts.negative, context);
  const Bits magnitude =
      (static_cast<Bits>(biased) << Format::kFractionBits) + static_cast<Bits>(rounded.value);
  if (magnitude >= kFloatInfinity<Bits>) return overflowed<Bits>(parts.negative, context);
  return signed_bits<Bits>(parts.negative, magnitude);
}

template <typename Bits>
Bits invalid(FloatContext& context) {
  context.raise(kInvalid);
  return kFloatNan<Bits>;
}

// The result where an operand is a NaN.
template <typename Bits, typename... Operands>
Bits nan_result(FloatContext& context, Operands... operands) {
  return (is_signaling(operands) || ...) ? invalid<Bits>(context) : kFloatNan<Bits>;
}

}  // namespace vmrun::soft_float

#endif  // VMRUN_SOFT_FLOAT_PARTS_H_
