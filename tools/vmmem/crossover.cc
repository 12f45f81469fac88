#include "tools/vmmem/crossover.h"

#include <cmath>

namespace vmmem {
namespace {

bool takes(Side side, std::size_t bytes, std::size_t limit) {
  return side == Side::kFrom ? bytes >= limit : bytes <= limit;
}

// In logarithms: what the limit saves against never taking the path.
double saving(const std::vector<SizePoint>& points, Side side, std::size_t limit) {
  double saved = 0;
  for (const SizePoint& point : points) {
    if (takes(side, point.bytes, limit)) saved += std::log(point.ratio);
  }
  return saved;
}

std::size_t between(const std::vector<SizePoint>& points, Side side, std::size_t a, std::size_t b) {
  std::size_t count = 0;
  for (const SizePoint& point : points) {
    if (takes(side, point.bytes, a) != takes(side, point.bytes, b)) ++count;
  }
  return count;
}

std::vector<std::size_t> candidates(const std::vector<SizePoint>& points, Side side,
                                    std::size_t none) {
  std::vector<std::size_t> limits;
  if (side == Side::kUpTo) limits.push_back(points.front().bytes / 2);
  for (const SizePoint& point : points) limits.push_back(point.bytes);
  if (side == Side::kUpTo) limits.pop_back();  // up to the largest size is without an end
  limits.push_back(none);
  return limits;
}

}  // namespace

Crossover find_crossover(const std::vector<SizePoint>& points, Side side, std::size_t standard,
                         std::size_t none) {
  // A default that takes the same points as the best limit does is the best one too.
  Crossover found{.measured = standard, .chosen = standard, .gain = 1, .sizes = 0};
  const double standard_saving = saving(points, side, standard);
  double best = standard_saving;
  for (const std::size_t limit : candidates(points, side, none)) {
    const double saved = saving(points, side, limit);
    if (saved <= best) continue;
    best = saved;
    found.measured = limit;
  }
  found.sizes = between(points, side, found.measured, standard);
  if (found.sizes == 0) return found;
  found.gain = std::exp((best - standard_saving) / static_cast<double>(found.sizes));
  if (found.gain >= kLeastGain) found.chosen = found.measured;
  return found;
}

}  // namespace vmmem
