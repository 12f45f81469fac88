// Where random bytes come from.
#ifndef VM_DEVICE_ENTROPY_SOURCE_H_
#define VM_DEVICE_ENTROPY_SOURCE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "vm_device/state_bytes.h"

namespace vm_device {

class EntropySource {
 public:
  virtual ~EntropySource() = default;

  // Fills the first bytes of `to`, as many as there are now; returns how many. Does not
  // wait.
  virtual std::size_t take(std::span<std::byte> to) = 0;

  // Whether the same bytes come again where the source has begun in the same way: such a one
  // goes on after a restore from where it was. Of others nothing is saved, so that no two
  // guests of one snapshot are given the same bytes.
  virtual bool repeats() const { return false; }
  virtual void save(StateWriter& /*to*/) const {}
  virtual void load(StateReader& /*from*/) {}
};

// The host kernel's generator.
//
// Source:  getrandom(2), GRND_NONBLOCK: nothing before the kernel has been seeded.
class HostEntropy final : public EntropySource {
 public:
  std::size_t take(std::span<std::byte> to) override;
};

// Gives on what another source has, up to a rate. What is not taken adds up to one
// second's worth.
class RateLimitedEntropy final : public EntropySource {
 public:
  using Clock = std::chrono::steady_clock;

  // `now` is asked for the time at every take().
  //
  // Needs:  a source; bytes_per_second below 2^32.
  RateLimitedEntropy(std::unique_ptr<EntropySource> source, std::uint64_t bytes_per_second,
                     std::function<Clock::time_point()> now = Clock::now);

  std::size_t take(std::span<std::byte> to) override;

 private:
  void refill();

  std::unique_ptr<EntropySource> source_;
  std::uint64_t bytes_per_second_;
  std::function<Clock::time_point()> now_;
  std::uint64_t allowance_;
  Clock::time_point counted_until_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_ENTROPY_SOURCE_H_
