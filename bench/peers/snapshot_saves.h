// How others save guest memory: the same calls in the same order, one thread, with the zero test
// of this library where they have one. Each ends with the file on the disk. What fails ends the
// program with a line.
#ifndef BENCH_PEERS_SNAPSHOT_SAVES_H_
#define BENCH_PEERS_SNAPSHOT_SAVES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace vm_bench {

inline constexpr std::size_t kGuestPage = 4096;

// Firecracker's full snapshot: all memory by write(2), fsync(2).
// Source:  src/vmm/src/vstate/vm.rs, GuestMemoryMmap::dump
void save_whole(std::span<const std::byte> memory, const std::string& path);

// Firecracker's diff snapshot: a bit for each page, a seek and a write for each run of dirty ones
// into a sparse file as large as the guest, fsync(2).
// Source:  src/vmm/src/vstate/memory.rs, dump_dirty
void save_dirty_runs(std::span<const std::byte> memory, std::span<const std::uint64_t> dirty,
                     const std::string& path);

// QEMU's mapped-ram: every page is tested for zero, those that are not go to their own place,
// the bitmap of them is written last. QEMU does not fsync; here it does, as all others do.
// Source:  migration/ram.c, migration/multifd-nocomp.c, io/channel-file.c of 10.0
enum class MappedRamWrites : std::uint8_t {
  kPages,       // pwrite(2) of each page: without multifd
  kRuns,        // pwritev(2) of each run, of up to 4 MiB: more than a packet of multifd has
  kRunsDirect,  // the same with O_DIRECT: direct-io=on
};
void save_mapped_ram(std::span<const std::byte> memory, const std::string& path,
                     MappedRamWrites writes);

// What is not zero, at its own place, and holes: cloud-hypervisor's file, and Firecracker's where
// the guest is restored from it.
void save_sparse(std::span<const std::byte> memory, const std::string& path);

// Where memory begins in a file of save_mapped_ram().
inline constexpr std::uint64_t kMappedRamOffset = 1 << 20;

}  // namespace vm_bench

#endif  // BENCH_PEERS_SNAPSHOT_SAVES_H_
