// Emitted copies of host memory beside calls of libc's memcpy from code of the same form.
#ifndef BENCH_VM_ENGINE_SUITE_ENGINE_EMITTED_H_
#define BENCH_VM_ENGINE_SUITE_ENGINE_EMITTED_H_

#include <cstddef>
#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// A size that is known when the code is emitted; both sides at multiples of `alignment`.
Regime emitted_constant(std::string name, std::size_t bytes, std::size_t alignment);
// Sizes from 0 to `most_bytes` in a register, each as likely as the others, anywhere.
Regime emitted_register(std::string name, std::size_t most_bytes);

}  // namespace vm_bench

#endif  // BENCH_VM_ENGINE_SUITE_ENGINE_EMITTED_H_
