// The vCPUs of an engine, and what one thread asks of all of them: each does it on its own
// thread when it comes by, and who asked waits until all have.
//
// A parked vCPU has nothing in its TLB and runs no code, so it has done whatever is asked;
// it takes the lock before it goes on, and so sees what was changed before.
#ifndef VM_ENGINE_INTERNAL_CPU_LIST_H_
#define VM_ENGINE_INTERNAL_CPU_LIST_H_

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "vm_engine/internal/open_pages.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {

class Cpu;

// What is to be forgotten, which may be nothing: pages that are guarded
// (vm_mem::DirtyLog::is_guarded) are closed with every request.
struct CpuRequest {
  std::uint64_t gva = 0;
  std::uint64_t bytes = 0;
};

// What a vCPU has been asked and has not done. The list's lock guards it.
class CpuMailbox {
 public:
  void post(const CpuRequest& request, std::uint64_t ticket);
  bool is_done(std::uint64_t ticket) const { return posted_ < ticket || done_ >= ticket; }

 private:
  friend class CpuList;
  static constexpr std::size_t kMost = 8;

  std::array<CpuRequest, kMost> requests_{};
  std::size_t count_ = 0;  // above kMost: everything is to be forgotten
  std::uint64_t posted_ = 0;
  std::uint64_t done_ = 0;
};

class CpuList {
 public:
  enum class Patience : std::uint8_t { kUntilExitRequest, kLimited };
  static constexpr std::chrono::seconds kMostPatience{1};

  void add(Cpu& cpu);
  void remove(Cpu& cpu);
  bool has(const Cpu& cpu);

  // Asks every vCPU but `self`, which may be null or another engine's, and waits. What others
  // ask of `self` meanwhile is done. With `open`, asks those alone that may have one of these
  // pages open.
  // Errors:  VME_INTR: not all have done it, but will: exit_request of `self` was set.
  //          VME_EBUSY, kLimited: one has not come by for kMostPatience.
  vme_rc ask(const CpuRequest& request, Cpu* self, Patience patience,
             const OpenPages::Words* open = nullptr);

  // Once it returns VME_OK, no vCPU has a page of the buckets open for direct stores that is
  // guarded, and what was stored through one is visible here.
  //
  // Needs:   the pages are guarded already.
  // Errors:  VME_INTR, VME_EBUSY.
  vme_rc close_everywhere(const OpenPages::Words& buckets, Cpu* self);

  // On the vCPU's thread: it runs, and does what it was asked.
  void attend(Cpu& cpu);
  // Needs:  nothing in its TLB.
  void park(Cpu& cpu);

 private:
  bool all_done(std::uint64_t ticket, const Cpu* self) const;

  std::mutex mutex_;
  std::condition_variable changed_;
  Cpu* first_ = nullptr;
  std::uint64_t tickets_ = 0;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CPU_LIST_H_
