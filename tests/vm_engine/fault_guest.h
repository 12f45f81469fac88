// A vCPU on an attached thread, for tests of faults of emitted code.
#ifndef TESTS_VM_ENGINE_FAULT_GUEST_H_
#define TESTS_VM_ENGINE_FAULT_GUEST_H_

#include <gtest/gtest.h>

#include <cstdint>

#include "tests/vm_engine/fault_sites.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"

namespace vm_test {

inline constexpr std::uint8_t kHostPointer = VME_SITE_HOST_POINTER;

// 1 where the load faulted and was caught.
inline std::uint64_t load(const void* base, std::uint64_t index = 0) {
  std::uint64_t faulted = 7;
  vm_test_load(base, index, &faulted);
  return faulted;
}

class FaultSignalsTest : public testing::Test {
 protected:
  FaultSignalsTest() {
    EXPECT_EQ(vme_fault_install(0), VME_OK);
    EXPECT_EQ(vme_thread_attach(machine_.cpu.get()), VME_OK);
  }
  ~FaultSignalsTest() override { vme_thread_detach(); }
  vme_engine* engine() const { return machine_.engine.get(); }
  vme_cpu& cpu() const { return *machine_.cpu; }

  Machine machine_;
};

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_FAULT_GUEST_H_
