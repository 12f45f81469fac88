#include "vm_device/internal/async_engine.h"

#include <pthread.h>

#include <array>
#include <csignal>
#include <new>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"

namespace vm_device::internal {
namespace {

// What begins while it lives takes no signal but those of its own faults: the others are
// for the threads of the program.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) {
      sigdelset(&blocked, fault);
    }
    pthread_sigmask(SIG_BLOCK, &blocked, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

AsyncQueue::Files files_of(const std::unique_ptr<FileRing>& ring) {
  return ring == nullptr ? AsyncQueue::Files::kToWorkers : AsyncQueue::Files::kToRing;
}

}  // namespace

AsyncEngine::AsyncEngine(const AsyncDmaOptions& options, std::unique_ptr<FileRing> ring,
                         std::unique_ptr<FileCalls> calls, OwnedFd descriptor)
    : descriptor_(std::move(descriptor)),
      ring_(std::move(ring)),
      calls_(std::move(calls)),
      queue_(options, files_of(ring_), descriptor_.get()) {}

AsyncEngine::~AsyncEngine() {
  queue_.drain();
  queue_.close();
  for (std::thread& worker : workers_) worker.join();
  if (reaper_.joinable()) {
    ring_->stop();
    reaper_.join();
  }
}

absl::Status AsyncEngine::start(std::uint32_t workers) {
  const SignalsBlocked blocked;
  try {
    workers_.reserve(workers);
    for (std::uint32_t i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
    if (ring_ != nullptr) reaper_ = std::thread([this] { reap(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrFormat("thread %u cannot be had: errno %d",
                                                        workers_.size(), error.code().value()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the host has no memory left");
  }
  return absl::OkStatus();
}

// The caller's own request alone is started here: what others submitted is no part of the
// transaction that this thread may be in.
void AsyncEngine::submit(AsyncRequest& request) {
  if (!queue_.admit(request)) return;
  auto op = request.next();
  while (op) {
    const std::int64_t moved = ring_->try_now(*op);
    if (moved == 0) break;
    request.settle(moved);
    op = request.next();
  }
  if (!op) return queue_.complete(request);
  ring_->push(*op, request);
  ring_->flush();
}

void AsyncEngine::work() {
  while (AsyncRequest* const request = queue_.take()) {
    if (!is_of_file(request->kind)) {
      request->run();
      queue_.complete(*request);
    } else if (ring_ != nullptr) {
      carry_on(*request);
      ring_->flush();
    } else {
      while (const auto op = request->next()) request->settle(calls_->perform(*op));
      queue_.complete(*request);
    }
  }
}

// The next call of it, or its completion.
void AsyncEngine::carry_on(AsyncRequest& request) {
  if (const auto op = request.next()) {
    ring_->push(*op, request);
  } else {
    queue_.complete(request);
  }
}

void AsyncEngine::reap() {
  std::array<FileRing::Completion, 64> completions;
  while (const std::size_t count = ring_->wait(completions)) {
    for (std::size_t i = 0; i < count; ++i) {
      AsyncRequest& request = *completions[i].request;
      request.settle(completions[i].result);
      carry_on(request);
    }
    while (AsyncRequest* const request = queue_.take_for_ring()) carry_on(*request);
    ring_->flush();
  }
}

}  // namespace vm_device::internal
