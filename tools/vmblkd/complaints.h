// What a disk's server says of its front ends, without filling the host's log.
#ifndef VMBLKD_COMPLAINTS_H_
#define VMBLKD_COMPLAINTS_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace vmblkd {

// A hundred lines at once, then ten a second, and before them as many that say how many others
// were left out.
class Complaints {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr double kMost = 100;
  static constexpr double kEachSecond = 10;

  // `say` gets a line, without a newline.
  Complaints(std::string name, std::function<void(const std::string&)> say)
      : name_(std::move(name)), say_(std::move(say)) {}

  void tell(const std::string& text, Clock::time_point now = Clock::now()) {
    const std::chrono::duration<double> passed = now - last_;
    last_ = now;
    left_ = std::min(kMost, left_ + passed.count() * kEachSecond);
    if (left_ < 1) {
      ++untold_;
      return;
    }
    left_ -= 1;
    finish();
    say_(fmt::format("{}: {}", name_, text));
  }
  // What is left out and not told yet, is.
  void finish() {
    if (const std::uint64_t untold = std::exchange(untold_, 0); untold != 0) {
      say_(fmt::format("{}: {} lines were left out", name_, untold));
    }
  }

 private:
  const std::string name_;
  const std::function<void(const std::string&)> say_;
  double left_ = kMost;
  Clock::time_point last_ = Clock::now();
  std::uint64_t untold_ = 0;
};

}  // namespace vmblkd

#endif  // VMBLKD_COMPLAINTS_H_
