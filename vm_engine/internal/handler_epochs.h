// Which fault handlers may still look at what has been replaced. A handler takes no lock:
// it counts itself in and out, and whoever takes something away waits for those that were
// in before.
#ifndef VM_ENGINE_INTERNAL_HANDLER_EPOCHS_H_
#define VM_ENGINE_INTERNAL_HANDLER_EPOCHS_H_

#include <atomic>
#include <cstdint>

namespace vm_engine::internal {

// A handler's stay.
//
// Memory:  async-signal-safe, no lock; what was published before wait_for_handlers() began
//          is seen by every stay that it does not wait for.
class HandlerStay {
 public:
  HandlerStay();
  HandlerStay(const HandlerStay&) = delete;
  HandlerStay& operator=(const HandlerStay&) = delete;
  ~HandlerStay();

 private:
  std::uint64_t epoch_;
};

// Returns when every stay that had begun before the call has ended.
//
// Needs:  not inside a handler.
void wait_for_handlers();

// For fork_guard.h. The child has the counts of threads that it does not have.
void lock_handler_waits_for_fork();
void unlock_handler_waits_after_fork();
void forget_other_handlers();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_HANDLER_EPOCHS_H_
