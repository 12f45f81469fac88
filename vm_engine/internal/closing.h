// Closing guarded pages for direct stores in the soft TLBs of an engine's vCPUs, for whoever
// guards them: translators, the exclusive monitor, other watchers of the same memory.
#ifndef VM_ENGINE_INTERNAL_CLOSING_H_
#define VM_ENGINE_INTERNAL_CLOSING_H_

#include <span>
#include <utility>

#include "vm_engine/vm_engine.h"
#include "vm_mem/code_watch.h"

namespace vm_engine::internal {

class Cpu;
class CpuList;

// What this thread's guarding of pages may wait with, its vCPU, and what came of it.
class Closing {
 public:
  explicit Closing(Cpu* self) : self_(self), before_(std::exchange(current_, this)) {}
  Closing(const Closing&) = delete;
  Closing& operator=(const Closing&) = delete;
  ~Closing() { current_ = before_; }

  // The first failure of a vCPU; VME_EBUSY where it is somebody else's.
  // Needs:  some page was not guarded.
  vme_rc why() const { return rc_ != VME_OK ? rc_ : VME_EBUSY; }

 private:
  friend class PageCloser;
  static thread_local constinit Closing* current_;

  Cpu* const self_;
  Closing* const before_;
  vme_rc rc_ = VME_OK;
};

// The engine's watcher.
class PageCloser : public vm_mem::CodeWatcher {
 public:
  explicit PageCloser(CpuList& cpus) : cpus_(cpus) {}
  PageCloser(const PageCloser&) = delete;
  PageCloser& operator=(const PageCloser&) = delete;

  void code_written(std::span<const vm_mem::CodeWrite>) noexcept override {}
  bool pages_guarded(std::span<const vm_mem::CodeRange> pages) noexcept override;
  bool waits_for_threads() const noexcept override { return true; }

 private:
  CpuList& cpus_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CLOSING_H_
