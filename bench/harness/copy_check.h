// A copy that copies wrongly has no speed.
#ifndef BENCH_HARNESS_COPY_CHECK_H_
#define BENCH_HARNESS_COPY_CHECK_H_

#include <cstddef>

#include "bench/harness/copy_loops.h"

namespace vm_bench {

using CopyFn = void (*)(std::byte* dst, const std::byte* src, std::size_t n);

// Whether `copy` moves exactly these bytes, at these offsets in a page, and none beside
// them: byte for byte.
bool copies_exactly(CopyFn copy, CopyAt at);

}  // namespace vm_bench

#endif  // BENCH_HARNESS_COPY_CHECK_H_
