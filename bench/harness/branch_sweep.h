// A run through more branches than a CPU remembers.
#ifndef BENCH_HARNESS_BRANCH_SWEEP_H_
#define BENCH_HARNESS_BRANCH_SWEEP_H_

namespace vm_bench {

// What the branch predictors have learned of the code that is measured is forgotten.
// Without it they can settle on a bad course for one loop and stay there for the whole
// run: a copy of 1.5 ns then takes 2.0 on one side, round after round (seen on Zen 5).
void sweep_branches();

}  // namespace vm_bench

#endif  // BENCH_HARNESS_BRANCH_SWEEP_H_
