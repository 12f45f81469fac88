// Who wrote to code that was translated: told on any thread, taken up on the hart's.
#ifndef VMRUN_JIT_WATCH_H_
#define VMRUN_JIT_WATCH_H_

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "vm_engine/translation.h"
#include "vm_engine/vm_engine.h"

namespace vmrun {

// The embedder's bit of vme_cpu::exit_request.
inline constexpr std::uint32_t kExitNow = 1;

// Has translated code left at the next block. Any thread, and signal handlers.
inline void request_exit(vme_cpu& cpu) {
  __atomic_fetch_or(&cpu.exit_request, kExitNow, __ATOMIC_SEQ_CST);
}

class JitWatch {
 public:
  explicit JitWatch(vme_cpu& cpu) : cpu_(&cpu) {}
  JitWatch(const JitWatch&) = delete;
  JitWatch& operator=(const JitWatch&) = delete;
  // Needs:  every translation was released.
  ~JitWatch() { vme_tc_unregister(tc_); }

  // Needs:  no engine was followed before.
  vme_rc follow(vme_engine& engine) { return vme_tc_register(&engine, note, this, &tc_); }

  vme_tc* tc() { return tc_; }
  // What was written since, each time once.
  std::vector<vme_tc_range> take();

 private:
  static void note(void* opaque, const vme_tc_event* events, std::size_t count);

  vme_cpu* cpu_;
  vme_tc* tc_ = nullptr;
  std::atomic<bool> any_{false};
  std::mutex mutex_;
  std::vector<vme_tc_range> written_;  // by mutex_
};

}  // namespace vmrun

#endif  // VMRUN_JIT_WATCH_H_
