// The guest whose memory is saved and restored.
#ifndef BENCH_VM_MEM_SNAPSHOT_SAMPLE_GUEST_H_
#define BENCH_VM_MEM_SNAPSHOT_SAMPLE_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "vm_mem/guest_address.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {

struct GuestShape {
  std::uint64_t bytes = 0;
  unsigned percent = 100;           // of its pages that were ever touched
  std::uint32_t cluster_pages = 1;  // that come and are missing together
};

// RAM of one region at 0, in small pages: what is populated stays a page.
std::unique_ptr<vm_mem::MemoryManager> make_guest_memory(std::uint64_t bytes,
                                                         vm_mem::DirtyTracking tracking);
std::span<std::byte> host_memory_of(const vm_mem::MemoryManager& manager);

// Random bytes, of which the first word says which page it is.
class SampleGuest {
 public:
  SampleGuest(const GuestShape& shape, std::uint64_t seed,
              vm_mem::DirtyTracking tracking = vm_mem::DirtyTracking::kOff);

  vm_mem::MemoryManager& manager() { return *manager_; }
  std::span<std::byte> memory() const { return host_memory_of(*manager_); }
  const GuestShape& shape() const { return shape_; }
  // Those that were touched, ascending.
  const std::vector<std::uint32_t>& pages() const { return pages_; }
  // A tenth of them, in groups of four, ascending.
  std::vector<std::uint32_t> working_set() const;

  // What others have made present by reading it is not any more.
  void forget_reads() const;
  // Ends the program with a line that names `who`, unless `memory` is this guest's: by up to
  // 4096 of its pages.
  void check(std::span<const std::byte> memory, const std::string& who) const;

 private:
  void fill(std::uint32_t page);

  GuestShape shape_;
  std::mt19937_64 random_;
  std::unique_ptr<vm_mem::MemoryManager> manager_;
  std::vector<std::uint32_t> pages_;
};

inline std::uint64_t first_word_of(std::uint32_t page) {
  return (std::uint64_t{page} * 0x9e37'79b9'7f4a'7c15) | 1;
}

std::vector<vm_mem::GuestAddress> addresses_of(std::span<const std::uint32_t> pages);

// The host gives memory back to its own host when it has not been in use for a while, and takes
// long to get it again: this has so much of it there for who comes next.
void warm_host_memory(std::uint64_t bytes);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_SAMPLE_GUEST_H_
