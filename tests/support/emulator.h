// Whether an emulator runs the test (EMULATED_ENVIRONMENT VM_TEST_EMULATED=1).
#ifndef TESTS_SUPPORT_EMULATOR_H_
#define TESTS_SUPPORT_EMULATOR_H_

#include <cstdlib>

namespace vm_test {

inline bool is_emulated() { return std::getenv("VM_TEST_EMULATED") != nullptr; }

}  // namespace vm_test

#endif  // TESTS_SUPPORT_EMULATOR_H_
