#include "bench/peers/unicorn.h"

#include <unicorn/unicorn.h>

#include <cstdio>
#include <cstdlib>

namespace vm_bench {
namespace {

void require(uc_err error, const char* what) {
  if (error == UC_ERR_OK) return;
  std::fprintf(stderr, "Unicorn failed to %s: %s\n", what, uc_strerror(error));
  std::exit(1);
}

uc_engine* engine_of(void* engine) { return static_cast<uc_engine*>(engine); }

}  // namespace

std::string_view unicorn_missing() { return {}; }

UnicornMemory::UnicornMemory(std::span<const PeerRange> ranges) {
  uc_engine* engine = nullptr;
  require(uc_open(UC_ARCH_X86, UC_MODE_64, &engine), "open an engine");
  engine_.reset(engine);
  for (const PeerRange& range : ranges) {
    require(uc_mem_map(engine, range.base, range.bytes, UC_PROT_ALL), "map memory");
  }
}

void UnicornMemory::Close::operator()(void* engine) const { uc_close(engine_of(engine)); }

std::uint64_t UnicornMemory::read(std::span<const std::uint64_t> addresses) const {
  uc_engine* engine = engine_of(engine_.get());
  std::uint64_t sum = 0;
  for (const std::uint64_t at : addresses) {
    std::uint64_t value = 0;
    require(uc_mem_read(engine, at, &value, sizeof(value)), "read");
    sum += value;
  }
  return sum;
}

void UnicornMemory::write(std::span<const std::uint64_t> addresses, std::uint64_t first) const {
  uc_engine* engine = engine_of(engine_.get());
  for (const std::uint64_t at : addresses) {
    const std::uint64_t value = ++first;
    require(uc_mem_write(engine, at, &value, sizeof(value)), "write");
  }
}

}  // namespace vm_bench
