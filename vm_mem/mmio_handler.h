// The interface by which a range of guest addresses reaches a device instead
// of memory.
#ifndef VM_MEM_MMIO_HANDLER_H_
#define VM_MEM_MMIO_HANDLER_H_

#include <cstdint>

#include "vm_mem/access.h"

namespace vm_mem {

// Serves one MMIO region. An access of any length is cut into elements: at each
// address the largest of 8, 4, 2 and 1 bytes that is naturally aligned there and
// not longer than what is left. Each element is passed on exactly once, in
// ascending order of address (descending where a copy has to run backward).
//
// Calls come on the thread that made the access, concurrently when several
// threads do; the handler does its own locking. A handler may access guest memory
// and may change the map.
class MmioHandler {
 public:
  virtual ~MmioHandler() = default;

  // Units:   `offset` in bytes from the start of the region; `size` is 1, 2, 4
  //          or 8 and offset + size never exceeds the region.
  // Errors:  kNone, or what the initiator of the access is told (kDevice, kBusy,
  //          kReadOnly, kProtected); nothing was done then.
  virtual AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) = 0;
  virtual AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) = 0;
};

}  // namespace vm_mem

#endif  // VM_MEM_MMIO_HANDLER_H_
