// The peer where it could not be built: nothing but the reason.

#include "bench/peers/vm_memory.h"

namespace vm_bench {

std::string_view vm_memory_missing() { return VM_BENCH_MISSING; }

VmMemory::VmMemory(std::span<const PeerRange>, Tracked) {}
void VmMemory::Destroy::operator()(void*) const {}
std::uint64_t VmMemory::read_obj(std::span<const std::uint64_t>) const { return 0; }
std::uint64_t VmMemory::load(std::span<const std::uint64_t>) const { return 0; }
void VmMemory::write_obj(std::span<const std::uint64_t>, std::uint64_t) const {}
void VmMemory::store(std::span<const std::uint64_t>, std::uint64_t) const {}
void VmMemory::read_block(std::span<const std::uint64_t>, std::span<std::byte>) const {}
void VmMemory::write_block(std::span<const std::uint64_t>, std::span<const std::byte>) const {}
void VmMemory::read_lists(std::span<const PeerRange>, std::size_t, std::span<std::byte>) const {}
void VmMemory::write_lists(std::span<const PeerRange>, std::size_t,
                           std::span<const std::byte>) const {}

VmMemoryBitmap::VmMemoryBitmap(std::size_t) {}
void VmMemoryBitmap::Destroy::operator()(void*) const {}
void VmMemoryBitmap::mark(std::span<const std::uint64_t>, std::size_t) const {}
VmMemoryBitmap::Harvest VmMemoryBitmap::harvest() const { return {}; }
VmMemoryBitmap::Harvest VmMemoryBitmap::harvest_by_page() const { return {}; }

}  // namespace vm_bench
