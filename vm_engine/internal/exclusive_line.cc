#include "vm_engine/internal/exclusive_line.h"

#include "vm_engine/internal/cpu.h"

namespace vm_engine::internal {

vme_rc ExclusiveLine::take(Cpu& cpu, vm_mem::DirtyLog* log, std::uint64_t offset) {
  if (log == nullptr || !log->is_watchable()) {
    drop();
    return VME_OK;
  }
  reserve(*log, offset);
  if (!reservation_.is_first_of_page) return VME_OK;
  const vme_rc rc = cpu.engine().cpus.close_everywhere(OpenPages::bucket_of(offset), &cpu);
  // A page that is closed is marked, which breaks what is reserved there.
  if (rc == VME_OK) {
    reserve(*log, offset);
  } else {
    drop();
  }
  return rc;
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
