#include "bench/vm_mem/contestants.h"

#include <cstring>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

void copy_libc(std::byte* dst, const std::byte* src, std::size_t n) { std::memcpy(dst, src, n); }

void copy_raw(std::byte* dst, const std::byte* src, std::size_t n) {
  vm_mem::memcpy_raw(dst, src, n);
}

void copy_adaptive(std::byte* dst, const std::byte* src, std::size_t n) {
  vm_mem::memcpy_adaptive({dst, n}, {src, n});
}

void copy_stream(std::byte* dst, const std::byte* src, std::size_t n) {
  vm_mem::memcpy_stream(dst, src, n);
}

// Filled before main() by the files that register themselves.
std::vector<Contestant>& rivals() {
  static std::vector<Contestant> list;
  return list;
}

std::vector<Contestant> all_contestants() {
  std::vector<Contestant> list = {
      {"libc", copy_libc}, {"raw", copy_raw}, {"adaptive", copy_adaptive}, {"stream", copy_stream}};
  for (const vm_mem::internal::CopyKernels* row : vm_mem::internal::built_copy_kernels()) {
    if (row->supported()) list.push_back({std::string(row->isa), row->copy});
  }
  list.insert(list.end(), rivals().begin(), rivals().end());
  return list;
}

}  // namespace

const std::vector<Contestant>& contestants() {
  static const std::vector<Contestant> list = all_contestants();
  return list;
}

Rival::Rival(const char* name, CopyFn copy, bool supported) {
  if (supported) rivals().push_back({name, copy});
}

bool checked(benchmark::State& state, CopyFn copy, CopyAt at) {
  const bool right = copies_exactly(copy, at);
  if (!right) state.SkipWithError("copies wrongly");
  return right;
}

int run_benchmarks(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace vm_bench
