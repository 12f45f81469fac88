// A load-reserved (LR, LDXR) of one line of RAM: what its store-conditional asks for.
#ifndef VM_MEM_LINE_RESERVATION_H_
#define VM_MEM_LINE_RESERVATION_H_

#include <cstdint>

namespace vm_mem {

// What is reserved together. A store to any of its bytes breaks the reservation.
inline constexpr std::uint64_t kReservedLineBytes = 128;

// DirtyLog::reserve() makes it. A value; it belongs to the log that made it, until
// DirtyLog::unreserve().
struct LineReservation {
  std::uint64_t offset = 0;  // in the region, of the line
  std::uint64_t version = 0;
  // Every store to the page is seen. Where not, DirtyLog::settle() comes before the load.
  bool is_settled = false;
};

}  // namespace vm_mem

#endif  // VM_MEM_LINE_RESERVATION_H_
