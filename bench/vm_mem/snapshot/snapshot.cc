// The snapshot suite: saves, restores and their zero test beside what other VMMs do.

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "bench/vm_mem/snapshot/restore_rows.h"
#include "bench/vm_mem/snapshot/save_rows.h"
#include "bench/vm_mem/snapshot/scratch_folder.h"
#include "bench/vm_mem/snapshot/working_set_rows.h"
#include "bench/vm_mem/snapshot/zero_rows.h"
#include "bench/vm_mem/suite/started_session.h"

int main(int argc, char** argv) {
  using namespace vm_bench;
  Session session = started_session("snapshot", argc, argv);
  session.report_setting("folder", folder_setting());
  const auto files = std::make_shared<SharedRestoreFiles>();
  std::vector<Regime> regimes = {zero_scan("zero_scan", PagesAre::kInL1),
                                 zero_scan("zero_scan_dram", PagesAre::kInMemory)};
  std::ranges::move(saves(session), std::back_inserter(regimes));
  regimes.push_back(eager_restore(files, session));
  std::ranges::move(working_sets(files, session), std::back_inserter(regimes));
  return run_suite(session, regimes);
}
