// What the guest suite measures on: the same ranges of memory in our manager and in a
// peer, and addresses within them.
#ifndef BENCH_VM_MEM_SUITE_GUEST_MEMORY_H_
#define BENCH_VM_MEM_SUITE_GUEST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bench/peers/vm_memory.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {

// 16 MiB in two regions, as a PC has them: below and above the hole of its devices.
std::span<const PeerRange> two_regions();

// Ends the program where the host refuses.
std::unique_ptr<vm_mem::MemoryManager> make_manager(std::span<const PeerRange> ranges,
                                                    Tracked tracked);

// `count` addresses, uniformly among the multiples of `alignment` from which `bytes` bytes
// lie in one of the ranges. Needs: ranges of equal length, alignment a power of two.
std::vector<std::uint64_t> random_addresses(std::span<const PeerRange> ranges, std::size_t count,
                                            std::uint64_t bytes, std::uint64_t alignment,
                                            std::uint64_t seed);

// Those of blocks that stay in the caches: within 6 KiB of each of two_regions(), from
// kHotOffset on. With blocks of 4 KiB, a buffer and the table of addresses that leaves room
// in an L1 cache of 48 KiB.
inline constexpr std::size_t kHotAddresses = 4096;
inline constexpr std::uint64_t kHotOffset = 1 << 20;
std::vector<std::uint64_t> hot_addresses(std::uint64_t bytes, std::uint64_t alignment,
                                         std::uint64_t seed);

// Ends the program with `what` in its complaint, unless `right`.
void require(bool right, const char* what);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_GUEST_MEMORY_H_
