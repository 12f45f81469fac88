// Guest memory at one host address: emitted code reaches it by a base register and the
// guest address, one instruction, and whatever that may not do is a fault that goes to the
// site's landing pad (vm_engine.h, vme_code_register).
//
// The arena is a second view of the memory. The regions' own mappings, which helpers, DMA
// and system calls use, stay writable whatever is protected here.
#ifndef VM_ENGINE_FASTMEM_H_
#define VM_ENGINE_FASTMEM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/protection.h"
#include "vm_mem/region_id.h"

namespace vm_mem {
class MemoryManager;
}

namespace vm_engine {

// What emitted code should use.
enum class FastmemMode : std::uint8_t {
  kFastmem,
  kSoftTlb,  // FastmemArena::reason() says why
};

// Whose addresses the arena is indexed by.
enum class FastmemSpace : std::uint8_t {
  kPhysical,  // the guest's physical ones: it follows the map by itself
  kVirtual,   // the guest's virtual ones: the embedder calls map() and unmap()
};

struct FastmemOptions {
  // Of guest addresses, from 0. Emitted code masks or zero-extends its index, or tests it,
  // so that it is below this: what lies behind the guards is somebody else's. AArch64 ignores
  // the top byte of an address: an index that is wrong there alone does not fault.
  // Units:  a multiple of the page size.
  std::uint64_t bytes = std::uint64_t{64} << 30;
  // On each side, for displacements that are added to the index.
  std::uint64_t guard_bytes = std::uint64_t{2} << 30;
  FastmemSpace space = FastmemSpace::kPhysical;
  // How many mappings of the host the arena may consist of; 0: half of
  // /proc/sys/vm/max_map_count.
  std::size_t max_mappings = 0;
};

struct FastmemStatistics {
  std::uint64_t mappings = 0;      // of the host, about
  std::uint64_t pages_opened = 0;  // by faults: tracked pages, or those protected before
  std::uint64_t pages_closed = 0;  // made read-only again
};

// What is where:
//   RAM with a descriptor (memfd, shared file, huge pages)  mapped; an alias is a mirror
//   ROM, and what may only be read                          read-only
//   RAM whose writes are tracked                            read-only until it is written;
//                                                           the first store to a page marks
//                                                           it, without a landing pad
//   protected pages (watched code)                            read-only: stores fault
//   devices, holes, RAM without a descriptor                fault
// What faults is to be done by a helper, which is always right.
//
// Threads:  any may call. Accesses by emitted code may run meanwhile.
class FastmemArena {
 public:
  // Where the host or the memory does not allow an arena this succeeds with
  // mode() == kSoftTlb and no arena: the address space is limited (RLIMIT_AS), the host's
  // pages are larger than the guest's, RAM has no descriptor, lies misaligned for its
  // backing, or takes too many mappings.
  //
  // Needs:   `memory` outlives it.
  // Errors:  kInvalidArgument    bytes is 0, or not whole pages
  //          kResourceExhausted  no memory for its own records, or CodeWatch has no room for
  //                              another watcher
  // Cost:    two mmaps, one for each piece of the map; no page is touched, except that ROM
  //          without a descriptor is copied.
  // Source:  mmap(2), MAP_NORESERVE.
  static absl::StatusOr<std::unique_ptr<FastmemArena>> create(vm_mem::MemoryManager& memory,
                                                              const FastmemOptions& options = {});

  FastmemArena(const FastmemArena&) = delete;
  FastmemArena& operator=(const FastmemArena&) = delete;
  // Needs:  no vCPU is attached, no emitted code runs.
  ~FastmemArena();

  // It may become kSoftTlb later: where memory comes that cannot be shown, or mappings run
  // out. Code that was emitted for the arena stays right, with a fault at each access there.
  FastmemMode mode() const;
  // Empty while mode() is kFastmem.
  std::string reason() const;

  // Null where there is no arena.
  std::byte* base() const;
  std::uint64_t bytes() const;
  FastmemStatistics statistics() const;

  // Sets vme_cpu::fastmem_base. The vCPU's thread is attached by vme_thread_attach().
  //
  // Needs:   the vCPU's own thread, or it does not run.
  // Errors:  kInvalidArgument     not a vCPU, or of another MemoryManager
  //          kFailedPrecondition  there is no arena; the engine translates, and the arena
  //                               is indexed by physical addresses
  absl::Status attach(vme_cpu* cpu);
  // Does nothing where it is not attached here.
  void detach(vme_cpu* cpu);

  // kVirtual: shows `range` at `gva`, now and after changes of the map, with at most the
  // rights of `protection`.
  //
  // Errors:  kInvalidArgument     misaligned, empty or outside of the arena
  //          kAlreadyExists       something is shown there
  //          kFailedPrecondition  kPhysical, or no arena
  //          kResourceExhausted   max_mappings, or the host refused
  // Cost:    one mmap for each piece.
  absl::Status map(std::uint64_t gva, vm_mem::GuestRange range,
                   vm_mem::Protection protection = vm_mem::Protection::kReadWrite);
  // What is not shown there does not matter. Pages that may have been written are marked.
  //
  // Errors:  kInvalidArgument, kFailedPrecondition, kResourceExhausted as above
  absl::Status unmap(std::uint64_t gva, std::uint64_t bytes);

  // From its return on every store of emitted code to the pages that these bytes touch
  // faults, wherever they are shown, and those before it are visible to this thread.
  // Done twice it is undone by one unprotect().
  //
  // Units:   bytes from the beginning of the region that holds the memory.
  // Needs:   the region has them.
  // Errors:  kResourceExhausted  no memory to note the pages: everything shown is then hidden
  //                              for good, and mode() is kSoftTlb: the promise holds all
  //                              the same
  // Cost:    mprotect(2) of each run of pages, 1 to 10 us. Where mappings run short, a whole
  //          piece becomes read-only.
  absl::Status protect(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes);
  // The next store to each page opens it again.
  void unprotect(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes);

  // Closes every tracked page that is open and marks it, so that the next harvest of dirty
  // pages tells all that emitted code has stored before this call, whether or not vCPUs
  // run. Without it a vCPU that refreshes after a harvest does the same; one that parks
  // marks them.
  //
  // Cost:   an mprotect(2) of each piece that has such pages; each of them faults once more.
  void close_tracked_pages();

 private:
  class State;
  explicit FastmemArena(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace vm_engine

#endif  // VM_ENGINE_FASTMEM_H_
