// The vm suite beside QEMU: the same guest on both, whole processes.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/suite.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

constexpr const char* kQemu = "qemu-system-riscv64";
constexpr const char* kUboot = "/usr/lib/u-boot/qemu-riscv64/u-boot.bin";
constexpr std::size_t kDiskBytes = 32 << 20;

Command ours_with(const std::string& firmware, std::vector<std::string> more) {
  Command out{.words = {VM_BENCH_VMRUN, "--cpu", "jit", "--firmware", firmware}};
  out.words.insert(out.words.end(), more.begin(), more.end());
  return out;
}

Command qemu_with(const std::string& firmware, std::vector<std::string> more) {
  Command out{.words = {kQemu, "-machine", "virt", "-m", "128M", "-display", "none", "-monitor",
                        "none", "-serial", "stdio", "-bios", firmware}};
  out.words.insert(out.words.end(), more.begin(), more.end());
  return out;
}

Regime boot() {
  return {
      .name = "qemu_boot", .measure = [](Session& session) -> Ratio {
        const ScratchFile disk("", kDiskBytes);
        const std::string drive = "format=raw,if=none,id=disk,file=" + disk.path();
        const ProcessContest contest{
            .ours = ours_with(kUboot, {"--disk", disk.path()}),
            .peer = qemu_with(kUboot, {"-drive", drive, "-device", "virtio-blk-device,drive=disk"}),
            .dialogue = {.notice = "Hit any key", .answer = " ", .end = "=> "}};
        const ProcessOutcome out = compare_processes(contest, session.effort());
        return {out.outcome, "qemu", out.remark};
      }};
}

// What the guest says; the emulator's report, which follows it, is no part of that.
std::string results_in(const std::string& output) { return output.substr(0, output.find("---")); }

Regime program(std::string name, const std::string& guest, std::vector<std::string> more) {
  const std::string file = std::string(VM_BENCH_GUESTS) + "/" + guest + ".elf";
  return {.name = std::move(name), .measure = [file, more](Session& session) -> Ratio {
            const ProcessContest contest{.ours = ours_with(file, more),
                                         .peer = qemu_with(file, {})};
            const ProcessOutcome out = compare_processes(contest, session.effort());
            const std::string results = results_in(out.ours_output);
            if (results.empty() || results != results_in(out.peer_output)) {
              give_up(file + ": the results differ: " + out.ours_output + out.peer_output);
            }
            return {out.outcome, "qemu", out.remark};
          }};
}

std::vector<Regime> regimes() {
  const std::vector<std::string> fastmem = {"--memory-mode", "fastmem"};
  std::vector<Regime> out;
  out.push_back(boot());
  out.push_back(program("qemu_alu", "alu", {}));
  out.push_back(program("qemu_mem", "memory", {}));
  out.push_back(program("qemu_mem_fastmem", "memory", fastmem));
  for (Regime& regime : out) {
    if (!is_installed(kQemu))
      regime.missing = "qemu-system-misc is not installed (tools/setup --bench)";
  }
  const std::string no_guests = VM_BENCH_NO_GUESTS;
  for (auto regime = out.begin() + 1; regime != out.end(); ++regime) {
    if (!no_guests.empty()) regime->missing = no_guests;
  }
  return out;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("vm", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
