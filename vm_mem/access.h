// What an access to guest memory reports: how far it got, where it stopped,
// and why. Also the route by which statistics attribute it.
#ifndef VM_MEM_ACCESS_H_
#define VM_MEM_ACCESS_H_

#include <cstdint>
#include <string_view>

#include "vm_mem/guest_address.h"

namespace vm_mem {

enum class AccessFault : std::uint8_t {
  kNone,        // everything was done
  kUnmapped,    // no region there
  kReadOnly,    // a write to ROM
  kProtected,   // mapped, but this access is not permitted
  kDevice,      // a device refused the access
  kHostFault,   // the host failed to provide the page (SIGBUS, SIGSEGV)
  kBusy,        // a device is already serving this transaction
  kMisaligned,  // a read-modify-write that is not naturally aligned
};

// The name of the enumerator, e.g. "kUnmapped". For messages and tests.
std::string_view access_fault_name(AccessFault fault);

// Which operand of the access `AccessResult::at` belongs to. A read has only a
// source in guest memory, a write only a destination.
enum class AccessSide : std::uint8_t { kSource, kDestination };

// The exact outcome of one access.
//
// `done` bytes were transferred: the first `done` of the range, or, where
// `from_end` is set, the last `done` of it (a copy that has to run backward
// stopped in the middle). No guest byte outside them was written. `at` is the
// guest address of the first byte that could not be done; it means nothing when
// ok().
struct AccessResult {
  AccessFault fault = AccessFault::kNone;
  AccessSide side = AccessSide::kSource;
  bool from_end = false;
  std::uint64_t done = 0;
  GuestAddress at{};

  [[nodiscard]] constexpr bool ok() const { return fault == AccessFault::kNone; }
  friend constexpr bool operator==(const AccessResult&, const AccessResult&) = default;
};

// Who asked for a bulk access. Statistics are kept by route.
enum class Route : std::uint8_t { kCpu, kDma, kEngine, kSnapshot };
inline constexpr int kRouteCount = 4;

}  // namespace vm_mem

#endif  // VM_MEM_ACCESS_H_
