#include "tools/vmmem/emit_policy.h"

#include <array>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "tools/vmmem/limit_json.h"

namespace vmmem {
namespace {

using vm_engine::AddressMode;
using vm_engine::EmitConfig;
using vm_engine::EmitPolicyRow;
using vm_engine::Isa;

constexpr std::size_t kStubBytes = 16 << 10;

std::string_view name_of(Isa isa) { return isa == Isa::kX86_64 ? "x86-64" : "aarch64"; }

std::string_view name_of(vm_engine::VectorLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"sse2", "avx2", "avx512", "neon"};
  return kNames.at(static_cast<std::size_t>(level));
}

EmitConfig config_for(Isa isa) {
  const EmitConfig native = vm_engine::default_emit_config();
  return native.isa == isa ? native : vm_engine::default_emit_config(isa);
}

void add_table(std::vector<EmitTable>& tables, std::string mode, const EmitConfig& config) {
  auto rows = emit_policy(config);
  if (!rows.ok()) return;
  tables.push_back({.mode = std::move(mode),
                    .level = std::string(name_of(config.level)),
                    .stubs = config.stubs != nullptr,
                    .rows = *std::move(rows)});
}

std::string range_of(const EmitPolicyRow& row) {
  if (row.max_bytes == UINT64_MAX) return fmt::format("{} and more", row.min_bytes);
  if (row.min_bytes == row.max_bytes) return fmt::format("{}", row.min_bytes);
  return fmt::format("{} to {}", row.min_bytes, row.max_bytes);
}

}  // namespace

std::optional<Isa> isa_of(std::string_view name) {
  for (const Isa isa : {Isa::kX86_64, Isa::kAArch64}) {
    if (name == name_of(isa)) return isa;
  }
  return std::nullopt;
}

std::vector<EmitTable> emit_tables(Isa isa) {
  std::vector<EmitTable> tables;
  EmitConfig config = config_for(isa);
  add_table(tables, "host pointers", config);
  std::vector<std::byte> bytes(kStubBytes);
  vm_engine::CodeBuffer buffer{.bytes = bytes};
  vm_engine::Stubs stubs;
  // Where the code would call is of no interest here, but is asked for.
  EmitConfig with_stubs = config;
  with_stubs.helpers = {.memcpy_raw = 1, .memset_raw = 1};
  if (emit_stubs(buffer, with_stubs, stubs).ok()) {
    with_stubs.stubs = &stubs;
    add_table(tables, "host pointers, near stubs", with_stubs);
  }
  config.address_mode = AddressMode::kSoftTlb;
  add_table(tables, "guest addresses, soft TLB", config);
  config.address_mode = AddressMode::kFastmem;
  add_table(tables, "guest addresses, fastmem", config);
  return tables;
}

std::string emit_policy_text(Isa isa, const std::vector<EmitTable>& tables) {
  std::string text;
  for (const EmitTable& table : tables) {
    text += fmt::format("{}{} {}: {}\n", text.empty() ? "" : "\n", name_of(isa), table.level,
                        table.mode);
    for (const EmitPolicyRow& row : table.rows) {
      text += fmt::format("  {:8} {:13} {:8} {}\n", row.in_register ? "register" : "constant",
                          range_of(row), emit_form_name(row.form), row.why);
    }
  }
  return text;
}

std::string emit_policy_json(Isa isa, const std::vector<EmitTable>& tables) {
  Json json;
  json.add("isa", name_of(isa));
  json.open_array("tables");
  for (const EmitTable& table : tables) {
    json.open_object("");
    json.add("mode", table.mode);
    json.add("level", table.level);
    json.add_flag("stubs", table.stubs);
    json.open_array("rows");
    for (const EmitPolicyRow& row : table.rows) {
      json.open_object("");
      json.add("size", row.in_register ? "register" : "constant");
      json.add("min_bytes", row.min_bytes);
      add_limit(json, "max_bytes", row.max_bytes);
      json.add("form", emit_form_name(row.form));
      json.add("why", row.why);
      json.close();
    }
    json.close();
    json.close();
  }
  return std::move(json).text();
}

}  // namespace vmmem
