// Every emitted form of an access to guest memory beside every place where it can fault: what
// it leaves in memory, says of the fault and reports as not done is held to a loop over bytes.
#ifndef TESTS_SUPPORT_FAULT_MATRIX_H_
#define TESTS_SUPPORT_FAULT_MATRIX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/emitted_functions.h"

namespace vm_test {

struct FaultMatrixScore {
  std::uint64_t cases = 0;
  std::uint64_t wrong = 0;
  std::string first_wrong;
};

// Forms differ by mode and level.
struct FaultMatrixForms {
  vm_engine::AddressMode mode;
  vm_engine::VectorLevel level;
};
// Of kFastmem and kSoftTlb with each level that this CPU has, and kGuest.
std::vector<FaultMatrixForms> fault_matrix_forms();
const char* fault_matrix_name(const FaultMatrixForms& forms);

// Copies and fills of constant sizes, in line and beyond, and of sizes in registers, loads and
// stores. Source, destination or both reach into a page that is not there, is read-only, is
// lost to the host or closed, at each byte; ranges overlap by distances of -70 to 70.
// `thinning`: of so many cases one.
FaultMatrixScore run_fault_matrix(const FaultMatrixForms& forms, std::uint64_t thinning);
// The overlapping copies alone, in the arena.
FaultMatrixScore run_overlap_matrix(LandingPads pads, std::uint64_t thinning);

}  // namespace vm_test

#endif  // TESTS_SUPPORT_FAULT_MATRIX_H_
