// The dirty suite: marks and harvests beside vm-memory's AtomicBitmap, and how many marks
// get lost with and without the harvest's barrier.

#include <string>
#include <utility>
#include <vector>

#include "bench/vm_mem/suite/dirty_harvest.h"
#include "bench/vm_mem/suite/dirty_mark.h"
#include "bench/vm_mem/suite/dirty_race.h"
#include "bench/vm_mem/suite/started_session.h"

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

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("dirty", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
