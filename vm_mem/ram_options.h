// Where the host memory of a RAM region comes from, and how it is treated.
#ifndef VM_MEM_RAM_OPTIONS_H_
#define VM_MEM_RAM_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "vm_mem/host_file.h"
#include "vm_mem/host_memory_options.h"
#include "vm_mem/protection.h"
#include "vm_mem/region_id.h"

namespace vm_mem {

// Where the host memory of a RAM region comes from.
enum class Backing : std::uint8_t {
  kAnonymous,    // private to this process
  kMemfd,        // shareable by descriptor: vhost-user, a second view
  kFile,         // a range of a file, shared with it or private to this process
  kHugetlb,      // a memfd of huge pages, reserved in the host's pool
  kCallerOwned,  // memory that the caller has mapped, and unmaps after the region's end
};

enum class DirtyTracking : std::uint8_t { kOff, kOn };

// Whether writes to watched bytes are told (CodeWatch), and lines can be reserved. It is
// for all of a region's life.
enum class CodeWatching : std::uint8_t { kOff, kOn };

// Whether an access to the region survives a fault in the host (a truncated file, a
// punched hole, a page that somebody protected) and reports it as kHostFault.
enum class FaultRecovery : std::uint8_t {
  kByBacking,    // kAnonymous and kMemfd are plain, the others recoverable
  kPlain,        // the caller vouches for it: a fault ends the process
  kRecoverable,  // faults are reported, with the exact count of bytes done
};

// What a recovered fault leads to.
enum class HostFaultPolicy : std::uint8_t {
  kReport,    // the access fails with kHostFault
  kZeroPage,  // a page of zeros takes the place of the lost one, and the access goes on
};

struct RamOptions {
  Backing backing = Backing::kAnonymous;
  DirtyTracking dirty_tracking = DirtyTracking::kOff;
  // kOn: writers mark pages as if they were tracked, and the first mark of each costs a
  // read-modify-write. A harvest takes its marks in steps of 8 pages where there are any.
  CodeWatching code_watch = CodeWatching::kOff;

  // Where regions of one container overlap, the one of the highest priority is seen.
  int priority = 0;
  RegionId container = kRootContainer;

  // What the guest and its devices may do. A shared file that only ever is kRead
  // need not be writable.
  Protection protection = Protection::kReadWrite;

  // Reserves host addresses so that the region can be resized up to here; 0: it keeps
  // the size of its range.
  std::uint64_t max_bytes = 0;

  FaultRecovery fault_recovery = FaultRecovery::kByBacking;
  HostFaultPolicy host_fault = HostFaultPolicy::kReport;

  // kFile: a path, or else a descriptor, which is duplicated and stays the caller's.
  std::string file = {};
  int fd = -1;
  std::uint64_t file_offset = 0;  // a multiple of the host's page size
  FileSharing sharing = FileSharing::kShared;

  // kCallerOwned: begins at a multiple of the host's page size, at least as long as
  // the range and max_bytes, and lives until the region has been removed and its last
  // access has ended (RemovePolicy::kWait).
  std::span<std::byte> memory = {};

  // kHugetlb: one of the sizes of the host; the range is a multiple of it.
  std::uint64_t huge_page_bytes = std::uint64_t{2} << 20;

  HostMemoryOptions host = {};
};

}  // namespace vm_mem

#endif  // VM_MEM_RAM_OPTIONS_H_
