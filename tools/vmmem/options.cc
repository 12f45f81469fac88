#include "tools/vmmem/options.h"

#include <cmath>

#include <fmt/format.h>

#include "tools/command_line/parse.h"

namespace vmmem {
namespace {

constexpr const char* kDescription =
    "Shows, verifies and measures the copy core of vm_mem on this machine.";

constexpr const char* kFooter =
    "\nVM_MEM_ISA=ROW forces a row of the core, VM_MEM_POLICY=FILE loads limits that\n"
    "`vmmem calibrate` wrote. One that is wrong is a warning to `info` and `demo`, an error\n"
    "to the others.\n"
    "\n"
    "Exit status: 0 on success, 1 on failure, 2 for a wrong command line.\n"
    "\n"
    "Example: vmmem demo\n";

constexpr double kMostSeconds = 86400;
constexpr std::size_t kMostBytes = std::size_t{256} << 20;

// What CLI11 fills in: as the user typed it.
struct Typed {
  Options options;
  bool json = false;
  bool quick = false;
  double seconds = 10;
  std::vector<std::string> sizes;
};

Exit usage_error(const std::string& text) { return command_line::usage_error("vmmem", text); }

struct Spec {
  Command command;
  const char* name;
  const char* does;
  const char* example;
};

constexpr Spec kSpecs[] = {
    {Command::kInfo, "info", "show the CPU, the rows of the core, the policy, caches and pages",
     "\nExample: vmmem info --json\n"},
    {Command::kVerify, "verify", "hold every row against a byte loop",
     "\nExample: vmmem verify --seconds 30 --seed 7 --isa avx2\n"},
    {Command::kBench, "bench", "time each row beside libc's memcpy",
     "\nEach figure is libc's time over the row's: above 1 the row is faster. This is a quick\n"
     "look at the same buffers again and again; tools/bench is the full suite.\n"
     "\nExample: vmmem bench --sizes 64,4K,1M --rows avx2,sse2\n"},
    {Command::kCalibrate, "calibrate", "measure this machine's limits and write a policy file",
     "\nTakes less than 20 seconds of an otherwise idle machine. A limit whose change would\n"
     "gain less than 3 % stays as it is.\n"
     "\nExample: vmmem calibrate --output my.policy && VM_MEM_POLICY=my.policy vmmem info\n"},
    {Command::kEmitPolicy, "emit-policy", "show which form emitted copies take, size by size",
     "\nThe table is what the emitter of vm_engine itself plans with its default limits.\n"
     "\nExample: vmmem emit-policy --isa aarch64\n"},
    {Command::kDemo, "demo", "a tour: what was found, is it correct, how fast is it",
     "\nExample: vmmem demo\n"},
};

void add_verify_options(CLI::App& app, Typed& typed) {
  app.add_option("--seconds", typed.seconds, "for how long [10]")->take_last();
  app.add_option("--seed", typed.options.seed, "of the cases; a new one each time without it")
      ->check(CLI::NonNegativeNumber)
      ->take_last();
  app.add_option("--isa", typed.options.rows, "these rows alone, such as avx2,sse2")
      ->type_name("ROW")
      ->delimiter(',');
  app.add_option("--case", typed.options.one_case, "only this case of the seed")
      ->check(CLI::NonNegativeNumber)
      ->take_last();
}

void add_bench_options(CLI::App& app, Typed& typed) {
  app.add_option("--seconds", typed.seconds, "for how long [10]")->take_last();
  app.add_option("--sizes", typed.sizes, "bytes to copy, with K or M")
      ->type_name("SIZE")
      ->delimiter(',');
  app.add_option("--rows", typed.options.rows, "these rows alone")
      ->type_name("ROW")
      ->delimiter(',');
}

void add_calibrate_options(CLI::App& app, Typed& typed) {
  app.add_option("--output", typed.options.output, "the policy file to write")
      ->type_name("FILE")
      ->take_last()
      ->capture_default_str();
  app.add_flag("--quick", typed.quick, "a quarter of the time, more noise");
}

void add_emit_options(CLI::App& app, Typed& typed) {
  app.add_option("--isa", typed.options.isa, "code for x86-64 or aarch64 [this machine's]")
      ->type_name("ISA")
      ->check(CLI::IsMember({"x86-64", "aarch64"}))
      ->take_last();
}

std::unique_ptr<CLI::App> make_app(Typed& typed) {
  auto app = std::make_unique<CLI::App>(kDescription, "vmmem");
  app->footer(kFooter);
  app->set_version_flag("--version", std::string("vmmem ") + VMMEM_VERSION);
  app->require_subcommand(1);
  typed.options.output = "vm_mem.policy";
  for (const Spec& spec : kSpecs) {
    CLI::App* sub = app->add_subcommand(spec.name, spec.does);
    sub->footer(spec.example);
    sub->add_flag("--json", typed.json, "print JSON");
    if (spec.command == Command::kVerify) add_verify_options(*sub, typed);
    if (spec.command == Command::kBench) add_bench_options(*sub, typed);
    if (spec.command == Command::kCalibrate) add_calibrate_options(*sub, typed);
    if (spec.command == Command::kEmitPolicy) add_emit_options(*sub, typed);
  }
  return app;
}

std::variant<Options, Exit> interpret(Typed typed, const CLI::App& app) {
  Options options = std::move(typed.options);
  for (const Spec& spec : kSpecs) {
    if (app.got_subcommand(spec.name)) options.command = spec.command;
  }
  options.format = typed.json ? Format::kJson : Format::kText;
  options.effort = typed.quick ? Effort::kQuick : Effort::kFull;
  if (!std::isfinite(typed.seconds) || typed.seconds <= 0 || typed.seconds > kMostSeconds) {
    return usage_error("--seconds: a positive number, at most 86400, is needed");
  }
  options.time = std::chrono::milliseconds(std::llround(std::ceil(typed.seconds * 1000)));
  for (const std::string& size : typed.sizes) {
    const auto bytes = parse_copy_size(size);
    if (!bytes) return usage_error(fmt::format("--sizes {}: not a size from 1 to 256M", size));
    options.sizes.push_back(*bytes);
  }
  if (options.output.empty()) return usage_error("--output: a file name is needed");
  return options;
}

}  // namespace

std::variant<Options, Exit> parse_options(int argc, const char* const* argv) {
  Typed typed;
  const auto app = make_app(typed);
  constexpr std::string_view kWant =
      "want one of info, verify, bench, calibrate, emit-policy, demo";
  if (auto exit = command_line::parse(*app, argc, argv, kWant)) return *std::move(exit);
  return interpret(std::move(typed), *app);
}

std::optional<std::size_t> parse_copy_size(std::string_view text) {
  const auto bytes = command_line::parse_bytes(text, kMostBytes);
  return bytes == std::uint64_t{0} ? std::nullopt : bytes;
}

}  // namespace vmmem
