#include "bench/harness/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstddef>
#include <thread>

namespace vm_bench {
namespace {

cpu_set_t cpus_of_this_thread() {
  cpu_set_t cpus;
  EXPECT_EQ(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
  return cpus;
}

TEST(MachineTest, AThreadBesideTheMeasuredOneKeepsOffItsCpu) {
  const cpu_set_t before = cpus_of_this_thread();
  const int cpu = stay_on_one_cpu();
  ASSERT_GE(cpu, 0);
  bool left = false;
  cpu_set_t beside{};
  std::thread([&] {
    left = leave_the_one_cpu();
    beside = cpus_of_this_thread();
  }).join();
  EXPECT_EQ(left, CPU_COUNT(&before) > 1);
  EXPECT_EQ(CPU_ISSET(static_cast<std::size_t>(cpu), &beside), CPU_COUNT(&before) == 1);
  const cpu_set_t mine = cpus_of_this_thread();
  EXPECT_EQ(CPU_COUNT(&mine), 1);
  sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
}  // namespace vm_bench
