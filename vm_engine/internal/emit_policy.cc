// The policy table: what the back ends plan, size by size, runs of one plan as a row.
#include <algorithm>
#include <iterator>

#include "vm_engine/emit.h"
#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine {
namespace {

// Every plan ends or changes at one of these at the latest, or behind stub_max or
// inline_max.
constexpr std::uint64_t kPlainSizes = 1024;

void add_row(std::vector<EmitPolicyRow>& rows, const EmitPolicyRow& row) {
  if (!rows.empty()) {
    EmitPolicyRow& last = rows.back();
    if (last.in_register == row.in_register && last.form == row.form && last.why == row.why) {
      last.max_bytes = row.max_bytes;
      return;
    }
  }
  rows.push_back(row);
}

}  // namespace

std::string_view emit_form_name(EmitForm form) {
  constexpr std::string_view kNames[] = {"nothing", "words", "vectors", "masked", "stub", "call"};
  const auto index = static_cast<std::size_t>(form);
  return index < std::size(kNames) ? kNames[index] : "?";
}

absl::StatusOr<std::vector<EmitPolicyRow>> emit_policy(const EmitConfig& config) {
  const internal::BackEnd* const isa = internal::back_end_of(config.isa);
  if (isa == nullptr) return absl::InvalidArgumentError("no such ISA");
  if (absl::Status bad = internal::check_config(*isa, config); !bad.ok()) return bad;
  const std::uint64_t last =
      std::max({kPlainSizes, std::uint64_t{config.inline_max}, std::uint64_t{config.stub_max}}) + 1;
  std::vector<EmitPolicyRow> rows;
  for (std::uint64_t bytes = 0; bytes <= last; ++bytes) {
    const internal::Plan plan = isa->plan_copy(config, bytes);
    const std::uint64_t max = bytes == last ? UINT64_MAX : bytes;
    add_row(rows, {.min_bytes = bytes, .max_bytes = max, .form = plan.form, .why = plan.why});
  }
  for (const EmitPolicyRow& row : isa->plan_register_copy(config)) rows.push_back(row);
  return rows;
}

}  // namespace vm_engine
