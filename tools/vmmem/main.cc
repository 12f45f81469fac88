// vmmem: shows, verifies and measures the copy core; files of guest memory.

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "absl/status/statusor.h"
#include "tools/vmmem/bench.h"
#include "tools/vmmem/calibrate.h"
#include "tools/vmmem/console.h"
#include "tools/vmmem/demo.h"
#include "tools/vmmem/describe.h"
#include "tools/vmmem/emit_policy.h"
#include "tools/vmmem/options.h"
#include "tools/vmmem/policy_output.h"
#include "tools/vmmem/snapshot_command.h"
#include "tools/vmmem/verify.h"
#include "vm_mem/copy_rows.h"
#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

std::vector<vm_mem::CopyRow> supported_rows() {
  std::vector<vm_mem::CopyRow> rows = vm_mem::copy_rows();
  std::erase_if(rows, [](const vm_mem::CopyRow& row) { return !row.supported; });
  return rows;
}

// What verification goes through: the rows, then the entry points with their policy.
std::vector<vm_mem::CopyRow> verified_rows() {
  std::vector<vm_mem::CopyRow> rows = supported_rows();
  for (const vm_mem::CopyRow& row : entry_rows()) rows.push_back(row);
  return rows;
}

// All of `supported`, or those of them that are named.
absl::StatusOr<std::vector<vm_mem::CopyRow>> rows_wanted(
    const std::vector<vm_mem::CopyRow>& supported, const std::vector<std::string>& names) {
  std::string list;
  for (const vm_mem::CopyRow& row : supported) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", row.name);
  }
  if (names.empty()) return supported;
  std::vector<vm_mem::CopyRow> chosen;
  for (const std::string& name : names) {
    const auto found = std::find_if(supported.begin(), supported.end(),
                                    [&](const vm_mem::CopyRow& row) { return row.name == name; });
    if (found == supported.end()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: not a row of this machine; want one of {}", name, list));
    }
    chosen.push_back(*found);
  }
  return chosen;
}

int run_info(const Options& options) {
  const Description description = describe();
  return publish(options.format == Format::kJson ? describe_json(description)
                                                 : describe_text(description));
}

std::uint64_t drawn_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

int run_verify(const Options& options) {
  auto rows = rows_wanted(verified_rows(), options.rows);
  if (!rows.ok()) return complain(message_of(rows.status())), 2;
  VerifyResult result;
  {
    Progress progress("verify", STDERR_FILENO);
    result = verify({.rows = *std::move(rows),
                     .seed = options.seed ? *options.seed : drawn_seed(),
                     .time = options.time,
                     .one_case = options.one_case},
                    [&](double fraction) { progress.show(fraction); });
  }
  if (result.total == 0) return complain("verify: no memory to verify in"), 1;
  const int published =
      publish(options.format == Format::kJson ? verify_json(result) : verify_text(result));
  if (result.mismatch) complain("mismatch: " + reproducer(*result.mismatch, result.seed));
  return result.mismatch ? 1 : published;
}

int run_bench(const Options& options) {
  auto rows = rows_wanted(supported_rows(), options.rows);
  if (!rows.ok()) return complain(message_of(rows.status())), 2;
  BenchTable table;
  {
    Progress progress("bench", STDERR_FILENO);
    table = bench({.rows = *std::move(rows),
                   .sizes = options.sizes.empty() ? default_sizes() : options.sizes,
                   .time = options.time},
                  [&](double fraction) { progress.show(fraction); });
  }
  return publish(options.format == Format::kJson ? bench_json(table) : bench_text(table));
}

int run_calibrate(const Options& options) {
  // Before the measurement: a file that cannot be written is known then.
  absl::Status replaceable = check_replaceable(options.output);
  if (!replaceable.ok()) return complain(message_of(replaceable)), 1;
  absl::StatusOr<Calibration> calibration;
  {
    Progress progress("calibrate", STDERR_FILENO);
    calibration = calibrate(options.effort, [&](double fraction) { progress.show(fraction); });
  }
  if (!calibration.ok()) return complain(message_of(calibration.status())), 1;
  const absl::Status written =
      write_policy_file(options.output, vm_mem::copy_policy_text(calibration->policy));
  if (!written.ok()) return complain(message_of(written)), 1;
  return publish(options.format == Format::kJson ? calibration_json(*calibration, options.output)
                                                 : calibration_text(*calibration, options.output));
}

int run_emit_policy(const Options& options) {
  const vm_engine::Isa isa = isa_of(options.isa).value_or(vm_engine::default_emit_config().isa);
  const std::vector<EmitTable> tables = emit_tables(isa);
  return publish(options.format == Format::kJson ? emit_policy_json(isa, tables)
                                                 : emit_policy_text(isa, tables));
}

// Each part is shown as soon as it is there; JSON is one piece.
int run_demo(const Options& options) {
  const bool json = options.format == Format::kJson;
  const Style style = style_of_output();
  const Description description = describe();
  if (!json) publish(demo_found(description, style));
  const VerifyResult verified = [] {
    Progress progress("verify", STDERR_FILENO);
    return verify({.rows = verified_rows(),
                   .seed = drawn_seed(),
                   .time = std::chrono::seconds(2),
                   .one_case = {}},
                  [&](double fraction) { progress.show(fraction); });
  }();
  if (!json) publish(demo_verified(verified, style));
  const std::vector<DemoLine> lines = [] {
    Progress progress("time", STDERR_FILENO);
    return time_demo([&](double fraction) { progress.show(fraction); });
  }();
  const int published = publish(json ? demo_json(description, verified, lines)
                                     : demo_table(lines, style) + demo_next(style));
  if (verified.mismatch) complain("mismatch: " + reproducer(*verified.mismatch, verified.seed));
  return verified.mismatch ? 1 : published;
}

// What measures and verifies would otherwise do so to something else than was asked for.
bool needs_sound_environment(Command command) {
  return command == Command::kVerify || command == Command::kBench ||
         command == Command::kCalibrate;
}

int run(const Options& options) {
  const absl::Status startup = vm_mem::startup_status();
  if (!startup.ok()) {
    const bool fatal = needs_sound_environment(options.command);
    complain(fatal ? message_of(startup) : "warning: " + message_of(startup));
    if (fatal) return 1;
  }
  switch (options.command) {
    case Command::kInfo: return run_info(options);
    case Command::kVerify: return run_verify(options);
    case Command::kBench: return run_bench(options);
    case Command::kCalibrate: return run_calibrate(options);
    case Command::kEmitPolicy: return run_emit_policy(options);
    case Command::kDemo: return run_demo(options);
    case Command::kSnapshot: return run_snapshot(options.snapshot, options.format);
  }
  return 1;
}

}  // namespace
}  // namespace vmmem

int main(int argc, char** argv) {
  const auto parsed = vmmem::parse_options(argc, argv);
  if (const auto* exit = std::get_if<vmmem::Exit>(&parsed)) {
    std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
    return exit->status;
  }
  return vmmem::run(std::get<vmmem::Options>(parsed));
}
