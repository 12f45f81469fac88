#include "tools/vmmem/options.h"

#include <cmath>

#include <fmt/format.h>

#include "tools/command_line/parse.h"

namespace vmmem {
namespace {

constexpr const char* kDescription =
    "Shows, verifies and measures the copy core of vm_mem on this machine; looks at snapshots\n"
    "of guest memory, and converts them.";

constexpr const char* kFooter =
    "\nVM_MEM_ISA=ROW forces a row of the core, VM_MEM_POLICY=FILE loads limits that\n"
    "`vmmem calibrate` wrote. One that is wrong is an error to what measures and verifies, a\n"
    "warning to the others.\n"
    "\n"
    "Exit status: 0 on success, 1 on failure, 2 for a wrong command line; `snapshot diff` has\n"
    "those of diff(1).\n"
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
  bool alone = false;
  bool force = false;
  std::string compress = "none";
  std::optional<std::uint32_t> youngest;
  std::vector<std::string> regions;
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
    {Command::kSnapshot, "snapshot", "look at snapshots of guest memory, and convert them",
     "\nEach command has its own --help. What takes longer than a moment shows a line of\n"
     "progress where standard error is a terminal; Ctrl-C leaves nothing half-written.\n"
     "\nExample: vmmem snapshot verify guest.1\n"},
    {Command::kDemo, "demo", "a tour: what was found, is it correct, how fast is it",
     "\nExample: vmmem demo\n"},
};

struct SnapshotSpec {
  SnapshotCommand command;
  const char* name;
  const char* does;
  const char* file;   // what the arguments are called
  const char* other;  // nullptr: there is one alone
  const char* more;
};

constexpr SnapshotSpec kSnapshotSpecs[] = {
    {SnapshotCommand::kInspect, "inspect", "show what a file says of itself and of its parents",
     "FILE", nullptr,
     "\nReads tables alone, no pages; `snapshot verify` reads everything. A file whose parents\n"
     "cannot be read is shown alone.\n"
     "\nExample: vmmem snapshot inspect guest.1 --json\n"},
    {SnapshotCommand::kVerify, "verify", "read every byte of a file and its parents", "FILE",
     nullptr,
     "\nOne line that all is good, or one with file, offset and reason, and exit status 1.\n"
     "\nExample: vmmem snapshot verify guest.1\n"},
    {SnapshotCommand::kDiff, "diff", "tell which pages of memory and which states differ", "FIRST",
     "SECOND",
     "\nExit status: 0 where nothing differs, 1 where something does, 2 for trouble. What both\n"
     "have in common parents is not read.\n"
     "\nExample: vmmem snapshot diff guest.1 guest.2\n"},
    {SnapshotCommand::kMerge, "merge", "make one file of a snapshot and its parents", "TOP", "OUT",
     "\nThe files that are merged stay as they are. A file that is there already is kept, and\n"
     "the command fails, unless --force is given; then OUT is at any time the old file or the\n"
     "new one, and whole.\n"
     "\nExample: vmmem snapshot merge guest.7 guest.merged --youngest 3\n"},
    {SnapshotCommand::kExport, "export", "write a flat image, as Firecracker's memory file", "FILE",
     "IMAGE",
     "\nThe regions one after the other by guest address, with holes where memory is zero. An\n"
     "image has no checksums and no states.\n"
     "\nExample: vmmem snapshot export guest.1 guest.img\n"},
    {SnapshotCommand::kImport, "import", "make a snapshot of a flat image", "IMAGE", "OUT",
     "\nAn image does not say where its memory was: give each region, upwards, as the guest had\n"
     "them. All of them together are as long as the image.\n"
     "\nExample: vmmem snapshot import guest.img guest.0 --region 0x80000000:64M\n"},
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

bool writes(SnapshotCommand command) {
  return command == SnapshotCommand::kMerge || command == SnapshotCommand::kExport ||
         command == SnapshotCommand::kImport;
}

bool writes_snapshot(SnapshotCommand command) {
  return command == SnapshotCommand::kMerge || command == SnapshotCommand::kImport;
}

void add_snapshot_options(CLI::App& app, Typed& typed) {
  SnapshotRequest& request = typed.options.snapshot;
  app.require_subcommand(1);
  for (const SnapshotSpec& spec : kSnapshotSpecs) {
    CLI::App* sub = app.add_subcommand(spec.name, spec.does);
    sub->footer(spec.more);
    // Not required(): what is missing is told by snapshot_of().
    const bool reads_image = spec.command == SnapshotCommand::kImport;
    sub->add_option(spec.file, request.file, reads_image ? "a flat image" : "a snapshot")
        ->type_name("");
    if (spec.other != nullptr) {
      sub->add_option(spec.other, request.other, writes(spec.command) ? "to write" : "a snapshot")
          ->type_name("");
    }
    switch (spec.command) {
      case SnapshotCommand::kInspect:
      case SnapshotCommand::kDiff: sub->add_flag("--json", typed.json, "print JSON"); break;
      case SnapshotCommand::kVerify:
        sub->add_flag("--alone", typed.alone, "this file, and not its parents");
        break;
      case SnapshotCommand::kMerge:
        sub->add_option("--youngest", typed.youngest, "merge so many files, not all of the chain")
            ->type_name("N")
            ->take_last();
        break;
      case SnapshotCommand::kImport:
        sub->add_option("--region", typed.regions, "a region of memory; once for each")
            ->type_name("ADDRESS:SIZE")
            ->allow_extra_args(false);
        break;
      case SnapshotCommand::kExport: break;
    }
    if (writes_snapshot(spec.command)) {
      sub->add_option("--compress", typed.compress, "pages with none, lz4 or zstd [none]")
          ->type_name("WITH")
          ->check(CLI::IsMember({"none", "lz4", "zstd"}))
          ->take_last();
    }
    if (writes(spec.command)) {
      sub->add_flag("--force", typed.force,
                    std::string("replace ") + spec.other + " where it is there");
    }
  }
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
    if (spec.command == Command::kSnapshot) {
      add_snapshot_options(*sub, typed);
      continue;
    }
    sub->add_flag("--json", typed.json, "print JSON");
    if (spec.command == Command::kVerify) add_verify_options(*sub, typed);
    if (spec.command == Command::kBench) add_bench_options(*sub, typed);
    if (spec.command == Command::kCalibrate) add_calibrate_options(*sub, typed);
    if (spec.command == Command::kEmitPolicy) add_emit_options(*sub, typed);
  }
  return app;
}

std::optional<Exit> interpret_regions(const Typed& typed, SnapshotRequest& request) {
  for (const std::string& text : typed.regions) {
    const auto region = parse_region(text);
    if (!region) {
      return usage_error(fmt::format(
          "--region {}: want ADDRESS:SIZE of whole pages, such as 0x80000000:64M", text));
    }
    if (!request.regions.empty() && region->begin() < request.regions.back().end()) {
      return usage_error(fmt::format(
          "--region {}: regions are given upwards, as they lie in the image, without overlap",
          text));
    }
    request.regions.push_back(*region);
  }
  if (!request.regions.empty()) return std::nullopt;
  return usage_error("snapshot import: --region ADDRESS:SIZE is needed, once for each region");
}

std::optional<Exit> interpret_snapshot(const Typed& typed, const CLI::App& app,
                                       SnapshotRequest& request) {
  for (const SnapshotSpec& spec : kSnapshotSpecs) {
    if (!app.got_subcommand(spec.name)) continue;
    request.command = spec.command;
    const bool has_all = !request.file.empty() && (spec.other == nullptr || !request.other.empty());
    if (!has_all) {
      return usage_error(fmt::format("snapshot {}: want {}{}{} (see vmmem snapshot {} --help)",
                                     spec.name, spec.file, spec.other == nullptr ? "" : " and ",
                                     spec.other == nullptr ? "" : spec.other, spec.name));
    }
  }
  request.parents = typed.alone ? vm_mem::SnapshotParents::kIgnore : vm_mem::SnapshotParents::kOpen;
  request.compression = typed.compress == "lz4"    ? vm_mem::SnapshotCompression::kLz4
                        : typed.compress == "zstd" ? vm_mem::SnapshotCompression::kZstd
                                                   : vm_mem::SnapshotCompression::kNone;
  request.existing = typed.force ? Existing::kReplaced : Existing::kKept;
  if (typed.youngest == std::uint32_t{0}) {
    return usage_error("--youngest 0: a number from 1 on is needed");
  }
  request.youngest = typed.youngest.value_or(0);
  if (request.command == SnapshotCommand::kImport) return interpret_regions(typed, request);
  return std::nullopt;
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
  if (options.command == Command::kSnapshot) {
    if (auto exit = interpret_snapshot(typed, *app.get_subcommand("snapshot"), options.snapshot)) {
      return *std::move(exit);
    }
  }
  if (options.output.empty()) return usage_error("--output: a file name is needed");
  return options;
}

}  // namespace

std::variant<Options, Exit> parse_options(int argc, const char* const* argv) {
  Typed typed;
  const auto app = make_app(typed);
  const bool of_snapshots = argc > 1 && std::string_view(argv[1]) == "snapshot";
  const std::string_view want =
      of_snapshots ? "snapshot: want one of inspect, verify, diff, merge, export, import"
                   : "want one of info, verify, bench, calibrate, emit-policy, snapshot, demo";
  if (auto exit = command_line::parse(*app, argc, argv, want)) return *std::move(exit);
  return interpret(std::move(typed), *app);
}

std::optional<std::size_t> parse_copy_size(std::string_view text) {
  const auto bytes = command_line::parse_bytes(text, kMostBytes);
  return bytes == std::uint64_t{0} ? std::nullopt : bytes;
}

std::optional<vm_mem::GuestRange> parse_region(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos) return std::nullopt;
  const auto begin = command_line::parse_number(text.substr(0, colon));
  auto bytes = command_line::parse_bytes(text.substr(colon + 1), UINT64_MAX);
  if (!bytes) bytes = command_line::parse_number(text.substr(colon + 1));
  if (!begin || !bytes || *bytes == 0 || (*begin | *bytes) % vm_mem::kGuestPageBytes != 0) {
    return std::nullopt;
  }
  return vm_mem::GuestRange::make(vm_mem::GuestAddress{*begin}, *bytes);
}

}  // namespace vmmem
