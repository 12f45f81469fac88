// Guest addresses at which a hart stops before it executes what is there.
#ifndef VMRUN_BREAKPOINTS_H_
#define VMRUN_BREAKPOINTS_H_

#include <cstdint>
#include <unordered_set>

namespace vmrun {

// They are of addresses, whatever memory those mean; nothing of them is in guest memory.
using Breakpoints = std::unordered_set<std::uint64_t>;

}  // namespace vmrun

#endif  // VMRUN_BREAKPOINTS_H_
