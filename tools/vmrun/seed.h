// Chance that is the same in every run.
#ifndef VMRUN_SEED_H_
#define VMRUN_SEED_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "vm_device/entropy_source.h"

namespace vmrun {

// Who draws from a seed: each has numbers of its own, so that one's do not depend on how
// many another has taken.
enum class ChanceUser : std::uint8_t { kDeviceTree, kEntropyDevice };

// Never dry, and no secret: who knows the seed knows all of it.
//
// Source:  SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
class SeededEntropy final : public vm_device::EntropySource {
 public:
  SeededEntropy(std::uint64_t seed, ChanceUser user);

  std::size_t take(std::span<std::byte> to) override;

  bool repeats() const override { return true; }
  void save(vm_device::StateWriter& to) const override;
  void load(vm_device::StateReader& from) override;

 private:
  std::uint64_t next();

  std::uint64_t state_;
  std::array<std::byte, 8> word_{};
  std::uint8_t used_ = 8;  // of word_
};

// What /chosen/rng-seed holds.
using RngSeed = std::array<std::byte, 32>;
RngSeed rng_seed(std::uint64_t seed);

}  // namespace vmrun

#endif  // VMRUN_SEED_H_
