// Throughput of the copy kernels: every row and libc, hot (the same block again and
// again) and cold (a walk through an arena larger than the caches). Read bytes per
// second, and only ratios between rows of one run:
//
//   copy_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
//
// Names: Copy/<isa or libc>/<hot or cold>/<bytes>, Stream/... alike

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "vm_mem/internal/copy_kernels.h"

namespace {

using CopyFn = void (*)(std::byte* dst, const std::byte* src, std::size_t n);

constexpr std::size_t kColdArena = std::size_t{256} << 20;
constexpr std::size_t kSizes[] = {16, 64, 256, 1024, 4096, 65536, 1048576, 4194304};

void copy_libc(std::byte* dst, const std::byte* src, std::size_t n) { std::memcpy(dst, src, n); }

// A row that copies wrongly has no speed.
bool copies_right(CopyFn copy, std::size_t n) {
  std::vector<std::byte> src(n);
  std::vector<std::byte> dst(n);
  for (std::size_t i = 0; i < n; ++i) src[i] = static_cast<std::byte>(i * 251 + (i >> 8));
  copy(dst.data(), src.data(), n);
  return dst == src;
}

void run(benchmark::State& state, CopyFn copy, std::size_t arena) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  if (!copies_right(copy, bytes)) {
    state.SkipWithError("wrong result");
    return;
  }
  const std::size_t span = arena < bytes ? bytes : arena;
  std::vector<std::byte> src(span, std::byte{1});
  std::vector<std::byte> dst(span, std::byte{2});  // touched: no page faults below
  std::size_t at = 0;
  for (auto _ : state) {
    copy(dst.data() + at, src.data() + at, bytes);
    benchmark::ClobberMemory();
    at = at + 2 * bytes <= span ? at + bytes : 0;
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void register_copy(const std::string& name, CopyFn copy) {
  for (const std::size_t bytes : kSizes) {
    const auto argument = static_cast<std::int64_t>(bytes);
    benchmark::RegisterBenchmark((name + "/hot").c_str(), run, copy, std::size_t{0})->Arg(argument);
    benchmark::RegisterBenchmark((name + "/cold").c_str(), run, copy, kColdArena)->Arg(argument);
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_copy("Copy/libc", copy_libc);
  for (const vm_mem::internal::CopyKernels* row : vm_mem::internal::built_copy_kernels()) {
    if (!row->supported()) continue;
    register_copy("Copy/" + std::string(row->isa), row->copy);
    register_copy("Stream/" + std::string(row->isa), row->stream);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
