// Unicorn's guest memory, where libunicorn is installed: uc_mem_read and uc_mem_write, the
// only access that its interface has.
#ifndef BENCH_PEERS_UNICORN_H_
#define BENCH_PEERS_UNICORN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "bench/peers/vm_memory.h"

namespace vm_bench {

// As vm_memory_missing().
std::string_view unicorn_missing();

class UnicornMemory {
 public:
  // Ends the program where Unicorn refuses.
  explicit UnicornMemory(std::span<const PeerRange> ranges);

  // As the members of VmMemory.
  std::uint64_t read(std::span<const std::uint64_t> addresses) const;
  void write(std::span<const std::uint64_t> addresses, std::uint64_t first) const;

 private:
  struct Close {
    void operator()(void* engine) const;
  };

  std::unique_ptr<void, Close> engine_;
};

}  // namespace vm_bench

#endif  // BENCH_PEERS_UNICORN_H_
