// The engine suite's timed rows: the helper that JITs call beside the copy core, and what
// the emitter makes of a copy beside a call of libc.

#include <vector>

#include "bench/vm_engine/suite/emitted_rows.h"
#include "bench/vm_engine/suite/engine_copies.h"
#include "bench/vm_engine/suite/engine_counts.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

std::vector<Regime> regimes() {
  std::vector<Regime> all = {engine_copy("copy_64", 64), engine_copy("copy_4k", 4096),
                             engine_copy("copy_1m", 1 << 20),
                             engine_copy("copy_64_victim", 64, TlbEntries::kShared)};
  add_emitted_rows(all);
  all.push_back(softtlb_hit_a64("softtlb_hit_a64"));
  all.push_back(wrong_after_faults("wrong"));
  all.push_back(tried_faults("wrong_tried"));
  all.push_back(wrong_after_faults_control("wrong_control"));
  all.push_back(stale_translations("stale", vm_test::TranslationOrder::kWatchThenRead));
  all.push_back(stale_translations("stale_control", vm_test::TranslationOrder::kReadThenWatch));
  return all;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("engine", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
