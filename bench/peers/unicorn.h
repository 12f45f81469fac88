// Unicorn, where libunicorn is installed: its guest memory by uc_mem_read and uc_mem_write, the
// only access that its interface has; and a CPU.
#ifndef BENCH_PEERS_UNICORN_H_
#define BENCH_PEERS_UNICORN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "bench/peers/vm_memory.h"

namespace vm_bench {

// As vm_memory_missing().
std::string_view unicorn_missing();

struct UnicornClose {
  void operator()(void* engine) const;
};

class UnicornMemory {
 public:
  // Ends the program where Unicorn refuses.
  explicit UnicornMemory(std::span<const PeerRange> ranges);

  // As the members of VmMemory.
  std::uint64_t read(std::span<const std::uint64_t> addresses) const;
  void write(std::span<const std::uint64_t> addresses, std::uint64_t first) const;

 private:
  std::unique_ptr<void, UnicornClose> engine_;
};

// One RISC-V CPU (RV64, M-mode) of Unicorn's, with RAM.
class UnicornRiscv {
 public:
  // Ends the program where Unicorn refuses.
  explicit UnicornRiscv(PeerRange ram);

  void write(std::uint64_t address, std::span<const std::byte> bytes) const;
  void read(std::uint64_t address, std::span<std::byte> bytes) const;
  // From `begin` until it comes to `end`.
  void run(std::uint64_t begin, std::uint64_t end) const;

 private:
  std::unique_ptr<void, UnicornClose> engine_;
};

}  // namespace vm_bench

#endif  // BENCH_PEERS_UNICORN_H_
