// Every operation computes its result exactly, or with enough bits and the rest jammed, in
// 128 bits, and rounds once.

#include "tools/vmrun/soft_float.h"

#include <utility>

#include "tools/vmrun/soft_float_parts.h"

namespace vmrun {
namespace {

using namespace soft_float;

// Where sums are formed: a bit is left above for the carry.
constexpr int kSumTop = 125;

Parts with_top_at(Parts parts, int top) {
  const int up = top - top_bit(parts.significand);
  parts.significand <<= up;
  parts.exponent -= up;
  return parts;
}

// Both are not zero. Where much cancels, the exponents differ by one at most, and no bit
// is lost.
template <typename Bits>
Bits sum_of(Parts a, Parts b, FloatContext& context) {
  a = with_top_at(a, kSumTop);
  b = with_top_at(b, kSumTop);
  if (a.exponent < b.exponent || (a.exponent == b.exponent && a.significand < b.significand)) {
    std::swap(a, b);
  }
  b.significand = shift_right_jam(b.significand, a.exponent - b.exponent);
  if (a.negative == b.negative) {
    a.significand += b.significand;
  } else {
    a.significand -= b.significand;
    if (a.significand == 0) a.negative = context.rounding == Rounding::kDown;
  }
  return packed<Bits>(a, context);
}

// Of two zeros.
template <typename Bits>
Bits zero_sum(bool a_negative, bool b_negative, FloatContext& context) {
  const bool negative = a_negative == b_negative ? a_negative : context.rounding == Rounding::kDown;
  return signed_bits<Bits>(negative, 0);
}

// A significand below 2^64 with its highest bit in place 63.
Parts normalized(const Parts& parts) { return with_top_at(parts, 63); }

// The integer part of the root of a value that has 127 or 128 bits.
std::uint64_t integer_root(Wide value) {
  std::uint64_t root = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const std::uint64_t next = root | (std::uint64_t{1} << bit);
    if (Wide{next} * next <= value) root = next;
  }
  return root;
}

}  // namespace

template <typename Bits>
Bits float_add(Bits a, Bits b, FloatContext& context) {
  if (is_nan(a) || is_nan(b)) return nan_result<Bits>(context, a, b);
  if (is_infinite(a)) {
    const bool cancels = is_infinite(b) && is_negative(a) != is_negative(b);
    return cancels ? invalid<Bits>(context) : a;
  }
  if (is_infinite(b)) return b;
  if (is_zero(a)) {
    return is_zero(b) ? zero_sum<Bits>(is_negative(a), is_negative(b), context) : b;
  }
  return is_zero(b) ? a : sum_of<Bits>(parts_of(a), parts_of(b), context);
}

template <typename Bits>
Bits float_subtract(Bits a, Bits b, FloatContext& context) {
  return float_add<Bits>(a, b ^ kFloatSign<Bits>, context);
}

template <typename Bits>
Bits float_multiply(Bits a, Bits b, FloatContext& context) {
  if (is_nan(a) || is_nan(b)) return nan_result<Bits>(context, a, b);
  const bool negative = is_negative(a) != is_negative(b);
  if (is_infinite(a) || is_infinite(b)) {
    if (is_zero(a) || is_zero(b)) return invalid<Bits>(context);
    return signed_bits<Bits>(negative, kFloatInfinity<Bits>);
  }
  const Parts x = parts_of(a), y = parts_of(b);
  return packed<Bits>({.negative = negative,
                       .exponent = x.exponent + y.exponent,
                       .significand = x.significand * y.significand},
                      context);
}

template <typename Bits>
Bits float_divide(Bits a, Bits b, FloatContext& context) {
  if (is_nan(a) || is_nan(b)) return nan_result<Bits>(context, a, b);
  const bool negative = is_negative(a) != is_negative(b);
  if (is_infinite(a)) {
    return is_infinite(b) ? invalid<Bits>(context)
                          : signed_bits<Bits>(negative, kFloatInfinity<Bits>);
  }
  if (is_infinite(b)) return signed_bits<Bits>(negative, 0);
  if (is_zero(b)) {
    if (is_zero(a)) return invalid<Bits>(context);
    context.raise(kDivideByZero);
    return signed_bits<Bits>(negative, kFloatInfinity<Bits>);
  }
  if (is_zero(a)) return signed_bits<Bits>(negative, 0);
  const Parts x = normalized(parts_of(a)), y = normalized(parts_of(b));
  const Wide dividend = x.significand << 64;
  const Wide rest = dividend % y.significand;
  return packed<Bits>({.negative = negative,
                       .exponent = x.exponent - y.exponent - 64,
                       .significand = (dividend / y.significand) | (rest != 0 ? 1 : 0)},
                      context);
}

template <typename Bits>
Bits float_square_root(Bits a, FloatContext& context) {
  if (is_nan(a)) return nan_result<Bits>(context, a);
  if (is_zero(a)) return a;
  if (is_negative(a)) return invalid<Bits>(context);
  if (is_infinite(a)) return a;
  Parts parts = with_top_at(parts_of(a), 127);
  if (parts.exponent % 2 != 0) {
    parts.significand >>= 1;  // its low bits are zero
    ++parts.exponent;
  }
  const std::uint64_t root = integer_root(parts.significand);
  const bool exact = Wide{root} * root == parts.significand;
  // Two bits more, so that the jammed one is below every rounding.
  return packed<Bits>({.negative = false,
                       .exponent = parts.exponent / 2 - 2,
                       .significand = (Wide{root} << 2) | (exact ? 0 : 1)},
                      context);
}

template <typename Bits>
Bits float_multiply_add(Bits a, Bits b, Bits c, FloatContext& context) {
  const bool no_product = (is_infinite(a) && is_zero(b)) || (is_zero(a) && is_infinite(b));
  if (no_product) return invalid<Bits>(context);
  if (is_nan(a) || is_nan(b) || is_nan(c)) return nan_result<Bits>(context, a, b, c);
  const bool negative = is_negative(a) != is_negative(b);
  if (is_infinite(a) || is_infinite(b)) {
    const bool cancels = is_infinite(c) && is_negative(c) != negative;
    return cancels ? invalid<Bits>(context) : signed_bits<Bits>(negative, kFloatInfinity<Bits>);
  }
  if (is_infinite(c)) return c;
  if (is_zero(a) || is_zero(b)) {
    return is_zero(c) ? zero_sum<Bits>(negative, is_negative(c), context) : c;
  }
  const Parts x = parts_of(a), y = parts_of(b);
  const Parts product{.negative = negative,
                      .exponent = x.exponent + y.exponent,
                      .significand = x.significand * y.significand};
  return is_zero(c) ? packed<Bits>(product, context) : sum_of<Bits>(product, parts_of(c), context);
}

template std::uint32_t float_add(std::uint32_t, std::uint32_t, FloatContext&);
template std::uint64_t float_add(std::uint64_t, std::uint64_t, FloatContext&);
template std::uint32_t float_subtract(std::uint32_t, std::uint32_t, FloatContext&);
template std::uint64_t float_subtract(std::uint64_t, std::uint64_t, FloatContext&);
template std::uint32_t float_multiply(std::uint32_t, std::uint32_t, FloatContext&);
template std::uint64_t float_multiply(std::uint64_t, std::uint64_t, FloatContext&);
template std::uint32_t float_divide(std::uint32_t, std::uint32_t, FloatContext&);
template std::uint64_t float_divide(std::uint64_t, std::uint64_t, FloatContext&);
template std::uint32_t float_square_root(std::uint32_t, FloatContext&);
template std::uint64_t float_square_root(std::uint64_t, FloatContext&);
template std::uint32_t float_multiply_add(std::uint32_t, std::uint32_t, std::uint32_t,
                                          FloatContext&);
template std::uint64_t float_multiply_add(std::uint64_t, std::uint64_t, std::uint64_t,
                                          FloatContext&);

}  // namespace vmrun
