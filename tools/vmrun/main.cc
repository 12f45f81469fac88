// vmrun: the reference emulator. Reads the command line, builds the machine, runs it,
// reports.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "tools/command_line/signals.h"
#include "tools/vmrun/file.h"
#include "tools/vmrun/gdb_server.h"
#include "tools/vmrun/machine.h"
#include "tools/vmrun/machine_file.h"
#include "tools/vmrun/options.h"
#include "tools/vmrun/output_file.h"
#include "tools/vmrun/profile.h"
#include "tools/vmrun/progress.h"
#include "tools/vmrun/report.h"
#include "tools/vmrun/save_point.h"
#include "tools/vmrun/script.h"
#include "tools/vmrun/session.h"
#include "tools/vmrun/slots.h"
#include "tools/vmrun/state_hash.h"
#include "tools/vmrun/terminal.h"
#include "tools/vmrun/trace_file.h"
#include "vm_mem/simd_memcpy.h"

namespace vmrun {
namespace {

using Clock = std::chrono::steady_clock;

// fmt::print would throw where standard error cannot be written.
void complain(std::string_view text) {
  std::fputs(fmt::format("vmrun: {}\n", text).c_str(), stderr);
}
void complain(const absl::Status& status) {
  complain(std::string_view(status.message().data(), status.message().size()));
}

absl::StatusOr<std::unique_ptr<ConsolePeer>> make_peer(const Options& options) {
  if (options.script.empty()) return std::make_unique<Terminal>(STDIN_FILENO);
  const auto text = read_file(options.script);
  if (!text.ok()) return text.status();
  auto lines = script_lines(*text);
  if (lines.empty()) return absl::InvalidArgumentError(options.script + ": no line to type");
  return std::make_unique<Script>(std::move(lines));
}

// The files of the command line, which live until they are in the guest's memory.
struct BootContent {
  std::string firmware;
  std::string kernel;
  std::string initrd;
};

absl::StatusOr<BootContent> read_boot_files(const Options& options) {
  const struct {
    const std::string& path;
    std::string BootContent::*content;
  } files[] = {{options.firmware, &BootContent::firmware},
               {options.kernel, &BootContent::kernel},
               {options.initrd, &BootContent::initrd}};
  BootContent out;
  for (const auto& [path, content] : files) {
    if (path.empty()) continue;
    auto read = read_file(path, std::max(kMostFileBytes, options.memory_bytes));
    if (!read.ok()) return read.status();
    out.*content = *std::move(read);
  }
  return out;
}

BootFiles boot_files(const Options& options, const BootContent& content) {
  const auto file = [](const std::string& path, const std::string& bytes) {
    return BootFile{path, std::as_bytes(std::span(bytes))};
  };
  BootFiles files{.firmware = file(options.firmware, content.firmware),
                  .kernel = std::nullopt,
                  .initrd = std::nullopt,
                  .append = options.append,
                  .seed = options.seed};
  if (!options.kernel.empty()) files.kernel = file(options.kernel, content.kernel);
  if (!options.initrd.empty()) files.initrd = file(options.initrd, content.initrd);
  return files;
}

// Null where none was asked for.
absl::StatusOr<std::unique_ptr<TraceFile>> open_trace(const Options& options) {
  if (options.trace.empty()) return nullptr;
  return TraceFile::open(options.trace, options.trace_kinds);
}

// What the guest prints, on whichever of its consoles, is shown and heard.
using Print = std::function<void(char)>;

absl::StatusOr<std::unique_ptr<Machine>> make_machine(const Options& options, HostSlots& slots,
                                                      const Print& print, TraceFile* trace) {
  return Machine::create(
      {.memory_bytes = options.memory_bytes,
       .harts = options.harts,
       .disks = options.disks,
       .console = print,
       .iommu = options.iommu == IommuMode::kIdentity ? SlotIommu::kIdentity : SlotIommu::kNone,
       .devices = slots.take_devices(),
       .jit = options.cpu == CpuMode::kJit
                  ? std::optional(JitOptions{.memory_mode = options.memory_mode})
                  : std::nullopt,
       .loops = options.loops,
       .trace = trace == nullptr ? nullptr : &trace->trace()});
}

// Boots it, or brings it to where the snapshot was; null unless that goes on meanwhile.
absl::StatusOr<std::unique_ptr<vm_mem::LazyRestore>> begin(const Options& options, Machine& machine,
                                                           HostSlots& slots,
                                                           std::optional<MachineFile>& saved) {
  if (saved) {
    return saved->restore(machine, slots, options.snapshot.mode,
                          [](const std::string& text) { complain(text); });
  }
  const auto content = read_boot_files(options);
  if (!content.ok()) return content.status();
  if (absl::Status bad = machine.boot(boot_files(options, *content)); !bad.ok()) return bad;
  return nullptr;
}

// Null where none was asked for.
absl::StatusOr<std::unique_ptr<GdbServer>> await_debugger(const Options& options,
                                                          Machine& machine) {
  if (!options.gdb_port) return nullptr;
  auto server = GdbServer::listen(*options.gdb_port, machine);
  if (server.ok()) complain(fmt::format("waiting for gdb at 127.0.0.1:{}", (*server)->port()));
  return server;
}

std::optional<JitStatistics> jit_statistics(Machine& machine) {
  if (machine.hart().jit() == nullptr) return std::nullopt;
  JitStatistics sum;
  for (std::size_t number = 0; number < machine.hart_count(); ++number) {
    sum += machine.hart(number).jit()->statistics();
  }
  return sum;
}

Report make_report(Machine& machine, const SessionEnd& end, Clock::duration elapsed) {
  AccessCount scalar;
  for (std::size_t number = 0; number < machine.hart_count(); ++number) {
    Hart& hart = machine.hart(number);
    scalar.operations += hart.memory().accesses().operations;
    scalar.bytes += hart.memory().accesses().bytes;
  }
  Report report{.end = end_name(end.kind),
                .message = end.message,
                .isa = std::string(vm_mem::active_isa()),
                .instructions = machine.retired(),
                .wall_seconds = std::chrono::duration<double>(elapsed).count(),
                .pages_dirtied = machine.dirty_pages(),
                .iommu_faults = machine.iommu_faults(),
                .state_hash = std::nullopt,
                .jit = jit_statistics(machine),
                .profile = std::nullopt,
                .traffic = machine.memory().statistics()};
  auto& count = report.traffic.counts[static_cast<std::size_t>(vm_mem::Route::kCpu)]
                                     [static_cast<std::size_t>(vm_mem::CopyPath::kInline)];
  count.operations += scalar.operations;
  count.bytes += scalar.bytes;
  return report;
}

// The machine still has its disks locked, so that none of them is overwritten.
absl::Status write_stats(const std::string& path, const std::string& text) {
  const auto file = OutputFile::open(path);
  if (!file.ok()) return file.status();
  if (const absl::Status begun = (*file)->begin(); !begun.ok()) return begun;
  (*file)->output().put(text);
  return (*file)->finish();
}

absl::Status publish(const Options& options, const Report& report, Output& output) {
  const std::string text = options.stats == StatsFormat::kJson ? as_json(report) : as_text(report);
  if (!options.stats_file.empty()) return write_stats(options.stats_file, text);
  // What was lost before is an end of its own.
  if (output.broken()) return absl::OkStatus();
  if (!output.at_line_start()) output.put('\n');
  output.put(text);
  output.flush();
  return output.broken() ? absl::UnavailableError(output_loss(output)) : absl::OkStatus();
}

// Files are emptied once nothing else refuses the run.
absl::Status begin_files(TraceFile* trace, HostSlots& slots) {
  const absl::Status traced = trace == nullptr ? absl::OkStatus() : trace->file().begin();
  if (!traced.ok() || slots.console_file() == nullptr) return traced;
  return slots.console_file()->begin();
}

// Where keys go to the guest, the terminal is the guest's.
bool shows_progress(const Options& options) {
  return isatty(STDOUT_FILENO) != 0 && (!options.script.empty() || isatty(STDIN_FILENO) == 0);
}

// The peer, and with it the terminal's raw mode, is gone before anything is reported.
absl::StatusOr<SessionEnd> run_session(Machine& machine, std::unique_ptr<ConsolePeer>& peer,
                                       HostSlots& slots, Output& output, TraceFile* trace,
                                       GdbServer* debugger, const Options& options,
                                       SavePoint* save_point, const SavedSession* saved) {
  Session session(machine, *peer, slots, output, {options.timeout, options.instructions});
  if (save_point != nullptr) session.save_at(*save_point);
  const absl::Status resumed = saved == nullptr ? absl::OkStatus() : session.resume(*saved);
  if (!resumed.ok()) return resumed;
  if (trace != nullptr) session.follow(trace->file(), EndKind::kTraceLost);
  if (slots.console_file() != nullptr) session.follow(*slots.console_file(), EndKind::kConsoleLost);
  std::optional<Progress> progress;
  if (shows_progress(options)) {
    session.show_progress(progress.emplace(machine, output, options.instructions));
  }
  if (debugger != nullptr) session.obey(*debugger);
  SessionEnd end = session.run();
  peer.reset();
  return end;
}

// Those of the command line, with what the snapshot's machine brings.
absl::StatusOr<std::optional<MachineFile>> open_saved(Options& options) {
  if (!options.snapshot.save.empty()) {
    if (absl::Status bad = check_save_path(options); !bad.ok()) return bad;
  }
  if (options.snapshot.restore.empty()) return std::nullopt;
  auto file = MachineFile::open(options.snapshot.restore);
  if (!file.ok()) return file.status();
  if (absl::Status bad = adopt(file->spec(), options); !bad.ok()) return bad;
  return *std::move(file);
}

// A run that has been there already would never end.
absl::Status check_counts(const Options& options, Machine& machine) {
  const bool saves_at_count = !options.snapshot.save.empty() && options.snapshot.at.text.empty();
  const struct {
    const char* name;
    std::optional<std::uint64_t> count;
  } counts[] = {{"--instructions", options.instructions},
                {"--at instructions:",
                 saves_at_count ? std::optional(options.snapshot.at.instructions) : std::nullopt}};
  for (const auto& [name, count] : counts) {
    if (!count || *count > machine.retired()) continue;
    return absl::InvalidArgumentError(fmt::format("{} {}: the machine of {} has executed {}", name,
                                                  *count, options.snapshot.restore,
                                                  machine.retired()));
  }
  return absl::OkStatus();
}

int run(Options options) {
  command_line::note_signals();
  if (const auto status = vm_mem::startup_status(); !status.ok()) complain(status);
  Output output(STDOUT_FILENO);
  ConsolePeer* heard_by = nullptr;
  std::optional<SavePoint> save_point;
  const Print print = [&](char byte) {
    output.put(byte);
    if (heard_by != nullptr) heard_by->hear(byte);
    if (save_point) save_point->hear(byte);
  };
  auto saved = open_saved(options);
  if (!saved.ok()) return complain(saved.status()), 1;
  const auto trace = open_trace(options);
  if (!trace.ok()) return complain(trace.status()), 1;
  const auto slots = HostSlots::create(options.slots, print);
  if (!slots.ok()) return complain(slots.status()), 1;
  auto machine = make_machine(options, **slots, print, trace->get());
  if (!machine.ok()) return complain(machine.status()), 1;
  const auto lazy = begin(options, **machine, **slots, *saved);
  if (!lazy.ok()) return complain(lazy.status()), 1;
  if (const auto bad = check_counts(options, **machine); !bad.ok()) return complain(bad), 1;
  if (!options.snapshot.save.empty()) {
    save_point.emplace(
        options.snapshot.at,
        [&](const SavedSession& session) {
          return save_machine(**machine, **slots, options, session, lazy->get());
        },
        [&] { (*machine)->pause(); });
  }
  const Jit* const jit = (*machine)->hart().jit();
  if (jit != nullptr && !jit->fallback_reason().empty()) {
    complain("fastmem is not possible, translated code uses the soft TLB: " +
             jit->fallback_reason());
  }
  auto peer = make_peer(options);
  if (!peer.ok()) return complain(peer.status()), 1;
  heard_by = peer->get();
  std::unique_ptr<Profiler> profiler;
  if (options.profiling == Profiling::kOn) {
    auto started = Profiler::start();
    if (!started.ok()) return complain(started.status()), 1;
    profiler = *std::move(started);
  }
  const auto debugger = await_debugger(options, **machine);
  if (!debugger.ok()) return complain(debugger.status()), 1;
  if (const auto begun = begin_files(trace->get(), **slots); !begun.ok()) return complain(begun), 1;
  const auto start = Clock::now();
  const std::uint64_t before = (*machine)->retired();
  const auto ended =
      run_session(**machine, *peer, **slots, output, trace->get(), debugger->get(), options,
                  save_point ? &*save_point : nullptr, *saved ? &(*saved)->session() : nullptr);
  if (!ended.ok()) return complain(ended.status()), 1;
  const SessionEnd& end = *ended;
  Report report = make_report(**machine, end, Clock::now() - start);
  report.instructions_before = before;
  if (profiler != nullptr) report.profile = profiler->stop();
  if (options.seed || options.instructions) {
    const auto hash = state_hash(**machine);
    if (!hash.ok()) return complain(hash.status()), 1;
    report.state_hash = *hash;
  }
  const absl::Status published = publish(options, report, output);
  if (!published.ok()) complain(published);
  if (is_failure(end.kind) || end.kind == EndKind::kSaved) complain(end.message);
  return is_failure(end.kind) || !published.ok() ? 1 : 0;
}

}  // namespace
}  // namespace vmrun

int main(int argc, char** argv) {
  vmrun::occupy_standard_streams();
  const auto parsed = vmrun::parse_options(argc, argv);
  if (const auto* exit = std::get_if<vmrun::Exit>(&parsed)) {
    std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
    return exit->status;
  }
  return vmrun::run(std::get<vmrun::Options>(parsed));
}
