#include "bench/vm_mem/suite/started_session.h"

#include <fmt/core.h>

#include <cstdlib>
#include <utility>

#include "vm_mem/simd_memcpy.h"

namespace vm_bench {

Session started_session(std::string suite, int argc, char** argv) {
  Session session(std::move(suite), parse_options(argc, argv));
  const absl::Status status = vm_mem::startup_status();
  if (!status.ok()) {
    fmt::print(stderr, "{}\n", std::string(status.message()));
    std::exit(2);
  }
  return session;
}

}  // namespace vm_bench
