#include "vm_device/internal/async_queue.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace vm_device::internal {
namespace {

// Of a wait: later than that the clock's range could end.
constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24 * 365);

}  // namespace

// A stretch under the lock, after which the signal is given if completions have come.
class AsyncQueue::Turn {
 public:
  explicit Turn(AsyncQueue& queue) : queue_(queue), lock_(queue.mutex_) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    const bool due = std::exchange(queue_.signal_due_, false);
    lock_.unlock();
    if (due && queue_.signal_ != nullptr) queue_.signal_->completions_wait();
  }

 private:
  AsyncQueue& queue_;
  std::unique_lock<std::mutex> lock_;
};

AsyncQueue::AsyncQueue(const AsyncDmaOptions& options, Files files, int descriptor)
    : files_(files),
      descriptor_(descriptor),
      signal_(options.signal),
      free_(options.max_requests),
      held_(options.max_requests),
      for_workers_(options.max_requests),
      for_ring_(options.max_requests),
      complete_(options.max_requests) {
  for (std::uint32_t i = 0; i < options.max_requests; ++i) {
    free_.push(&requests_.emplace_back(options.max_segments));
  }
}

AsyncRequest* AsyncQueue::claim() {
  const std::lock_guard lock(mutex_);
  return free_.empty() ? nullptr : free_.pop();
}

bool AsyncQueue::is_for_ring(const AsyncRequest& request) const {
  return files_ == Files::kToRing && is_of_file(request.kind);
}

bool AsyncQueue::admit(AsyncRequest& request) {
  const Turn turn(*this);
  if (held_.empty() && is_for_ring(request)) {
    ++active_;
    return true;
  }
  held_.push(&request);
  release_held();
  return false;
}

void AsyncQueue::complete(AsyncRequest& request) {
  const Turn turn(*this);
  --active_;
  push_complete(request);
  release_held();
}

void AsyncQueue::release_held() {
  while (!held_.empty()) {
    AsyncRequest& request = *held_.front();
    const bool is_fence = request.kind == AsyncKind::kFence;
    if (is_fence && active_ > 0) return;
    held_.pop();
    if (is_fence) {
      push_complete(request);
      continue;
    }
    ++active_;
    (is_for_ring(request) ? for_ring_ : for_workers_).push(&request);
    work_came_.notify_one();
  }
}

void AsyncQueue::push_complete(AsyncRequest& request) {
  request.completion.tag = request.tag;
  request.space.reset();
  if (complete_.empty()) {
    signal_due_ = true;
    if (is_armed_) ::eventfd_write(descriptor_, 1);
  }
  complete_.push(&request);
  completion_came_.notify_all();
}

AsyncRequest* AsyncQueue::take() {
  std::unique_lock lock(mutex_);
  work_came_.wait(lock, [&] { return is_closed_ || !for_ring_.empty() || !for_workers_.empty(); });
  if (!for_ring_.empty()) return for_ring_.pop();
  return for_workers_.empty() ? nullptr : for_workers_.pop();
}

AsyncRequest* AsyncQueue::take_for_ring() {
  const std::lock_guard lock(mutex_);
  return for_ring_.empty() ? nullptr : for_ring_.pop();
}

std::size_t AsyncQueue::cancel_in(FixedFifo<AsyncRequest*>& waiting, std::optional<AsyncTag> tag) {
  std::size_t cancelled = 0;
  waiting.remove_if([&](AsyncRequest* request) {
    if (request->kind == AsyncKind::kFence || (tag && request->tag != *tag)) return false;
    request->completion.outcome = AsyncOutcome::kCancelled;
    if (!request->list.empty()) request->completion.dma.at = request->list.front().address;
    push_complete(*request);
    ++cancelled;
    return true;
  });
  return cancelled;
}

std::size_t AsyncQueue::cancel(std::optional<AsyncTag> tag) {
  const Turn turn(*this);
  const std::size_t released = cancel_in(for_workers_, tag) + cancel_in(for_ring_, tag);
  active_ -= released;
  const std::size_t held = cancel_in(held_, tag);
  release_held();
  return released + held;
}

std::size_t AsyncQueue::take_completions(std::span<AsyncCompletion> out) {
  std::size_t taken = 0;
  for (; taken < out.size() && !complete_.empty(); ++taken) {
    AsyncRequest* const request = complete_.pop();
    out[taken] = request->completion;
    request->clear();
    free_.push(request);
  }
  if (taken != 0 && free_.size() == requests_.size()) completion_came_.notify_all();
  if (taken != 0 && complete_.empty() && is_armed_) {
    eventfd_t count = 0;
    ::eventfd_read(descriptor_, &count);
  }
  return taken;
}

std::size_t AsyncQueue::poll(std::span<AsyncCompletion> out) {
  const std::lock_guard lock(mutex_);
  return take_completions(out);
}

std::size_t AsyncQueue::wait(std::span<AsyncCompletion> out, std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  completion_came_.wait_for(lock, std::min(timeout, kLongest),
                            [&] { return !complete_.empty() || free_.size() == requests_.size(); });
  return take_completions(out);
}

std::size_t AsyncQueue::outstanding() const {
  const std::lock_guard lock(mutex_);
  return requests_.size() - free_.size();
}

void AsyncQueue::arm_descriptor() {
  const std::lock_guard lock(mutex_);
  if (!is_armed_ && !complete_.empty()) ::eventfd_write(descriptor_, 1);
  is_armed_ = true;
}

void AsyncQueue::drain() {
  cancel(std::nullopt);
  std::unique_lock lock(mutex_);
  completion_came_.wait(lock, [&] { return active_ == 0 && held_.empty(); });
}

void AsyncQueue::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  work_came_.notify_all();
}

}  // namespace vm_device::internal
