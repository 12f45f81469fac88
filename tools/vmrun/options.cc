#include "tools/vmrun/options.h"

#include <cmath>

#include <fmt/format.h>

#include "tools/command_line/parse.h"
#include "tools/vmrun/device_tree.h"
#include "tools/vmrun/layout.h"

namespace vmrun {
namespace {

constexpr const char* kDescription =
    "Runs a RISC-V guest (RV64GC; M, S and U mode) on a machine like QEMU's \"virt\", every "
    "byte\n"
    "of whose memory goes through this project's libraries.";

constexpr const char* kFooter =
    "\nOn a terminal every key goes to the guest; Ctrl-A x quits. Without one, standard input\n"
    "is typed as it is, and the run ends when it has ended and the guest waits for more.\n"
    "\n"
    "A script has one line to type each line; blank ones and those that begin with # are\n"
    "skipped. Each is typed when the guest shows the prompt '=> '; when the prompt appears\n"
    "and none is left, the run ends. Automatic boot is stopped with a key.\n"
    "\n"
    "Standard output is the guest's console, then the report: a table, or one line of JSON,\n"
    "which is the last line. --stats-file keeps it apart. The guest's time follows the\n"
    "instructions (100 million a second), and leaps where the guest idles.\n"
    "Of an option given again the last one counts; each --disk is another disk, each --net\n"
    "another card. Slots are taken by disks, networks, console and entropy in this order.\n"
    "\n"
    "Exit status: 0 when the guest switched off or reset, the script or the input ended, the\n"
    "instructions asked for are executed, the machine is saved, or the user quit; 1 on failure,\n"
    "a timeout included; 2 for a wrong command line.\n";

constexpr double kMostSeconds = 1e9;

// What CLI11 fills in: as the user typed it.
struct Typed {
  Options options;
  std::string firmware;
  std::string memory;
  std::vector<std::string> disks;
  std::vector<std::string> nets;
  std::string console;
  std::string seed;
  std::string instructions;
  int harts = 1;
  double timeout = 0;
  std::string cpu = "interpreter";
  std::string memory_mode = "softtlb";
  std::string loops = "recognise";
  std::string iommu = "off";
  std::string stats = "text";
  std::string trace_what = "insn";
  bool profile = false;
  std::string gdb;
  TypedSnapshot snapshot;
};

void add_cpu_options(CLI::App& app, Typed& typed) {
  app.add_option("--cpu", typed.cpu, "interpreter, or jit (x86-64 hosts)")
      ->type_name("MODE")
      ->take_last()
      ->capture_default_str();
  app.add_option("--memory-mode", typed.memory_mode,
                 "how translated code reaches memory: softtlb, or fastmem where that is possible")
      ->type_name("MODE")
      ->take_last()
      ->capture_default_str();
  app.add_option(
         "--loops", typed.loops,
         "the guest's loops that copy or fill memory: recognise (many iterations at once),\n"
         "or plain")
      ->type_name("MODE")
      ->take_last()
      ->capture_default_str();
  app.add_option("--harts", typed.harts, "1 to 8; they take turns")
      ->type_name("NUMBER")
      ->take_last()
      ->capture_default_str();
}

void add_boot_options(CLI::App& app, Typed& typed) {
  app.add_option("--firmware", typed.firmware,
                 "M-mode image for 0x80000000, or ELF program\n[" + std::string(kDefaultFirmware) +
                     ";\nwith --kernel " + std::string(kDefaultSbi) + "]")
      ->type_name("FILE")
      ->take_last();
  app.add_option("--kernel", typed.options.kernel,
                 "what OpenSBI starts in S-mode: a Linux Image, an ELF program, or an image for\n"
                 "0x80200000")
      ->type_name("FILE")
      ->take_last();
  app.add_option("--initrd", typed.options.initrd, "initial RAM disk of the kernel")
      ->type_name("FILE")
      ->take_last();
  app.add_option("--append", typed.options.append, "command line of the kernel")
      ->type_name("TEXT")
      ->take_last();
  app.add_option("--memory", typed.memory, "RAM: a number with K, M or G [128M]")
      ->type_name("SIZE")
      ->take_last();
}

void add_device_options(CLI::App& app, Typed& typed) {
  app.add_option("--disk", typed.disks,
                 "raw disk image for a virtio-blk; \"FILE,readonly\" is not written; repeatable")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  app.add_option("--net", typed.nets,
                 "a virtio-net: none (no cable), loop (what it sends comes back), or\n"
                 "dgram:LOCAL,PEER (datagrams between two local sockets); repeatable")
      ->type_name("TO")
      ->expected(1)
      ->take_all();
  app.add_option("--console", typed.console,
                 "a virtio-console that prints into FILE; \"-\": on the user's terminal, to be\n"
                 "typed to as soon as the guest uses it")
      ->type_name("FILE")
      ->take_last();
  app.add_flag("--rng", typed.options.slots.has_rng,
               "a virtio-rng: the host's entropy, or the seed's");
  app.add_option("--iommu", typed.iommu,
                 "what the slots' DMA passes: off, or identity (an IOMMU that maps RAM to itself)")
      ->type_name("MODE")
      ->take_last()
      ->capture_default_str();
}

void add_run_options(CLI::App& app, Typed& typed) {
  app.add_option("--script", typed.options.script, "lines to type at the guest's prompt")
      ->type_name("FILE")
      ->take_last();
  app.add_option("--seed", typed.seed,
                 "all chance comes from this number; the report has a hash of the final state")
      ->type_name("NUMBER")
      ->take_last();
  app.add_option("--instructions", typed.instructions,
                 "end the run after so many, at the end of a block; with the same hash")
      ->type_name("NUMBER")
      ->take_last();
  app.add_option("--timeout", typed.timeout, "end the run after so much real time")
      ->type_name("SECONDS")
      ->take_last();
  app.add_option("--stats", typed.stats, "the report at the end: text or json")
      ->type_name("FORMAT")
      ->take_last()
      ->capture_default_str();
  app.add_flag("--profile", typed.profile,
               "sample where the time goes: by route, and how much of it into copies");
  app.add_option("--stats-file", typed.options.stats_file, "write the report there")
      ->type_name("FILE")
      ->take_last();
}

void add_inspection_options(CLI::App& app, Typed& typed) {
  app.add_option(
         "--gdb", typed.gdb,
         "wait for GDB on this port of 127.0.0.1, and obey it; 0: a free one, which is said")
      ->type_name("PORT")
      ->take_last();
  app.add_option("--trace", typed.options.trace,
                 "write what the guest does there, a line an event; - is standard error")
      ->type_name("FILE")
      ->take_last();
  app.add_option("--trace-what", typed.trace_what,
                 "a list of insn (interpreted, then), block, trap and mmio")
      ->type_name("LIST")
      ->take_last()
      ->capture_default_str();
}

void add_snapshot_options(CLI::App& app, TypedSnapshot& typed) {
  app.add_option("--save", typed.save, "write the machine to FILE where --at says, and end the run")
      ->type_name("FILE")
      ->take_last();
  app.add_option("--at", typed.at,
                 "when the guest has printed this text, such as '=> '; or instructions:NUMBER;\n"
                 "text:TEXT is a text, however it begins")
      ->type_name("MARK")
      ->take_last();
  app.add_option("--restore", typed.restore,
                 "go on with the machine of FILE: its memory, harts and devices; disks, and\n"
                 "--console FILE, are given again")
      ->type_name("FILE")
      ->take_last();
  app.add_flag("--lazy", typed.lazy, "bring its memory as the guest touches it");
}

std::unique_ptr<CLI::App> make_app(Typed& typed) {
  auto app = std::make_unique<CLI::App>(kDescription, "vmrun");
  app->footer(kFooter);
  app->set_version_flag("--version", std::string("vmrun ") + VMRUN_VERSION);
  add_boot_options(*app, typed);
  add_cpu_options(*app, typed);
  add_device_options(*app, typed);
  add_run_options(*app, typed);
  add_snapshot_options(*app, typed.snapshot);
  add_inspection_options(*app, typed);
  return app;
}

Exit usage_error(const std::string& text) { return command_line::usage_error("vmrun", text); }

// The first option whose file has an empty name; null: there is none.
const char* option_without_file(const Options& options, const CLI::App& app) {
  for (const DiskFile& disk : options.disks) {
    if (disk.path.empty()) return "--disk";
  }
  if (options.slots.console == "") return "--console";
  if (options.firmware.empty()) return "--firmware";
  if (app.count("--kernel") != 0 && options.kernel.empty()) return "--kernel";
  if (app.count("--initrd") != 0 && options.initrd.empty()) return "--initrd";
  if (app.count("--script") != 0 && options.script.empty()) return "--script";
  if (app.count("--stats-file") != 0 && options.stats_file.empty()) return "--stats-file";
  if (app.count("--trace") != 0 && options.trace.empty()) return "--trace";
  return nullptr;
}

// What executes the guest; the error where that cannot be.
std::optional<Exit> read_cpu(const Typed& typed, Options& options) {
  if (typed.cpu != "interpreter" && typed.cpu != "jit") {
    return usage_error(fmt::format("--cpu {}: interpreter and jit are possible", typed.cpu));
  }
  options.cpu = typed.cpu == "jit" ? CpuMode::kJit : CpuMode::kInterpreter;
  if (typed.memory_mode != "softtlb" && typed.memory_mode != "fastmem") {
    return usage_error(
        fmt::format("--memory-mode {}: softtlb and fastmem are possible", typed.memory_mode));
  }
  options.memory_mode =
      typed.memory_mode == "fastmem" ? MemoryMode::kFastmem : MemoryMode::kSoftTlb;
  if (typed.loops != "recognise" && typed.loops != "plain") {
    return usage_error(fmt::format("--loops {}: recognise and plain are possible", typed.loops));
  }
  options.loops = typed.loops == "plain" ? LoopMode::kPlain : LoopMode::kRecognised;
  if (typed.harts < 1 || typed.harts > static_cast<int>(kMostHarts)) {
    return usage_error(fmt::format("--harts {}: 1 to {} are possible", typed.harts, kMostHarts));
  }
  options.harts = static_cast<unsigned>(typed.harts);
  return std::nullopt;
}

// How to look inside; the error where that cannot be.
std::optional<Exit> read_inspection(const Typed& typed, const CLI::App& app, Options& options) {
  if (app.count("--gdb") != 0) {
    const auto port = parse_number(typed.gdb);
    if (!port || *port > UINT16_MAX) {
      return usage_error(fmt::format("--gdb {}: a port from 0 to 65535 is needed", typed.gdb));
    }
    options.gdb_port = static_cast<std::uint16_t>(*port);
  }
  if (app.count("--trace-what") != 0 && options.trace.empty()) {
    return usage_error("--trace-what: needs --trace");
  }
  const auto kinds = parse_trace_kinds(typed.trace_what);
  if (!kinds) {
    return usage_error(fmt::format(
        "--trace-what {}: a list such as insn,trap of insn, block, trap and mmio is needed",
        typed.trace_what));
  }
  options.trace_kinds = *kinds;
  return std::nullopt;
}

std::optional<Exit> read_memory(const Typed& typed, const CLI::App& app, Options& options) {
  if (app.count("--memory") == 0) return std::nullopt;
  const auto bytes = parse_size(typed.memory);
  if (!bytes) return usage_error(fmt::format("--memory {}: not a size such as 128M", typed.memory));
  if (*bytes < kLeastMemoryBytes || *bytes > kMostMemoryBytes) {
    return usage_error(fmt::format("--memory {}: between 16M and 64G is possible", typed.memory));
  }
  options.memory_bytes = *bytes;
  return std::nullopt;
}

std::optional<Exit> read_slots(const Typed& typed, const CLI::App& app, Options& options) {
  for (const std::string& disk : typed.disks) options.disks.push_back(parse_disk(disk));
  for (const std::string& text : typed.nets) {
    const auto net = parse_net(text);
    if (!net) {
      return usage_error(
          fmt::format("--net {}: none, loop and dgram:LOCAL,PEER are possible", text));
    }
    options.slots.nets.push_back(*net);
  }
  if (app.count("--console") != 0) options.slots.console = typed.console;
  if (typed.iommu != "off" && typed.iommu != "identity") {
    return usage_error(fmt::format("--iommu {}: off and identity are possible", typed.iommu));
  }
  options.iommu = typed.iommu == "identity" ? IommuMode::kIdentity : IommuMode::kOff;
  return std::nullopt;
}

// What determines the run, and what ends it.
std::optional<Exit> read_limits(const Typed& typed, const CLI::App& app, Options& options) {
  if (app.count("--timeout") != 0) {
    if (!std::isfinite(typed.timeout) || typed.timeout <= 0 || typed.timeout > kMostSeconds) {
      return usage_error("--timeout: a positive number of seconds is needed");
    }
    options.timeout = std::chrono::milliseconds(std::llround(std::ceil(typed.timeout * 1000)));
  }
  if (app.count("--seed") != 0) {
    options.seed = parse_number(typed.seed);
    if (!options.seed) return usage_error(fmt::format("--seed {}: not a number", typed.seed));
    options.slots.seed = options.seed;
  }
  if (app.count("--instructions") != 0) {
    options.instructions = parse_number(typed.instructions);
    if (options.instructions.value_or(0) == 0) {
      return usage_error(
          fmt::format("--instructions {}: a number above 0 is needed", typed.instructions));
    }
  }
  return std::nullopt;
}

std::optional<Exit> check_kernel_options(const Options& options, const CLI::App& app) {
  for (const char* name : {"--initrd", "--append"}) {
    if (app.count(name) != 0 && options.kernel.empty()) {
      return usage_error(fmt::format("{}: needs --kernel", name));
    }
  }
  if (options.append.size() > kMostCommandLineBytes) {
    return usage_error(
        fmt::format("--append: at most {} characters are possible", kMostCommandLineBytes));
  }
  return std::nullopt;
}

std::variant<Options, Exit> interpret(Typed typed, const CLI::App& app) {
  Options options = std::move(typed.options);
  if (app.count("--firmware") != 0) {
    options.firmware = typed.firmware;
  } else if (!options.kernel.empty()) {
    options.firmware = kDefaultSbi;
  }
  const auto is_given = [&](const char* name) { return app.count(name) != 0; };
  if (auto refused = read_snapshot_options(typed.snapshot, is_given, options.snapshot)) {
    return *std::move(refused);
  }
  if (auto refused = read_memory(typed, app, options)) return *std::move(refused);
  if (auto refused = read_cpu(typed, options)) return *std::move(refused);
  if (app.count("--memory-mode") != 0 && options.cpu != CpuMode::kJit) {
    return usage_error("--memory-mode: needs --cpu jit");
  }
  if (auto refused = read_slots(typed, app, options)) return *std::move(refused);
  if (auto refused = read_limits(typed, app, options)) return *std::move(refused);
  if (auto refused = read_inspection(typed, app, options)) return *std::move(refused);
  if (typed.stats != "text" && typed.stats != "json") {
    return usage_error(fmt::format("--stats {}: text and json are possible", typed.stats));
  }
  options.profiling = typed.profile ? Profiling::kOn : Profiling::kOff;
  options.stats = typed.stats == "json" ? StatsFormat::kJson : StatsFormat::kText;
  if (const char* name = option_without_file(options, app)) {
    return usage_error(fmt::format("{}: a file name is needed", name));
  }
  if (auto refused = check_kernel_options(options, app)) return *std::move(refused);
  return options;
}

}  // namespace

std::variant<Options, Exit> parse_options(int argc, const char* const* argv) {
  Typed typed;
  const auto app = make_app(typed);
  if (auto exit = command_line::parse(*app, argc, argv)) return *std::move(exit);
  return interpret(std::move(typed), *app);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto bytes = command_line::parse_bytes(text, UINT64_MAX);
  return bytes.has_value() && *bytes % 4096 == 0 ? bytes : std::nullopt;
}

}  // namespace vmrun
