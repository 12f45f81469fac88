// `vmmem demo`: a tour for a newcomer, in 80 columns.
#ifndef VMMEM_DEMO_H_
#define VMMEM_DEMO_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "tools/vmmem/console.h"
#include "tools/vmmem/describe.h"
#include "tools/vmmem/verify.h"

namespace vmmem {

// A size, or sizes drawn anew for each copy, through memcpy_adaptive.
struct DemoLine {
  std::string name;
  double libc_nanoseconds = 0;
  double nanoseconds = 0;
  double ratio = 0;  // libc's time over ours
};

std::vector<DemoLine> time_demo(const std::function<void(double)>& on_progress);

std::string demo_found(const Description& description, const Style& style);
std::string demo_verified(const VerifyResult& result, const Style& style);
std::string demo_table(const std::vector<DemoLine>& lines, const Style& style);
std::string demo_next(const Style& style);

std::string demo_json(const Description& description, const VerifyResult& result,
                      const std::vector<DemoLine>& lines);

}  // namespace vmmem

#endif  // VMMEM_DEMO_H_
