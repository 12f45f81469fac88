// The dirty suite: marks and harvests beside vm-memory's AtomicBitmap, and how many marks
// get lost with and without the harvest's barrier.

#include <fmt/core.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "bench/vm_mem/suite/dirty_harvest.h"
#include "bench/vm_mem/suite/dirty_mark.h"
#include "bench/vm_mem/suite/dirty_race.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

std::vector<Regime> regimes() {
  std::vector<Regime> all = {marks("mark")};
  for (const PeerWalk walk : {PeerWalk::kByPage, PeerWalk::kByWord}) {
    const std::string name = walk == PeerWalk::kByPage ? "harvest_" : "harvest_words_";
    for (const int percent : {0, 1, 50}) {
      all.push_back(harvests(name + std::to_string(percent), percent, walk));
    }
  }
  all.push_back(lost_marks("lost_marks", RaceBarrier::kHarvest));
  all.push_back(lost_marks("lost_marks_control", RaceBarrier::kNone));
  return all;
}

// Ends the program where the environment asks for a row or a policy that there is not.
void require_startup() {
  const absl::Status status = vm_mem::startup_status();
  if (status.ok()) return;
  fmt::print(stderr, "{}\n", std::string(status.message()));
  std::exit(2);
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session("dirty", vm_bench::parse_options(argc, argv));
  vm_bench::require_startup();
  return vm_bench::run_suite(session, vm_bench::regimes());
}
