// `vmmem info`: the machine, and what the copy core makes of it.
#ifndef VMMEM_DESCRIBE_H_
#define VMMEM_DESCRIBE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/vmmem/machine.h"
#include "vm_mem/copy_policy.h"
#include "vm_mem/copy_rows.h"
#include "vm_mem/host_cpu.h"

namespace vmmem {

struct Description {
  vm_mem::HostCpu cpu;
  std::string simd;      // the widest that CPU and OS offer
  std::string features;  // "SSE2, AVX2, ERMS"
  Machine machine;
  std::vector<vm_mem::CopyRow> rows;
  std::string row;  // in use
  vm_mem::RowChoice choice = vm_mem::RowChoice::kBest;
  vm_mem::CopyPolicy policy;
  vm_mem::CopyPolicyOrigin origin;
  absl::Status startup;
};

Description describe();

// "the best that this machine supports".
std::string why(const Description& description);

// "default for AMD Zen 5 and later", or the file's name.
std::string source_of(std::string_view field, const vm_mem::CopyPolicyOrigin& origin);

std::string describe_text(const Description& description);
std::string describe_json(const Description& description);

}  // namespace vmmem

#endif  // VMMEM_DESCRIBE_H_
