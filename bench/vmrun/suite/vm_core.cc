// The vm suite, the copy core within it: the same guest with one row of the core and another.

#include <fmt/core.h>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/suite.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

constexpr std::size_t kDiskBytes = 8 << 20;

Command guest_on(const std::string& vmrun, const std::string& disk) {
  return {
      .words = {vmrun, "--cpu", "jit", "--firmware", VM_BENCH_GUESTS "/copy.elf", "--disk", disk}};
}

std::string line_of(const std::string& report, const std::string& name) {
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name)) return line.substr(line.find_first_not_of(' ', name.size()));
  }
  return give_up("the report has no line '" + name + "': " + report), "";
}

// One run has a few hundred samples; so many have an error of one percent at most.
constexpr double kSamples = 2500;

// Of the time of further runs, as many as it takes; of one where one round is asked for.
std::string share_in_copies(Command command, const Effort& effort) {
  const double wanted = effort.rounds > 1 ? kSamples : 1;
  command.words.push_back("--profile");
  double samples = 0, in_copies = 0;
  while (samples < wanted) {
    const std::string report = run_process(command).output;
    const double more = std::stod(line_of(report, "samples"));
    if (more == 0) give_up("a profile without a sample: " + report);
    samples += more;
    in_copies += more * std::stod(line_of(report, "in copies")) / 100;
  }
  const double share = in_copies / samples;
  const double error = std::sqrt(share * (1 - share) / samples);
  return fmt::format("{:.1f} % (+- {:.1f}, {:.0f} samples)", share * 100, error * 100, samples);
}

std::string results_in(const std::string& output) { return output.substr(0, output.find("---")); }

// `row`: as the report names it.
Ratio against(const std::string& row, const Command& ours, const Command& peer, Session& session) {
  const ProcessOutcome out = compare_processes({.ours = ours, .peer = peer}, session.effort());
  if (results_in(out.ours_output) != results_in(out.peer_output)) {
    give_up("the results differ: " + out.ours_output + out.peer_output);
  }
  if (line_of(out.peer_output, "copy core") != row) give_up("the row is not the one asked for");
  const std::string remark = out.remark + "; in copies " + share_in_copies(ours, session.effort()) +
                             ", theirs " + share_in_copies(peer, session.effort()) + "; ours is " +
                             line_of(out.ours_output, "copy core");
  return {out.outcome, row, remark};
}

// A disk with something on it.
ScratchFile make_disk() {
  std::string content(kDiskBytes, '\0');
  std::uint64_t state = 1;
  for (char& byte : content) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return ScratchFile(content);
}

Ratio scalar(Session& session) {
  const ScratchFile disk = make_disk();
  const Command ours = guest_on(VM_BENCH_VMRUN, disk.path());
  Command peer = ours;
  peer.environment = {"VM_MEM_ISA=scalar"};
  return against("scalar", ours, peer, session);
}

Ratio libc(Session& session) {
  const ScratchFile disk = make_disk();
  return against("libc", guest_on(VM_BENCH_VMRUN, disk.path()),
                 guest_on(VM_BENCH_VMRUN_LIBC, disk.path()), session);
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("vm", argc, argv);
  return vm_bench::run_suite(
      session, {{.name = "core_scalar", .measure = vm_bench::scalar, .missing = VM_BENCH_NO_GUESTS},
                {.name = "core_libc", .measure = vm_bench::libc, .missing = VM_BENCH_NO_GUESTS}});
}
