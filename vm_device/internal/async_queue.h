// Where the requests of AsyncDma stand: which are free, which a fence holds back, which
// wait for whom, which are under way, and which are complete.
#ifndef VM_DEVICE_INTERNAL_ASYNC_QUEUE_H_
#define VM_DEVICE_INTERNAL_ASYNC_QUEUE_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>

#include "vm_device/internal/async_request.h"
#include "vm_device/internal/fixed_fifo.h"

namespace vm_device::internal {

// Any number of threads at a time. A request belongs to who has claimed or taken it, until
// it is admitted or completed.
class AsyncQueue {
 public:
  enum class Files : std::uint8_t { kToWorkers, kToRing };

  // `descriptor` is an eventfd.
  AsyncQueue(const AsyncDmaOptions& options, Files files, int descriptor);
  AsyncQueue(const AsyncQueue&) = delete;
  AsyncQueue& operator=(const AsyncQueue&) = delete;

  // One that is free, and was cleared; or null.
  AsyncRequest* claim();
  // True: it is for the ring, no fence holds it back, and it is the caller's to start.
  // Others are taken when no fence holds them back.
  [[nodiscard]] bool admit(AsyncRequest& request);
  void complete(AsyncRequest& request);

  // Waits for one. Null: close() was called.
  AsyncRequest* take();
  // One for the ring; null: there is none.
  AsyncRequest* take_for_ring();

  // Of all tags: without one.
  std::size_t cancel(std::optional<AsyncTag> tag);
  std::size_t poll(std::span<AsyncCompletion> out);
  std::size_t wait(std::span<AsyncCompletion> out, std::chrono::nanoseconds timeout);
  std::size_t outstanding() const;
  void arm_descriptor();

  // Cancels what has not started and waits until nothing is under way.
  void drain();
  // Of the workers. Needs:  drain(), and no submission since.
  void close();

 private:
  class Turn;

  bool is_for_ring(const AsyncRequest& request) const;
  void release_held();
  void push_complete(AsyncRequest& request);
  std::size_t cancel_in(FixedFifo<AsyncRequest*>& waiting, std::optional<AsyncTag> tag);
  std::size_t take_completions(std::span<AsyncCompletion> out);

  const Files files_;
  const int descriptor_;
  AsyncSignal* const signal_;
  std::deque<AsyncRequest> requests_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable work_came_;
  std::condition_variable completion_came_;
  FixedFifo<AsyncRequest*> free_;
  FixedFifo<AsyncRequest*> held_;  // in the order of their submission; a fence is the first
  FixedFifo<AsyncRequest*> for_workers_;
  FixedFifo<AsyncRequest*> for_ring_;
  FixedFifo<AsyncRequest*> complete_;
  std::size_t active_ = 0;  // past the fences, and not complete
  bool signal_due_ = false;
  bool is_armed_ = false;
  bool is_closed_ = false;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_ASYNC_QUEUE_H_
