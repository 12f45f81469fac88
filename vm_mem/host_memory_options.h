// How the host should treat the memory behind a mapping: huge pages, placement,
// locking, and whether the pages are there before the first access.
#ifndef VM_MEM_HOST_MEMORY_OPTIONS_H_
#define VM_MEM_HOST_MEMORY_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace vm_mem {

// Transparent huge pages. An advice: a host whose
// /sys/kernel/mm/transparent_hugepage/enabled (shmem_enabled for a memfd) says
// "never" takes it and does nothing.
enum class HugePageAdvice : std::uint8_t { kDefault, kAlways, kOff };

enum class NumaPolicy : std::uint8_t {
  kDefault,     // that of the thread that touches a page first
  kBind,        // only the given nodes
  kPreferred,   // the one given node while it has memory, then others
  kInterleave,  // page by page over the given nodes
};

enum class PageLock : std::uint8_t { kUnlocked, kLocked };
enum class CoreDump : std::uint8_t { kIncluded, kExcluded };
enum class PageMerging : std::uint8_t { kOff, kOn };
enum class GuardPages : std::uint8_t { kNone, kBothSides };

// What the progress callback answers.
enum class PrefaultStep : std::uint8_t { kContinue, kCancel };

struct HostMemoryOptions {
  // kAlways also aligns the host address to 2 MiB; memory of 2 MiB and more is
  // aligned so in any case.
  HugePageAdvice huge_pages = HugePageAdvice::kDefault;

  // How many threads make the pages present before the memory is used, the calling
  // one included; 0: pages come with their first access. Where the host starts fewer
  // threads, those do it.
  // Errors:  kResourceExhausted where the host has not that many pages.
  // Source:  madvise(2) MADV_POPULATE_WRITE; one access a page before Linux 5.14.
  unsigned prefault_threads = 0;

  // Told on the calling thread alone, the last time with done == total. kCancel
  // makes the call fail with kCancelled. Must not throw. Of a MemoryManager, other
  // changes of the map wait meanwhile; its own fail with kFailedPrecondition.
  std::function<PrefaultStep(std::uint64_t done_bytes, std::uint64_t total_bytes)>
      prefault_progress = {};

  // `numa_nodes` numbers the nodes as /sys/devices/system/node does: at least one,
  // exactly one for kPreferred, none for kDefault.
  // Errors:  kInvalidArgument where the host has no such node online.
  // Source:  mbind(2).
  NumaPolicy numa_policy = NumaPolicy::kDefault;
  std::vector<std::uint32_t> numa_nodes = {};

  // Errors:  kResourceExhausted where RLIMIT_MEMLOCK is too low.
  // Source:  mlock(2).
  PageLock lock = PageLock::kUnlocked;

  // Source:  madvise(2) MADV_DONTDUMP.
  CoreDump dump = CoreDump::kIncluded;

  // Equal pages of private memory may become one (KSM).
  // Errors:  kInvalidArgument for shared memory, which the host never merges.
  // Source:  madvise(2) MADV_MERGEABLE.
  PageMerging merge = PageMerging::kOff;

  // An inaccessible page before the memory and one after it, so that a run past
  // either end faults instead of meeting a neighbour.
  GuardPages guards = GuardPages::kNone;
};

}  // namespace vm_mem

#endif  // VM_MEM_HOST_MEMORY_OPTIONS_H_
