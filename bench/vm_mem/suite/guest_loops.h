// The loops in which our accesses are timed: the counterpart of those inside the peers. As
// those of copies, they are several instances at addresses of their own that share the
// work (bench/harness/copy_loops.h says why).
#ifndef BENCH_VM_MEM_SUITE_GUEST_LOOPS_H_
#define BENCH_VM_MEM_SUITE_GUEST_LOOPS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "bench/harness/copy_loops.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_mem/memory_reader.h"

namespace vm_bench {

// One way to access memory each: step() returns whether it succeeded.

struct LoadWord {
  bool step(vm_mem::MemoryReader& reader, std::uint64_t at) {
    std::uint64_t value = 0;
    const bool ok = reader.load(vm_mem::GuestAddress{at}, value).ok();
    sum += value;
    return ok;
  }
  std::uint64_t sum = 0;
};

struct StoreWord {
  bool step(vm_mem::MemoryReader& reader, std::uint64_t at) {
    return reader.store(vm_mem::GuestAddress{at}, ++value).ok();
  }
  std::uint64_t value = 0;
};

struct ReadBlock {
  bool step(vm_mem::MemoryReader& reader, std::uint64_t at) {
    return reader.read(vm_mem::GuestAddress{at}, to).ok();
  }
  std::span<std::byte> to;
};

struct WriteBlock {
  bool step(vm_mem::MemoryReader& reader, std::uint64_t at) {
    return reader.write(vm_mem::GuestAddress{at}, from).ok();
  }
  std::span<const std::byte> from;
};

// What the loop costs by itself.
struct NoAccess {
  bool step(vm_mem::MemoryReader&, std::uint64_t at) {
    forget(at);
    return true;
  }
};

template <class Access, std::size_t kPlace, class Memory, class At>
[[gnu::noinline, gnu::aligned(64)]] std::uint64_t walk_at(Memory& memory,
                                                          std::span<const At> addresses,
                                                          Access& access) {
  asm volatile("" : : "i"(kPlace));  // or the compiler merges the instances
  Access held = access;              // in registers: nothing of the guest's can be its memory
  std::uint64_t failed = 0;
  for (const At& at : addresses) failed += std::uint64_t{!held.step(memory, at)};
  access = held;
  return failed;
}

template <class Access, class Memory, class At, std::size_t... kPlace>
std::uint64_t walk_parts(Memory& memory, std::span<const At> addresses, Access& access,
                         std::index_sequence<kPlace...>) {
  const auto part = [addresses](std::size_t place) {
    const std::size_t begin = addresses.size() * place / kPlaces;
    return addresses.subspan(begin, addresses.size() * (place + 1) / kPlaces - begin);
  };
  return (walk_at<Access, kPlace>(memory, part(kPlace), access) + ...);
}

// Accesses every address once, in whatever `access` can step through; ends the program
// where an access fails.
template <class Access, class Memory, class Addresses>
void walk(Memory& memory, const Addresses& addresses, Access& access) {
  const std::uint64_t failed =
      walk_parts(memory, std::span(addresses), access, std::make_index_sequence<kPlaces>());
  require(failed == 0, "an access of ours failed");
}

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_GUEST_LOOPS_H_
