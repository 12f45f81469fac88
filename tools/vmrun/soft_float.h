// IEEE 754 binary arithmetic on bit patterns, in integers alone: results and flags are the
// same on every host, in all five rounding modes.
//
// NaNs do not propagate: every result that is a NaN is the canonical one. Tininess is
// detected after rounding. Both as RISC-V has it.
#ifndef VMRUN_SOFT_FLOAT_H_
#define VMRUN_SOFT_FLOAT_H_

#include <cstdint>

namespace vmrun {

// The numbers are those of frm and of the instructions.
enum class Rounding : std::uint8_t {
  kNearestEven = 0,
  kTowardZero = 1,
  kDown = 2,
  kUp = 3,
  kNearestAway = 4,
};

// The bits of fflags.
enum FloatFlag : std::uint8_t {
  kInexact = 1,
  kUnderflow = 2,
  kOverflow = 4,
  kDivideByZero = 8,
  kInvalid = 16,
};

// How to round, and what has happened so far.
struct FloatContext {
  Rounding rounding = Rounding::kNearestEven;
  std::uint8_t flags = 0;

  void raise(unsigned flag) { flags = static_cast<std::uint8_t>(flags | flag); }
};

// Bits is std::uint32_t for binary32 and std::uint64_t for binary64, here and below.
template <typename Bits>
struct FloatFormat;
template <>
struct FloatFormat<std::uint32_t> {
  static constexpr int kFractionBits = 23;
  static constexpr int kBias = 127;
};
template <>
struct FloatFormat<std::uint64_t> {
  static constexpr int kFractionBits = 52;
  static constexpr int kBias = 1023;
};

template <typename Bits>
inline constexpr Bits kFloatSign = Bits{1} << (8 * sizeof(Bits) - 1);
template <typename Bits>
inline constexpr Bits kFloatInfinity = static_cast<Bits>(2 * FloatFormat<Bits>::kBias + 1)
                                       << FloatFormat<Bits>::kFractionBits;
template <typename Bits>
inline constexpr Bits kFloatQuietBit = Bits{1} << (FloatFormat<Bits>::kFractionBits - 1);
template <typename Bits>
inline constexpr Bits kFloatNan = kFloatInfinity<Bits> | kFloatQuietBit<Bits>;

template <typename Bits>
constexpr bool is_nan(Bits a) {
  return static_cast<Bits>(a & ~kFloatSign<Bits>) > kFloatInfinity<Bits>;
}
template <typename Bits>
constexpr bool is_signaling(Bits a) {
  return is_nan(a) && (a & kFloatQuietBit<Bits>) == 0;
}

template <typename Bits>
Bits float_add(Bits a, Bits b, FloatContext& context);
template <typename Bits>
Bits float_subtract(Bits a, Bits b, FloatContext& context);
template <typename Bits>
Bits float_multiply(Bits a, Bits b, FloatContext& context);
template <typename Bits>
Bits float_divide(Bits a, Bits b, FloatContext& context);
template <typename Bits>
Bits float_square_root(Bits a, FloatContext& context);
// a * b + c, rounded once.
template <typename Bits>
Bits float_multiply_add(Bits a, Bits b, Bits c, FloatContext& context);

// Minimum and maximum take a number before a NaN, and -0 for less than +0.
template <typename Bits>
Bits float_minimum(Bits a, Bits b, FloatContext& context);
template <typename Bits>
Bits float_maximum(Bits a, Bits b, FloatContext& context);
// False where either is a NaN; every NaN is invalid to less, signaling ones to equal.
template <typename Bits>
bool float_equal(Bits a, Bits b, FloatContext& context);
template <typename Bits>
bool float_less(Bits a, Bits b, FloatContext& context);
template <typename Bits>
bool float_less_or_equal(Bits a, Bits b, FloatContext& context);
// FCLASS: one bit of ten.
template <typename Bits>
std::uint64_t float_class(Bits a);

std::uint64_t float_widen(std::uint32_t a, FloatContext& context);
std::uint32_t float_narrow(std::uint64_t a, FloatContext& context);

// Integer is std::int32_t, std::uint32_t, std::int64_t or std::uint64_t. What does not fit
// is invalid and gives the nearest that does; a NaN counts as above all.
template <typename Integer, typename Bits>
Integer float_to_integer(Bits a, FloatContext& context);
template <typename Bits, typename Integer>
Bits float_from_integer(Integer a, FloatContext& context);

}  // namespace vmrun

#endif  // VMRUN_SOFT_FLOAT_H_
