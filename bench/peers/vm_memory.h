// rust-vmm's vm-memory, where Debian's package of it and cargo are installed: guest memory
// and its dirty bitmap, with the loops inside the peer (bench/peers/vm_memory/).
#ifndef BENCH_PEERS_VM_MEMORY_H_
#define BENCH_PEERS_VM_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace vm_bench {

// What has to be installed for it; empty where it is built in. The classes below may be
// used only then.
std::string_view vm_memory_missing();

inline constexpr char kVmMemory[] = "vm-memory";

struct PeerRange {
  std::uint64_t base = 0;
  std::uint64_t bytes = 0;
};

enum class Tracked { kNo, kYes };  // whether writes set a bit per page

class VmMemory {
 public:
  // Ends the program where the host refuses.
  VmMemory(std::span<const PeerRange> ranges, Tracked tracked);

  // Each accesses all the addresses once, in order, and ends the program where an access
  // fails. The first two return the sum of what they read; the next two write
  // first + 1, first + 2 and so on.
  std::uint64_t read_obj(std::span<const std::uint64_t> addresses) const;
  std::uint64_t load(std::span<const std::uint64_t> addresses) const;
  void write_obj(std::span<const std::uint64_t> addresses, std::uint64_t first) const;
  void store(std::span<const std::uint64_t> addresses, std::uint64_t first) const;
  void read_block(std::span<const std::uint64_t> addresses, std::span<std::byte> to) const;
  void write_block(std::span<const std::uint64_t> addresses, std::span<const std::byte> from) const;
  // Every list of `list_length` segments in turn: read one after the other into `to`, or
  // written from `from`. Needs:  a buffer as long as the longest list, and whole lists.
  void read_lists(std::span<const PeerRange> segments, std::size_t list_length,
                  std::span<std::byte> to) const;
  void write_lists(std::span<const PeerRange> segments, std::size_t list_length,
                   std::span<const std::byte> from) const;

 private:
  struct Destroy {
    void operator()(void* memory) const;
  };

  std::unique_ptr<void, Destroy> memory_;
};

// Its AtomicBitmap by itself, a bit for each page of 4096 bytes.
class VmMemoryBitmap {
 public:
  explicit VmMemoryBitmap(std::size_t pages);

  struct Harvest {
    std::uint64_t runs = 0;
    std::uint64_t pages = 0;
  };

  // Marks `bytes` bytes from each offset, one range after the other.
  void mark(std::span<const std::uint64_t> offsets, std::size_t bytes) const;
  // Takes all marks and lists the runs of marked pages: by words, as well as one can; and
  // page by page, as cloud-hypervisor does.
  Harvest harvest() const;
  Harvest harvest_by_page() const;

 private:
  struct Destroy {
    void operator()(void* bitmap) const;
  };

  std::unique_ptr<void, Destroy> bitmap_;
};

}  // namespace vm_bench

#endif  // BENCH_PEERS_VM_MEMORY_H_
