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

void UnicornClose::operator()(void* engine) const { uc_close(engine_of(engine)); }

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

UnicornRiscv::UnicornRiscv(PeerRange ram) {
  uc_engine* engine = nullptr;
  require(uc_open(UC_ARCH_RISCV, UC_MODE_RISCV64, &engine), "open an engine");
  engine_.reset(engine);
  require(uc_mem_map(engine, ram.base, ram.bytes, UC_PROT_ALL), "map memory");
}

void UnicornRiscv::write(std::uint64_t address, std::span<const std::byte> bytes) const {
  require(uc_mem_write(engine_of(engine_.get()), address, bytes.data(), bytes.size()), "write");
}

void UnicornRiscv::read(std::uint64_t address, std::span<std::byte> bytes) const {
  require(uc_mem_read(engine_of(engine_.get()), address, bytes.data(), bytes.size()), "read");
}

void UnicornRiscv::run(std::uint64_t begin, std::uint64_t end) const {
  require(uc_emu_start(engine_of(engine_.get()), begin, end, 0, 0), "run the guest");
}

}  // namespace vm_bench
