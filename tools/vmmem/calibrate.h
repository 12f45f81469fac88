// `vmmem calibrate`: where this machine's paths cross, measured through the library's own
// entry points.
#ifndef VMMEM_CALIBRATE_H_
#define VMMEM_CALIBRATE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/vmmem/crossover.h"
#include "tools/vmmem/options.h"
#include "vm_mem/copy_policy.h"

namespace vmmem {

struct Finding {
  std::string_view field;
  std::size_t standard = 0;  // this CPU's default
  Crossover crossover;
  std::string not_measured;  // why; empty where it was
};

struct Calibration {
  std::vector<Finding> findings;  // in the order of CopyPolicy
  vm_mem::CopyPolicy policy;      // valid here
};

// The policy in force is the same after it as before.
absl::StatusOr<Calibration> calibrate(Effort effort,
                                      const std::function<void(double)>& on_progress);

std::string calibration_text(const Calibration& calibration, const std::string& file);
std::string calibration_json(const Calibration& calibration, const std::string& file);

}  // namespace vmmem

#endif  // VMMEM_CALIBRATE_H_
