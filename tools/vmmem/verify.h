// Holds every row of the copy core against a byte loop, for a given time.
#ifndef VMMEM_VERIFY_H_
#define VMMEM_VERIFY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tools/vmmem/options.h"
#include "tools/vmmem/verify_case.h"
#include "vm_mem/copy_rows.h"

namespace vmmem {

struct VerifyPlan {
  std::vector<vm_mem::CopyRow> rows;
  std::uint64_t seed = 0;
  std::chrono::milliseconds time{0};
  std::optional<std::uint64_t> one_case;  // this case alone
};

struct Mismatch {
  std::string row;
  VerifyCase drawn;
  std::string what;
};

struct VerifyResult {
  std::uint64_t seed = 0;
  std::vector<std::pair<std::string, std::uint64_t>> cases;  // by row
  std::uint64_t total = 0;
  std::optional<Mismatch> mismatch;  // the first ends the run
};

// The library's entry points, each with memory moved as the policy says, in the shape of
// rows: "memcpy_raw", "memcpy_adaptive".
std::vector<vm_mem::CopyRow> entry_rows();

// `on_progress` hears the part that is done. Each case goes through every row in turn.
VerifyResult verify(const VerifyPlan& plan, const std::function<void(double)>& on_progress);

// Everything that it takes to see it again.
std::string reproducer(const Mismatch& mismatch, std::uint64_t seed);

std::string verify_text(const VerifyResult& result);
std::string verify_json(const VerifyResult& result);

}  // namespace vmmem

#endif  // VMMEM_VERIFY_H_
