// The ways in which a hart can run: interpreted and translated. Tests of what both do the same
// are run for each.
#ifndef TESTS_VMRUN_EACH_CPU_H_
#define TESTS_VMRUN_EACH_CPU_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <utility>
#include <vector>

#include "tools/vmrun/machine.h"

namespace vmrun {

struct Cpu {
  const char* name;
  std::optional<JitOptions> jit;
};
inline void PrintTo(const Cpu& cpu, std::ostream* out) { *out << cpu.name; }

// A machine with a little memory, whose firmware is the test's. Skips where there is no translator.
class EachCpuTest : public testing::TestWithParam<Cpu> {
 protected:
  void boot(const std::vector<std::uint32_t>& code, unsigned harts = 1) {
    MachineOptions options;
    options.memory_bytes = 16 << 20;
    options.harts = harts;
    options.console = [](char) {};
    options.jit = GetParam().jit;
    auto made = Machine::create(std::move(options));
    if (absl::IsUnimplemented(made.status())) GTEST_SKIP() << made.status();
    ASSERT_TRUE(made.ok()) << made.status();
    machine_ = *std::move(made);
    ASSERT_TRUE(machine_->boot({.firmware = {"f", std::as_bytes(std::span(code))}}).ok());
  }

  std::unique_ptr<Machine> machine_;
};

}  // namespace vmrun

#endif  // TESTS_VMRUN_EACH_CPU_H_
