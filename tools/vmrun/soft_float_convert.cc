// Comparisons and conversions.

#include <limits>
#include <type_traits>

#include "tools/vmrun/soft_float.h"
#include "tools/vmrun/soft_float_parts.h"

namespace vmrun {
namespace {

using namespace soft_float;

// Of numbers; -0 is +0 here.
template <typename Bits>
bool is_less(Bits a, Bits b) {
  if (is_zero(a) && is_zero(b)) return false;
  if (is_negative(a) != is_negative(b)) return is_negative(a);
  return is_negative(a) ? a > b : a < b;
}

template <typename Bits>
bool any_nan(Bits a, Bits b, FloatContext& context) {
  if (!is_nan(a) && !is_nan(b)) return false;
  context.raise(kInvalid);
  return true;
}

// Which of two numbers a minimum takes.
template <typename Bits>
bool comes_first(Bits a, Bits b) {
  return is_less(a, b) || (is_zero(a) && is_zero(b) && is_negative(a));
}

// What a minimum and a maximum give where an operand is a NaN.
template <typename Bits>
Bits number_of(Bits a, Bits b, FloatContext& context) {
  if (is_signaling(a) || is_signaling(b)) context.raise(kInvalid);
  if (!is_nan(a)) return a;
  return is_nan(b) ? kFloatNan<Bits> : b;
}

}  // namespace

template <typename Bits>
Bits float_minimum(Bits a, Bits b, FloatContext& context) {
  if (is_nan(a) || is_nan(b)) return number_of(a, b, context);
  return comes_first(a, b) ? a : b;
}

template <typename Bits>
Bits float_maximum(Bits a, Bits b, FloatContext& context) {
  if (is_nan(a) || is_nan(b)) return number_of(a, b, context);
  return comes_first(a, b) ? b : a;
}

template <typename Bits>
bool float_equal(Bits a, Bits b, FloatContext& context) {
  if (is_signaling(a) || is_signaling(b)) context.raise(kInvalid);
  if (is_nan(a) || is_nan(b)) return false;
  return a == b || (is_zero(a) && is_zero(b));
}

template <typename Bits>
bool float_less(Bits a, Bits b, FloatContext& context) {
  return !any_nan(a, b, context) && is_less(a, b);
}

template <typename Bits>
bool float_less_or_equal(Bits a, Bits b, FloatContext& context) {
  return !any_nan(a, b, context) && !is_less(b, a);
}

// From -inf at 0 over -0 at 3 and +0 at 4 to +inf at 7.
template <typename Bits>
std::uint64_t float_class(Bits a) {
  if (is_nan(a)) return is_signaling(a) ? 1u << 8 : 1u << 9;
  constexpr Bits kLeastNormal = Bits{1} << FloatFormat<Bits>::kFractionBits;
  const Bits magnitude = magnitude_of(a);
  unsigned distance = 0;  // from zero
  if (magnitude != 0) distance = magnitude < kLeastNormal ? 1 : 2;
  if (is_infinite(a)) distance = 3;
  return is_negative(a) ? 1u << (3 - distance) : 1u << (4 + distance);
}

std::uint64_t float_widen(std::uint32_t a, FloatContext& context) {
  if (is_nan(a)) return nan_result<std::uint64_t>(context, a);
  if (is_infinite(a)) return signed_bits(is_negative(a), kFloatInfinity<std::uint64_t>);
  return packed<std::uint64_t>(parts_of(a), context);
}

std::uint32_t float_narrow(std::uint64_t a, FloatContext& context) {
  if (is_nan(a)) return nan_result<std::uint32_t>(context, a);
  if (is_infinite(a)) return signed_bits(is_negative(a), kFloatInfinity<std::uint32_t>);
  return packed<std::uint32_t>(parts_of(a), context);
}

template <typename Integer, typename Bits>
Integer float_to_integer(Bits a, FloatContext& context) {
  using Limits = std::numeric_limits<Integer>;
  const bool negative = is_negative(a) && !is_nan(a);
  const auto refuse = [&] {
    context.raise(kInvalid);
    return negative ? Limits::min() : Limits::max();
  };
  if (is_nan(a) || is_infinite(a)) return refuse();
  const Parts parts = parts_of(a);
  if (parts.significand != 0 && parts.exponent + top_bit(parts.significand) > 64) return refuse();
  const Rounded rounded =
      round_shifted(context.rounding, negative, parts.significand, -parts.exponent);
  const Wide most = negative ? Wide{0} - static_cast<Wide>(Limits::min()) : Wide{Limits::max()};
  if (rounded.value > most) return refuse();
  if (!rounded.exact) context.raise(kInexact);
  const auto magnitude = static_cast<std::uint64_t>(rounded.value);
  return static_cast<Integer>(negative ? 0 - magnitude : magnitude);
}

template <typename Bits, typename Integer>
Bits float_from_integer(Integer a, FloatContext& context) {
  const bool negative = a < 0;
  const auto value = static_cast<std::uint64_t>(a);
  return packed<Bits>(
      {.negative = negative, .exponent = 0, .significand = negative ? 0 - value : value}, context);
}

template std::uint32_t float_minimum(std::uint32_t, std::uint32_t, FloatContext&);
template std::uint64_t float_minimum(std::uint64_t, std::uint64_t, FloatContext&);
template std::uint32_t float_maximum(std::uint32_t, std::uint32_t, FloatContext&);
template std::uint64_t float_maximum(std::uint64_t, std::uint64_t, FloatContext&);
template bool float_equal(std::uint32_t, std::uint32_t, FloatContext&);
template bool float_equal(std::uint64_t, std::uint64_t, FloatContext&);
template bool float_less(std::uint32_t, std::uint32_t, FloatContext&);
template bool float_less(std::uint64_t, std::uint64_t, FloatContext&);
template bool float_less_or_equal(std::uint32_t, std::uint32_t, FloatContext&);
template bool float_less_or_equal(std::uint64_t, std::uint64_t, FloatContext&);
template std::uint64_t float_class(std::uint32_t);
template std::uint64_t float_class(std::uint64_t);
template std::int32_t float_to_integer(std::uint32_t, FloatContext&);
template std::int32_t float_to_integer(std::uint64_t, FloatContext&);
template std::uint32_t float_to_integer(std::uint32_t, FloatContext&);
template std::uint32_t float_to_integer(std::uint64_t, FloatContext&);
template std::int64_t float_to_integer(std::uint32_t, FloatContext&);
template std::int64_t float_to_integer(std::uint64_t, FloatContext&);
template std::uint64_t float_to_integer(std::uint32_t, FloatContext&);
template std::uint64_t float_to_integer(std::uint64_t, FloatContext&);
template std::uint32_t float_from_integer(std::int32_t, FloatContext&);
template std::uint64_t float_from_integer(std::int32_t, FloatContext&);
template std::uint32_t float_from_integer(std::uint32_t, FloatContext&);
template std::uint64_t float_from_integer(std::uint32_t, FloatContext&);
template std::uint32_t float_from_integer(std::int64_t, FloatContext&);
template std::uint64_t float_from_integer(std::int64_t, FloatContext&);
template std::uint32_t float_from_integer(std::uint64_t, FloatContext&);
template std::uint64_t float_from_integer(std::uint64_t, FloatContext&);

}  // namespace vmrun
