// How others bring guest memory back from a flat file, one page after the other where it belongs:
// the same calls in the same order. What fails ends the program with a line.
#ifndef BENCH_PEERS_SNAPSHOT_RESTORES_H_
#define BENCH_PEERS_SNAPSHOT_RESTORES_H_

#include <cstddef>
#include <span>
#include <string>
#include <thread>

#include "bench/peers/peer_file.h"

namespace vm_bench {

// Memory of this process, gone with this object.
class PeerMapping {
 public:
  // Of a file (MAP_PRIVATE) with `protection`; anonymous, in small pages, without one.
  PeerMapping(std::size_t bytes, int protection, const PeerFile* file = nullptr);
  ~PeerMapping();
  PeerMapping(const PeerMapping&) = delete;
  PeerMapping& operator=(const PeerMapping&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// Firecracker's restore from a file: a private mapping of it, and no more.
// Source:  src/vmm/src/vstate/memory.rs, snapshot_file
class PrivateRestore {
 public:
  explicit PrivateRestore(const std::string& path);

  std::span<std::byte> memory() const { return memory_.bytes(); }

 private:
  PeerFile file_;
  PeerMapping memory_;
};

// What this host lacks for HandlerRestore; empty where nothing.
std::string userfaultfd_missing();

// Firecracker's example of a page fault handler: it maps the file, and copies one page for each
// fault that it is told of. Here it is a thread; there, a process.
// Source:  src/firecracker/examples/uffd/on_demand_handler.rs and uffd_utils.rs
class HandlerRestore {
 public:
  explicit HandlerRestore(const std::string& path);
  ~HandlerRestore();

  std::span<std::byte> memory() const { return memory_.bytes(); }

 private:
  void handle_faults();

  PeerFile file_;
  PeerMapping source_;
  PeerMapping memory_;
  int faults_;
  int stop_;  // an eventfd
  std::thread handler_;
};

// What QEMU's mapped-ram and cloud-hypervisor do before the guest runs: pread(2) of up to 1 MiB
// of each run that is no hole.
// Source:  cloud-hypervisor vmm/src/memory_manager.rs, fill_saved_regions
void restore_sparse(const std::string& path, std::span<std::byte> memory);

}  // namespace vm_bench

#endif  // BENCH_PEERS_SNAPSHOT_RESTORES_H_
