#include "tools/vmmem/describe.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tools/vmmem/console.h"
#include "tools/vmmem/limit_json.h"
#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

using vm_mem::CopyRow;
using vm_mem::HostCpu;

std::string rows_named(const std::vector<CopyRow>& rows, bool (*wanted)(const CopyRow&)) {
  std::string names;
  for (const CopyRow& row : rows) {
    if (!wanted(row)) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  }
  return names;
}
bool is_built(const CopyRow&) { return true; }
bool is_supported(const CopyRow& row) { return row.supported; }

// What the core makes use of.
std::string features_of(const HostCpu& cpu) {
  const std::pair<bool, const char*> features[] = {
      {vm_mem::has_sse2(), "SSE2"},
      {vm_mem::has_avx2(), "AVX2"},
      {vm_mem::has_avx512(), "AVX-512 F BW DQ VL, BMI2"},
      {vm_mem::has_neon(), "NEON"},
      {cpu.fast_rep_movsb, "ERMS"},
      {cpu.fast_short_rep_movsb, "FSRM"}};
  std::string names;
  for (const auto& [present, name] : features) {
    if (present) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  }
  return names.empty() ? "none that the core uses" : names;
}

std::string cache_name(std::size_t bytes) { return bytes == 0 ? "unknown" : size_name(bytes); }

std::string line(std::string_view name, std::string_view value) {
  return fmt::format("{:<18} {}\n", name, value);
}

std::string cpu_text(const Description& description) {
  const HostCpu& cpu = description.cpu;
  const vm_mem::CacheSizes& caches = cpu.caches;
  std::string text = line("CPU", vm_mem::cpu_identity(cpu));
  text += line("vectors", description.simd);
  text += line("features", description.features);
  if (cpu.vendor != vm_mem::CpuVendor::kArm) {
    text += line("OS saves", saved_register_files(cpu.saved_state));
  }
  text += line("caches",
               fmt::format("L1d {}, L2 {}, L3 {}, lines of {} bytes", cache_name(caches.l1d),
                           cache_name(caches.l2), cache_name(caches.l3), cache_name(caches.line)));
  return text;
}

std::string machine_text(const Machine& machine) {
  std::string pools;
  for (const HugePagePool& pool : machine.pools) {
    pools += fmt::format("{}{}: {} of {} free", pools.empty() ? "" : ", ",
                         size_name(pool.page_bytes), pool.free_pages, pool.pages);
  }
  return line("pages", size_name(machine.page_bytes)) +
         line("huge pages",
              fmt::format("transparent: {}; pools: {}", machine.transparent_huge_pages,
                          pools.empty() ? "none" : pools)) +
         line("system", fmt::format("{}, {}", machine.kernel, machine.libc));
}

std::string policy_text(const Description& description) {
  std::string text = "policy\n";
  for (const vm_mem::CopyPolicyField& field : vm_mem::copy_policy_fields()) {
    text += fmt::format("  {:<18} {:>8}   {}\n", field.name,
                        limit_name(field.name, description.policy.*field.member),
                        source_of(field.name, description.origin));
  }
  return text;
}

void add_machine(const Machine& machine, Json& json) {
  json.open_object("machine");
  json.add("page_bytes", std::uint64_t{machine.page_bytes});
  json.add("transparent_huge_pages", machine.transparent_huge_pages);
  json.open_array("huge_page_pools");
  for (const HugePagePool& pool : machine.pools) {
    json.open_object("");
    json.add("page_bytes", std::uint64_t{pool.page_bytes});
    json.add("pages", pool.pages);
    json.add("free_pages", pool.free_pages);
    json.close();
  }
  json.close();
  json.add("kernel", machine.kernel);
  json.add("libc", machine.libc);
  json.close();
}

void add_cpu(const Description& description, Json& json) {
  const HostCpu& cpu = description.cpu;
  json.open_object("cpu");
  json.add("identity", vm_mem::cpu_identity(cpu));
  json.add("brand", cpu.brand);
  json.add("vendor", cpu.vendor_name);
  json.add("family", std::uint64_t{cpu.family});
  json.add("model", std::uint64_t{cpu.model});
  json.add("stepping", std::uint64_t{cpu.stepping});
  json.add("vectors", description.simd);
  json.add("features", description.features);
  json.add_flag("erms", cpu.fast_rep_movsb);
  json.add_flag("fsrm", cpu.fast_short_rep_movsb);
  json.add("xcr0", std::uint64_t{cpu.saved_state});
  json.add("l1d_bytes", std::uint64_t{cpu.caches.l1d});
  json.add("l2_bytes", std::uint64_t{cpu.caches.l2});
  json.add("l3_bytes", std::uint64_t{cpu.caches.l3});
  json.add("line_bytes", std::uint64_t{cpu.caches.line});
  json.close();
}

void add_rows(const Description& description, Json& json) {
  json.open_array("rows");
  for (const CopyRow& row : description.rows) {
    json.open_object("");
    json.add("name", row.name);
    json.add("vector_width", std::uint64_t{row.vector_width});
    json.add_flag("supported", row.supported);
    json.close();
  }
  json.close();
  json.add("row", description.row);
  json.add("row_reason", why(description));
}

void add_policy(const Description& description, Json& json) {
  json.open_object("policy");
  for (const vm_mem::CopyPolicyField& field : vm_mem::copy_policy_fields()) {
    json.open_object(field.name);
    add_limit(json, "value", description.policy.*field.member);
    json.add("source", source_of(field.name, description.origin));
    json.close();
  }
  json.close();
}

}  // namespace

Description describe() {
  return {.cpu = vm_mem::host_cpu(),
          .simd = std::string(vm_mem::simd_feature_name()),
          .features = features_of(vm_mem::host_cpu()),
          .machine = look_at_machine(),
          .rows = vm_mem::copy_rows(),
          .row = std::string(vm_mem::active_isa()),
          .choice = vm_mem::row_choice(),
          .policy = vm_mem::copy_policy(),
          .origin = vm_mem::copy_policy_origin(),
          .startup = vm_mem::startup_status()};
}

std::string why(const Description& description) {
  switch (description.choice) {
    case vm_mem::RowChoice::kForced: return "forced by VM_MEM_ISA";
    case vm_mem::RowChoice::kNarrower:
      return fmt::format("kept at {} bits by the policy ({})", 8 * description.policy.vector_width,
                         source_of("vector_width", description.origin));
    case vm_mem::RowChoice::kBest: break;
  }
  return "the best that this machine supports";
}

std::string source_of(std::string_view field, const vm_mem::CopyPolicyOrigin& origin) {
  const auto& given = origin.file_fields;
  if (std::find(given.begin(), given.end(), field) != given.end()) return origin.file;
  return fmt::format("default for {}", origin.defaults);
}

std::string describe_text(const Description& description) {
  std::string text = cpu_text(description) + machine_text(description.machine);
  text += line("rows built", rows_named(description.rows, is_built));
  text += line("rows supported", rows_named(description.rows, is_supported));
  text += line("row in use", fmt::format("{}: {}", description.row, why(description)));
  text += policy_text(description);
  if (!description.startup.ok()) {
    text += line("warning", std::string(description.startup.message()));
  }
  return text;
}

std::string describe_json(const Description& description) {
  Json json;
  add_cpu(description, json);
  add_machine(description.machine, json);
  add_rows(description, json);
  add_policy(description, json);
  json.add("warning", std::string(description.startup.message()));
  return std::move(json).text();
}

}  // namespace vmmem
