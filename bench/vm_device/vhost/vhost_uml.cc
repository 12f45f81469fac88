// The vhost suite with a guest that has a kernel: User-mode Linux reads one file by fio, behind
// vmblkd and behind qemu-storage-daemon.

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/suite.h"
#include "bench/vm_device/vhost/back_end.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

constexpr std::size_t kMostRounds = 5;
constexpr std::size_t kDiskMebibytes = 256;

std::vector<std::string> ours_with(const std::string& image) {
  return {VM_BENCH_VMBLKD, "--socket", "%s", "--disk", image};
}

// Its threads are quicker here than its io_uring.
std::vector<std::string> peer_with(const std::string& image) {
  return {"qemu-storage-daemon", "--blockdev",
          "driver=file,node-name=d,locking=off,aio=threads,filename=" + image, "--export",
          "type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path=%s,writable=on"};
}

Command guest_of(const std::string& socket, const std::string& job) {
  return {.words = {VM_BENCH_UML, "mem=512M", "initrd=" VM_BENCH_INITRAMFS, "con=null",
                    "con0=null,fd:1", "ssl=null", "virtio_uml.device=" + socket + ":2", "panic=-1",
                    "quiet", "test.run=bench", "test.fio=" + job},
          .environment = {"LD_PRELOAD=" VM_BENCH_XSTATE_SHIM}};
}

// One line.
std::string said_by(const std::string& output) {
  std::string out;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (const auto at = line.find("guest: "); at != std::string::npos)
      out += line.substr(at) + "; ";
  }
  return out;
}

// Bytes a second that the guest has read.
double rate_of(const std::vector<std::string>& back_end, const std::string& job) {
  const BackEnd server(back_end);
  const std::string output = run_process(guest_of(server.socket(), job)).output;
  static const std::regex read("rc=0 err=0, read ([0-9]+) KiB/s");
  std::smatch found;
  if (!std::regex_search(output, found, read)) {
    give_up(fmt::format("fio fails in the guest behind {}: {}", server.name(), said_by(output)));
  }
  return std::stod(found[1]) * 1024;
}

// Every page of it is there.
void fill(const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  std::vector<char> piece(1 << 20);
  for (std::size_t i = 0; i < kDiskMebibytes; ++i) {
    std::fill(piece.begin(), piece.end(), static_cast<char>(i + 1));
    file.write(piece.data(), static_cast<std::streamsize>(piece.size()));
  }
  if (!file.flush()) give_up(path + ": not all of it could be written");
}

Regime beside_qemu(std::string name, const std::string& what, std::size_t bytes) {
  const auto measure = [what, bytes](Session& session) -> Ratio {
    const ScratchFile image("");
    fill(image.path());
    const bool quick = session.options().quick;
    const std::string job = fmt::format("{},bs={},size={}M,norandommap,time_based,runtime={}", what,
                                        bytes, kDiskMebibytes, quick ? 1 : 2);
    const std::size_t rounds = std::min(session.effort().rounds, quick ? 1 : kMostRounds);
    std::vector<double> ours;
    std::vector<double> peer;
    Outcome out;
    for (std::size_t round = 0; round < rounds; ++round) {
      const bool ours_first = round % 2 == 0;
      if (ours_first) ours.push_back(rate_of(ours_with(image.path()), job));
      peer.push_back(rate_of(peer_with(image.path()), job));
      if (!ours_first) ours.push_back(rate_of(ours_with(image.path()), job));
      out.ratios.push_back(ours.back() / peer.back());
    }
    const double our_rate = summarize(ours).median;
    const double peer_rate = summarize(peer).median;
    const auto size = static_cast<double>(bytes);
    out.ours_ns = 1e9 * size / our_rate;
    out.peer_ns = 1e9 * size / peer_rate;
    return {out, "qemu-storage-daemon",
            fmt::format(": ours {:.1f} kIOPS ({:.0f} MB/s), theirs {:.1f} ({:.0f})",
                        our_rate / size / 1e3, our_rate / 1e6, peer_rate / size / 1e3,
                        peer_rate / 1e6)};
  };
  return {.name = std::move(name), .measure = measure};
}

std::vector<Regime> regimes() {
  std::vector<Regime> out;
  out.push_back(beside_qemu("uml_seq", "rw=read,iodepth=8", std::size_t{1} << 20));
  out.push_back(beside_qemu("uml_rand", "rw=randread,iodepth=32", 4096));
  const std::string no_guest = VM_BENCH_NO_UML;
  for (Regime& regime : out) {
    regime.missing = no_guest;
    if (no_guest.empty() && !is_installed("qemu-storage-daemon")) {
      regime.missing = "qemu-system-common is not installed (tools/setup --bench)";
    }
  }
  return out;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  // The image, the sockets and the memory of the guest.
  setenv("TMPDIR", "/dev/shm", 1);
  vm_bench::Session session = vm_bench::started_session("vhost", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
