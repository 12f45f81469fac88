// Copies whose result is read at once: its first byte, which the address of the next
// copy waits for (a device that parses a descriptor), or all of it.
//
// Names: Copy/<contestant>/load_back/<bytes>, Copy/<contestant>/read_all/<bytes>

#include <cstdint>
#include <cstring>
#include <string>

#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

using Read = std::size_t (*)(const std::byte* bytes, std::size_t n);

std::size_t first_byte(const std::byte* bytes, std::size_t) {
  return static_cast<std::size_t>(*bytes);
}

std::size_t all_words(const std::byte* bytes, std::size_t n) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i + sizeof(sum) <= n; i += sizeof(sum)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof(word));
    sum |= word;
  }
  return sum;
}

void run(benchmark::State& state, CopyFn copy, Read read) {
  static PageBuffer dst_memory;
  static PageBuffer src_memory;
  const auto n = static_cast<std::size_t>(state.range(0));
  std::byte* const dst = dst_memory.at_least(n);
  std::byte* const src = src_memory.at_least(2048 + n) + 2048;  // zeros
  if (!checked(state, copy, {0, 2048, static_cast<std::uint32_t>(n)})) return;
  std::size_t zero = 0;
  for (auto _ : state) {
    copy(dst + zero, src + zero, n);
    benchmark::ClobberMemory();
    zero = read(dst + zero, n);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void register_all(const char* regime, Read read, std::int64_t last) {
  for (const Contestant& contestant : contestants()) {
    const std::string name = "Copy/" + contestant.name + "/" + regime;
    auto* benchmark = benchmark::RegisterBenchmark(
        name.c_str(),
        [read, &contestant](benchmark::State& state) { run(state, contestant.copy, read); });
    for (std::int64_t n = 8; n <= last; n *= 2) benchmark->Arg(n);
  }
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  using namespace vm_bench;
  register_all("load_back", first_byte, 256);
  register_all("read_all", all_words, std::int64_t{16} << 20);
  return run_benchmarks(argc, argv);
}
