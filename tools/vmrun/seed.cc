#include "tools/vmrun/seed.h"

#include <bit>

namespace vmrun {
namespace {

constexpr std::uint64_t kStep = 0x9e37'79b9'7f4a'7c15;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
  return z ^ (z >> 31);
}

}  // namespace

SeededEntropy::SeededEntropy(std::uint64_t seed, ChanceUser user)
    : state_(mix(seed) + mix(kStep * (static_cast<std::uint64_t>(user) + 1))) {}

std::uint64_t SeededEntropy::next() {
  state_ += kStep;
  return mix(state_);
}

void SeededEntropy::save(vm_device::StateWriter& to) const {
  to(state_, std::bit_cast<std::uint64_t>(word_), used_);
}

void SeededEntropy::load(vm_device::StateReader& from) {
  std::uint64_t word = 0;
  from(state_, word, used_);
  word_ = std::bit_cast<std::array<std::byte, 8>>(word);
  from.check(used_ <= word_.size(), "more bytes of a word than it has");
  if (!from.ok()) used_ = 8;
}

// Byte by byte: what a reader gets does not depend on how others before it asked.
std::size_t SeededEntropy::take(std::span<std::byte> to) {
  for (std::byte& byte : to) {
    if (used_ == word_.size()) {
      word_ = std::bit_cast<std::array<std::byte, 8>>(next());
      used_ = 0;
    }
    byte = word_[used_++];
  }
  return to.size();
}

RngSeed rng_seed(std::uint64_t seed) {
  RngSeed out;
  SeededEntropy(seed, ChanceUser::kDeviceTree).take(out);
  return out;
}

}  // namespace vmrun
