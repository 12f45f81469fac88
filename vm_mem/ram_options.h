// Where the host memory of a RAM region comes from, and how it is treated.
#ifndef VM_MEM_RAM_OPTIONS_H_
#define VM_MEM_RAM_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "vm_mem/protection.h"
#include "vm_mem/region_id.h"

namespace vm_mem {

// Where the host memory of a RAM region comes from.
enum class Backing : std::uint8_t {
  kAnonymous,  // private to this process
  kMemfd,      // shareable by descriptor: vhost-user, a second view
};

enum class DirtyTracking : std::uint8_t { kOff, kOn };

struct RamOptions {
  Backing backing = Backing::kAnonymous;
  DirtyTracking dirty_tracking = DirtyTracking::kOff;
};

}  // namespace vm_mem

#endif  // VM_MEM_RAM_OPTIONS_H_
