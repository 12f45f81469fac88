#include "tools/vmrun/wait.h"

#include <algorithm>
#include <cerrno>

#include "tools/command_line/signals.h"

namespace vmrun {

bool wait_for(std::span<pollfd> descriptors, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + limit;
  for (auto left = limit;; left = std::chrono::ceil<std::chrono::milliseconds>(
                               std::max(deadline - Clock::now(), Clock::duration::zero()))) {
    const int ready = poll(descriptors.data(), descriptors.size(), static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR || command_line::noted_signal() != 0) return false;
  }
}

}  // namespace vmrun
