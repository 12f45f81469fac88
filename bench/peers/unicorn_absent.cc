// The peer where it could not be built: nothing but the reason.

#include "bench/peers/unicorn.h"

namespace vm_bench {

std::string_view unicorn_missing() { return VM_BENCH_MISSING; }

UnicornMemory::UnicornMemory(std::span<const PeerRange>) {}
void UnicornMemory::Close::operator()(void*) const {}
std::uint64_t UnicornMemory::read(std::span<const std::uint64_t>) const { return 0; }
void UnicornMemory::write(std::span<const std::uint64_t>, std::uint64_t) const {}

}  // namespace vm_bench
