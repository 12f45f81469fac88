#include "bench/harness/machine.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace vm_bench {
namespace {

// From sysfs: in a virtual machine the C library's figures can be many times too large.
std::size_t cache_bytes(int wanted_level, std::size_t assumed) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int level = 0;
    std::size_t kib = 0;  // such as "1024K"
    if (!(std::ifstream(folder + "level") >> level)) break;
    if (level == wanted_level && std::ifstream(folder + "size") >> kib) return kib << 10;
  }
  return assumed;
}

// The CPUs that stay_on_one_cpu() gave up.
cpu_set_t& left_cpus() {
  static cpu_set_t cpus{};
  return cpus;
}

}  // namespace

int stay_on_one_cpu() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return -1;
  std::size_t past_last = CPU_SETSIZE;
  while (past_last > 0 && !CPU_ISSET(past_last - 1, &allowed)) --past_last;
  if (past_last == 0) return -1;
  const std::size_t last = past_last - 1;
  CPU_CLR(last, &allowed);
  left_cpus() = allowed;
  CPU_ZERO(&allowed);
  CPU_SET(last, &allowed);
  return sched_setaffinity(0, sizeof(allowed), &allowed) == 0 ? static_cast<int>(last) : -1;
}

bool leave_the_one_cpu() {
  return CPU_COUNT(&left_cpus()) > 0 && sched_setaffinity(0, sizeof(cpu_set_t), &left_cpus()) == 0;
}

void use_all_cpus() {
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  CPU_OR(&all, &all, &left_cpus());
  sched_setaffinity(0, sizeof all, &all);
}

std::size_t l2_bytes() { return cache_bytes(2, std::size_t{1} << 20); }
std::size_t l3_bytes() { return cache_bytes(3, std::size_t{32} << 20); }

std::size_t beyond_caches_bytes() {
  return std::clamp(4 * l3_bytes(), std::size_t{128} << 20, std::size_t{1} << 30);
}

}  // namespace vm_bench
