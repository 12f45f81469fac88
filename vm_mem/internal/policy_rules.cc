#include "vm_mem/internal/policy_rules.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_format.h"
#include "vm_mem/inline_copy.h"

namespace vm_mem {
namespace {

constexpr std::array kFields = {
    CopyPolicyField{"inline_max", &CopyPolicy::inline_max},
    CopyPolicyField{"vector_width", &CopyPolicy::vector_width},
    CopyPolicyField{"align_loads_max", &CopyPolicy::align_loads_max},
    CopyPolicyField{"prefetch_min", &CopyPolicy::prefetch_min},
    CopyPolicyField{"stream_min", &CopyPolicy::stream_min},
    CopyPolicyField{"stream_hint_min", &CopyPolicy::stream_hint_min},
    CopyPolicyField{"stream_pages", &CopyPolicy::stream_pages},
    CopyPolicyField{"rep_movsb_min", &CopyPolicy::rep_movsb_min},
    CopyPolicyField{"rep_movsb_hot_min", &CopyPolicy::rep_movsb_hot_min},
    CopyPolicyField{"rep_movsb_max", &CopyPolicy::rep_movsb_max},
};

}  // namespace

std::span<const CopyPolicyField> copy_policy_fields() noexcept { return kFields; }

namespace internal {
namespace {

using Field = std::size_t CopyPolicy::*;

struct LowerBound {
  Field field;
  std::size_t least;
};

// Below these a path costs more than the whole copy.
constexpr std::array kLowerBounds = {
    LowerBound{&CopyPolicy::prefetch_min, 256},     LowerBound{&CopyPolicy::stream_min, 4096},
    LowerBound{&CopyPolicy::stream_hint_min, 4096}, LowerBound{&CopyPolicy::rep_movsb_min, 64},
    LowerBound{&CopyPolicy::rep_movsb_hot_min, 64},
};

std::string name_of(Field field) {
  for (const CopyPolicyField& each : kFields) {
    if (each.member == field) return std::string(each.name);
  }
  return {};
}

// Collects the first refusal.
class Judge {
 public:
  explicit Judge(const CopyPolicy& policy) : policy_(policy) {}

  void require(bool holds, Field field, const std::string& allowed) {
    if (holds || refusal_) return;
    refusal_ = {field, absl::StrFormat("CopyPolicy::%s = %d: want %s", name_of(field),
                                       policy_.*field, allowed)};
  }
  std::optional<PolicyRefusal> refusal() const { return refusal_; }

 private:
  const CopyPolicy& policy_;
  std::optional<PolicyRefusal> refusal_;
};

std::string supported_widths() {
  std::string widths;
  for (const CopyKernels* row : built_copy_kernels()) {
    if (!row->supported()) continue;
    absl::StrAppendFormat(&widths, "%s%d (%s)", widths.empty() ? "" : ", ", row->vector_width,
                          std::string(row->isa));
  }
  return "the width of a row that this machine supports: " + widths;
}

void judge_width(const CopyPolicy& policy, const CopyKernels* forced, Judge& judge) {
  if (forced != nullptr) {
    return judge.require(policy.vector_width == forced->vector_width, &CopyPolicy::vector_width,
                         absl::StrFormat("%d, the width of the row %s that VM_MEM_ISA forces",
                                         forced->vector_width, std::string(forced->isa)));
  }
  const std::size_t nearest = row_within(policy.vector_width).vector_width;
  judge.require(policy.vector_width == nearest, &CopyPolicy::vector_width, supported_widths());
}

void judge_string_copies(const CopyPolicy& policy, bool available, Judge& judge) {
  if (policy.rep_movsb_min == kNever) return;
  judge.require(available, &CopyPolicy::rep_movsb_min, "never: this CPU has no fast rep movsb");
  judge.require(policy.rep_movsb_min <= policy.rep_movsb_max, &CopyPolicy::rep_movsb_min,
                absl::StrFormat("at most rep_movsb_max, %d, or never", policy.rep_movsb_max));
}

}  // namespace

const CopyKernels& row_within(std::size_t vector_width) {
  for (const CopyKernels* row : built_copy_kernels()) {
    if (row->supported() && row->vector_width <= vector_width) return *row;
  }
  return kScalarKernels;
}

std::optional<PolicyRefusal> refuse_policy(const CopyPolicy& policy, const PolicyLimits& limits) {
  Judge judge(policy);
  judge.require(policy.inline_max <= kInlineCeiling, &CopyPolicy::inline_max,
                absl::StrFormat("at most %d", kInlineCeiling));
  judge_width(policy, limits.forced_row, judge);
  for (const LowerBound& bound : kLowerBounds) {
    judge.require(policy.*bound.field >= bound.least, bound.field,
                  absl::StrFormat("at least %d", bound.least));
  }
  judge.require(policy.stream_min > policy.inline_max, &CopyPolicy::stream_min,
                absl::StrFormat("more than inline_max, %d", policy.inline_max));
  judge.require(policy.stream_pages == 1 || policy.stream_pages == 8, &CopyPolicy::stream_pages,
                "1 or 8");
  judge_string_copies(policy, limits.string_copies, judge);
  return judge.refusal();
}

}  // namespace internal
}  // namespace vm_mem
