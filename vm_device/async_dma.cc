#include "vm_device/async_dma.h"

#include <cerrno>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/async_engine.h"
#include "vm_device/internal/event_fd.h"

namespace vm_device {
namespace {

using internal::AsyncKind;
using internal::AsyncRequest;

constexpr std::uint32_t kMostRequests = 4096;
constexpr std::uint32_t kMostSegments = 65536;
constexpr std::uint32_t kMostThreads = 64;

absl::Status check(const char* what, std::uint32_t value, std::uint32_t most) {
  if (value >= 1 && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %u: possible are 1 to %u", what, value, most));
}

absl::Status check(const AsyncDmaOptions& options) {
  absl::Status status = check("max_requests", options.max_requests, kMostRequests);
  status.Update(check("max_segments", options.max_segments, kMostSegments));
  status.Update(check("threads", options.threads, kMostThreads));
  return status;
}

}  // namespace

std::string_view async_outcome_name(AsyncOutcome outcome) {
  switch (outcome) {
    case AsyncOutcome::kDone: return "kDone";
    case AsyncOutcome::kEndOfFile: return "kEndOfFile";
    case AsyncOutcome::kFileError: return "kFileError";
    case AsyncOutcome::kMemoryFault: return "kMemoryFault";
    case AsyncOutcome::kCancelled: return "kCancelled";
  }
  return "unknown";
}

// Its own thing, so that the header needs none of the engine's.
class AsyncDma::State {
 public:
  State(const AsyncDmaOptions& options, std::unique_ptr<internal::FileRing> ring,
        std::unique_ptr<internal::FileCalls> calls, internal::OwnedFd descriptor)
      : max_segments(options.max_segments),
        engine(options, std::move(ring), std::move(calls), std::move(descriptor)) {}

  const std::uint32_t max_segments;
  internal::AsyncEngine engine;
};

absl::StatusOr<std::unique_ptr<AsyncDma>> AsyncDma::create(AsyncDmaOptions options) {
  try {
    return create(options, std::make_unique<internal::SystemFileCalls>());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the host has no memory left");
  }
}

absl::StatusOr<std::unique_ptr<AsyncDma>> AsyncDma::create(
    AsyncDmaOptions options, std::unique_ptr<internal::FileCalls> calls) {
  if (absl::Status valid = check(options); !valid.ok()) return valid;
  std::unique_ptr<internal::FileRing> ring;
  if (options.backend != AsyncBackend::kThreads) {
    auto made = internal::make_file_ring(options.max_requests + 1);
    if (made.ok()) {
      ring = std::move(*made);
    } else if (options.backend == AsyncBackend::kIoUring) {
      return made.status();
    }
  }
  internal::OwnedFd descriptor = internal::make_event_fd();
  if (!descriptor.is_open()) {
    return absl::ResourceExhaustedError(absl::StrFormat("eventfd: errno %d", errno));
  }
  auto state =
      std::make_unique<State>(options, std::move(ring), std::move(calls), std::move(descriptor));
  if (absl::Status started = state->engine.start(options.threads); !started.ok()) return started;
  return std::unique_ptr<AsyncDma>(new AsyncDma(std::move(state)));
}

AsyncDma::AsyncDma(std::unique_ptr<State> state) : state_(std::move(state)) {}
AsyncDma::~AsyncDma() = default;

AsyncBackend AsyncDma::backend() const {
  return state_->engine.has_ring() ? AsyncBackend::kIoUring : AsyncBackend::kThreads;
}

// What any thread may use: no reader.
DmaSpace AsyncDma::for_any_thread(const DmaSpace& space) {
  DmaSpace copy = space;
  copy.reader_ = nullptr;
  copy.direct_ = nullptr;
  return copy;
}

template <typename Fill>
AsyncAdmission AsyncDma::submit(std::span<const DmaSegment> list, Fill fill) {
  if (list.size() > state_->max_segments) return AsyncAdmission::kTooLong;
  AsyncRequest* const request = state_->engine.queue().claim();
  if (request == nullptr) return AsyncAdmission::kBusy;
  request->list.assign(list.begin(), list.end());
  request->chain = internal::TransactionChain::current();
  fill(*request);
  state_->engine.submit(*request);
  return AsyncAdmission::kAccepted;
}

AsyncAdmission AsyncDma::read_file(const DmaSpace& space, std::span<const DmaSegment> to,
                                   AsyncFile from, AsyncTag tag) {
  return submit(to, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kReadFile;
    request.space.emplace(for_any_thread(space));
    request.file = from;
  });
}

AsyncAdmission AsyncDma::write_file(const DmaSpace& space, std::span<const DmaSegment> from,
                                    AsyncFile to, AsyncTag tag) {
  return submit(from, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kWriteFile;
    request.space.emplace(for_any_thread(space));
    request.file = to;
  });
}

AsyncAdmission AsyncDma::sync_file(int descriptor, AsyncSync what, AsyncTag tag) {
  return submit({}, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = what == AsyncSync::kAll ? AsyncKind::kSync : AsyncKind::kDataSync;
    request.file = {descriptor, 0};
  });
}

AsyncAdmission AsyncDma::copy(const DmaSpace& space, std::uint64_t to, std::uint64_t from,
                              std::uint64_t bytes, AsyncTag tag) {
  const DmaSegment range{to, bytes};
  return submit(std::span(&range, 1), [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kCopy;
    request.space.emplace(for_any_thread(space));
    request.source = from;
  });
}

AsyncAdmission AsyncDma::fill(const DmaSpace& space, std::span<const DmaSegment> to,
                              std::byte value, AsyncTag tag) {
  return submit(to, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kFill;
    request.space.emplace(for_any_thread(space));
    request.value = value;
  });
}

AsyncAdmission AsyncDma::read(const DmaSpace& space, std::span<const DmaSegment> from,
                              std::span<std::byte> to, AsyncTag tag) {
  return submit(from, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kRead;
    request.space.emplace(for_any_thread(space));
    request.to = to;
  });
}

AsyncAdmission AsyncDma::write(const DmaSpace& space, std::span<const DmaSegment> to,
                               std::span<const std::byte> from, AsyncTag tag) {
  return submit(to, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kWrite;
    request.space.emplace(for_any_thread(space));
    request.from = from;
  });
}

AsyncAdmission AsyncDma::fence(AsyncTag tag) {
  return submit({}, [&](AsyncRequest& request) {
    request.tag = tag;
    request.kind = AsyncKind::kFence;
  });
}

std::size_t AsyncDma::cancel(AsyncTag tag) { return state_->engine.queue().cancel(tag); }
std::size_t AsyncDma::cancel_all() { return state_->engine.queue().cancel(std::nullopt); }

std::size_t AsyncDma::poll(std::span<AsyncCompletion> out) {
  return state_->engine.queue().poll(out);
}
std::size_t AsyncDma::wait(std::span<AsyncCompletion> out, std::chrono::nanoseconds timeout) {
  return state_->engine.queue().wait(out, timeout);
}
std::size_t AsyncDma::outstanding() const { return state_->engine.queue().outstanding(); }

int AsyncDma::completion_fd() {
  state_->engine.queue().arm_descriptor();
  return state_->engine.descriptor();
}

}  // namespace vm_device
