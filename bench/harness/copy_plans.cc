#include "bench/harness/copy_plans.h"

#include <algorithm>

namespace vm_bench {
namespace {

constexpr std::size_t kLine = 64;

std::uint32_t offset(std::size_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

SizeSource uniform_sizes(std::size_t first, std::size_t last) {
  return [first, last](Random& random) { return first + random() % (last - first + 1); };
}

SizeSource drawn_sizes(std::span<const SizeShare> shares) {
  std::vector<std::size_t> sizes;
  std::vector<double> weights;
  for (const SizeShare& share : shares) {
    sizes.push_back(share.bytes);
    weights.push_back(share.share);
  }
  return [sizes, draw = std::discrete_distribution<std::size_t>(weights.begin(), weights.end())](
             Random& random) mutable { return sizes[draw(random)]; };
}

std::vector<CopyAt> random_copies(const SizeSource& sizes, std::size_t count, std::size_t span,
                                  std::uint64_t seed) {
  Random random(seed);
  std::vector<CopyAt> copies(count);
  for (CopyAt& at : copies) {
    at.bytes = offset(sizes(random));
    at.dst = offset(random() % span);
    at.src = offset(random() % span);
  }
  return copies;
}

std::vector<CopyAt> shuffled_chunks(std::size_t n, std::size_t span, std::uint64_t seed) {
  // A line between chunks, so that no prefetch of one helps its neighbour by design.
  const std::size_t stride = (n + kLine - 1) / kLine * kLine + kLine;
  std::vector<CopyAt> copies(std::max<std::size_t>(1, span / stride));
  std::vector<std::uint32_t> places(copies.size());
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = offset(i * stride);
  Random random(seed);
  std::shuffle(places.begin(), places.end(), random);
  for (std::size_t i = 0; i < places.size(); ++i) copies[i] = {places[i], 0, offset(n)};
  std::shuffle(places.begin(), places.end(), random);
  for (std::size_t i = 0; i < places.size(); ++i) copies[i].src = places[i];
  return copies;
}

}  // namespace vm_bench
