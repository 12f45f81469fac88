#include "vm_engine/internal/exclusive_line.h"

#include "vm_engine/internal/cpu.h"

namespace vm_engine::internal {

vme_rc ExclusiveLine::take(Cpu& cpu, vm_mem::DirtyLog* log, std::uint64_t offset) {
  if (log == nullptr || !log->is_watchable()) {
    drop();
    return VME_OK;
  }
  reserve(*log, offset);
  if (reservation_.is_settled) return VME_OK;
  const Closing closing(&cpu);
  if (log->settle(reservation_)) return VME_OK;
  drop();
  return closing.why();
}

// The new line first: where it is in the page of the old one, the page stays guarded.
void ExclusiveLine::reserve(vm_mem::DirtyLog& log, std::uint64_t offset) {
  const vm_mem::LineReservation made = log.reserve(offset);
  drop();
  log_ = &log;
  reservation_ = made;
}

void ExclusiveLine::drop() {
  word_.reset();
  if (log_ != nullptr) std::exchange(log_, nullptr)->unreserve(reservation_);
}

}  // namespace vm_engine::internal
