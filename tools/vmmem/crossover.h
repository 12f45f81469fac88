// From which size on does another path pay?
#ifndef VMMEM_CROSSOVER_H_
#define VMMEM_CROSSOVER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vmmem {

// How the path beyond a limit compares at one size: the time of the path before it over
// its own. Above 1, it is faster.
struct SizePoint {
  std::size_t bytes = 0;
  double ratio = 1;
};

// Whether the path that is judged is taken from the limit on, or up to it.
enum class Side : std::uint8_t { kFrom, kUpTo };

struct Crossover {
  std::size_t measured = 0;
  std::size_t chosen = 0;
  double gain = 1;        // of `measured` against the default, over the sizes between
  std::size_t sizes = 0;  // how many sizes lie between
};

// A smaller gain is noise.
inline constexpr double kLeastGain = 1.03;

// The limit with which all points together take the least time, and whether it is worth
// leaving `standard`. `none` is the limit of a path never taken (kFrom), or of one
// without an end (kUpTo).
//
// Needs:  points in ascending order of bytes; at least one.
Crossover find_crossover(const std::vector<SizePoint>& points, Side side, std::size_t standard,
                         std::size_t none);

}  // namespace vmmem

#endif  // VMMEM_CROSSOVER_H_
