#include "vm_device/entropy_source.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

namespace vm_device {

std::size_t HostEntropy::take(std::span<std::byte> to) {
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t got = ::getrandom(&to[done], to.size() - done, GRND_NONBLOCK);
    if (got <= 0) break;  // EAGAIN: not seeded yet
    done += static_cast<std::size_t>(got);
  }
  return done;
}

RateLimitedEntropy::RateLimitedEntropy(std::unique_ptr<EntropySource> source,
                                       std::uint64_t bytes_per_second,
                                       std::function<Clock::time_point()> now)
    : source_(std::move(source)),
      bytes_per_second_(bytes_per_second),
      now_(std::move(now)),
      allowance_(bytes_per_second),
      counted_until_(now_()) {}

std::size_t RateLimitedEntropy::take(std::span<std::byte> to) {
  refill();
  const std::size_t got = source_->take(to.first(std::min<std::uint64_t>(to.size(), allowance_)));
  allowance_ -= got;
  return got;
}

// Time is counted in the whole bytes that it was worth, so that no part of one is lost
// however often somebody asks.
void RateLimitedEntropy::refill() {
  using std::chrono::nanoseconds;
  constexpr std::uint64_t kSecond = 1'000'000'000;
  if (bytes_per_second_ == 0) return;
  const auto passed = std::chrono::duration_cast<nanoseconds>(now_() - counted_until_).count();
  if (passed <= 0) return;
  if (static_cast<std::uint64_t>(passed) >= kSecond) {
    allowance_ = bytes_per_second_;
    counted_until_ += nanoseconds(passed);
    return;
  }
  const std::uint64_t earned = static_cast<std::uint64_t>(passed) * bytes_per_second_ / kSecond;
  allowance_ = std::min(allowance_ + earned, bytes_per_second_);
  counted_until_ += nanoseconds(earned * kSecond / bytes_per_second_);
}

}  // namespace vm_device
