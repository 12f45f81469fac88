#include "vm_engine/internal/closing.h"

#include "vm_engine/internal/attached_thread.h"
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/cpu_list.h"
#include "vm_engine/internal/open_pages.h"

namespace vm_engine::internal {

thread_local constinit Closing* Closing::current_ = nullptr;

// A thread that watches by itself waits with the vCPU that it is attached to.
bool PageCloser::pages_guarded(std::span<const vm_mem::CodeRange> pages) noexcept {
  OpenPages::Words buckets{};
  for (const vm_mem::CodeRange& range : pages) {
    for (std::uint64_t done = 0; done < range.bytes; done += vm_mem::kDirtyPageBytes) {
      OpenPages::add(OpenPages::bucket_of(range.offset + done), buckets);
    }
  }
  Closing* const closing = Closing::current_;
  Cpu* const self = closing != nullptr ? closing->self_ : attached_cpu();
  const vme_rc rc = cpus_.close_everywhere(buckets, self);
  if (closing != nullptr && closing->rc_ == VME_OK) closing->rc_ = rc;
  return rc == VME_OK;
}

}  // namespace vm_engine::internal
