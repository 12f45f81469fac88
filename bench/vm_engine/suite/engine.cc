// The engine suite's timed rows: the helper that JITs call beside the copy core, and what
// the emitter makes of a copy beside a call of libc.

#include <vector>

#include "bench/vm_engine/suite/emitted_rows.h"
#include "bench/vm_engine/suite/engine_copies.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

std::vector<Regime> regimes() {
  std::vector<Regime> all = {engine_copy("copy_64", 64), engine_copy("copy_4k", 4096),
                             engine_copy("copy_1m", 1 << 20)};
  add_emitted_rows(all);
  return all;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("engine", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
