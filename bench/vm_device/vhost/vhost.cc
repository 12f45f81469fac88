// The vhost suite: vmblkd beside qemu-storage-daemon, and beside itself, for one guest driver.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/suite.h"
#include "bench/vm_device/vhost/disk_guest.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

using std::chrono::milliseconds;

const std::vector<std::string> kOurs = {VM_BENCH_VMBLKD, "--socket", "%s", "--null", "1G"};
const std::vector<std::string> kPeer = {
    "qemu-storage-daemon", "--blockdev",
    "driver=null-co,node-name=d,size=1073741824,read-zeroes=on", "--export",
    "type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path=%s,writable=on"};

struct Series {
  std::vector<double> wall;
  std::vector<double> cpu;

  void add(const DiskRun& run) {
    wall.push_back(run.wall_ns);
    cpu.push_back(run.cpu_ns);
  }
};

struct Result {
  Outcome outcome;
  double ours_cpu_ns = 0;
  double peer_cpu_ns = 0;
};

// By the wall: most of what a guest waits for are other threads.
Result compare(DiskGuest& ours, DiskGuest& peer, const Session& session) {
  const milliseconds sample(session.options().quick ? 5 : 60);
  ours.run(sample);
  peer.run(sample);
  Series our_series;
  Series peer_series;
  Result out;
  for (std::size_t round = 0; round < session.effort().rounds; ++round) {
    const bool ours_first = round % 2 == 0;
    if (ours_first) our_series.add(ours.run(sample));
    peer_series.add(peer.run(sample));
    if (!ours_first) our_series.add(ours.run(sample));
    out.outcome.ratios.push_back(peer_series.wall.back() / our_series.wall.back());
  }
  out.outcome.ours_ns = summarize(our_series.wall).median;
  out.outcome.peer_ns = summarize(peer_series.wall).median;
  out.ours_cpu_ns = summarize(our_series.cpu).median;
  out.peer_cpu_ns = summarize(peer_series.cpu).median;
  return out;
}

std::string rates(const Result& result, std::uint32_t bytes) {
  const auto thousands = [](double ns) { return 1e6 / ns; };
  const auto gigabytes = [bytes](double ns) { return bytes / ns; };
  const Outcome& times = result.outcome;
  return fmt::format(
      ": ours {:.0f} kIOPS ({:.2f} GB/s), theirs {:.0f} ({:.2f}); CPU time of the back end {:.2f} "
      "us and {:.2f} us a request",
      thousands(times.ours_ns), gigabytes(times.ours_ns), thousands(times.peer_ns),
      gigabytes(times.peer_ns), result.ours_cpu_ns / 1e3, result.peer_cpu_ns / 1e3);
}

Regime beside_qemu(std::string name, const DiskLoad& load) {
  return {.name = std::move(name),
          .measure = [load](Session& session) -> Ratio {
            DiskGuest ours(kOurs, load);
            DiskGuest peer(kPeer, load);
            const Result result = compare(ours, peer, session);
            return {result.outcome, kPeer.front(), rates(result, load.bytes)};
          },
          .missing = is_installed(kPeer.front())
                         ? ""
                         : "qemu-system-common is not installed (tools/setup --bench)"};
}

Regime beside_itself(std::string name, std::string peer_name, const DiskLoad& load) {
  return {.name = std::move(name), .measure = [load, peer_name](Session& session) -> Ratio {
            DiskGuest ours(kOurs, load);
            DiskGuest peer(kOurs, {.bytes = load.bytes, .depth = load.depth});
            const Result result = compare(ours, peer, session);
            if (load.logging == Logging::kOn) ours.check_log();
            return {result.outcome, peer_name, rates(result, load.bytes)};
          }};
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  using namespace vm_bench;
  Session session = started_session("vhost", argc, argv);
  return run_suite(session, {beside_qemu("null_qd32", {}), beside_qemu("null_qd1", {.depth = 1}),
                             beside_qemu("null_64k", {.bytes = 64 << 10, .depth = 16}),
                             beside_itself("packed", "split", {.form = RingForm::kPacked}),
                             beside_itself("log", "unlogged", {.logging = Logging::kOn})});
}
