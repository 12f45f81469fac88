// The peer where it could not be built: nothing but the reason.

#include "bench/peers/unicorn.h"

namespace vm_bench {

std::string_view unicorn_missing() { return VM_BENCH_MISSING; }

UnicornMemory::UnicornMemory(std::span<const PeerRange>) {}
void UnicornClose::operator()(void*) const {}
std::uint64_t UnicornMemory::read(std::span<const std::uint64_t>) const { return 0; }
void UnicornMemory::write(std::span<const std::uint64_t>, std::uint64_t) const {}

UnicornRiscv::UnicornRiscv(PeerRange) {}
void UnicornRiscv::write(std::uint64_t, std::span<const std::byte>) const {}
void UnicornRiscv::read(std::uint64_t, std::span<std::byte>) const {}
void UnicornRiscv::run(std::uint64_t, std::uint64_t) const {}

}  // namespace vm_bench
