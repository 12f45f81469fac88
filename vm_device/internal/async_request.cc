// A request of a file moves window by window: some of the list is mapped, calls move it
// until nothing is left of it, and it is given back. Whatever ends the request closes the
// window first, so that bytes and dirty marks are there before the completion.
#include "vm_device/internal/async_request.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace vm_device::internal {
namespace {

// A file that says "again" without an end is in error.
constexpr int kMaxTries = 64;

// Cuts the list where it would pass 2^64; whether it did.
bool cut_at_top(std::vector<DmaSegment>& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    DmaSegment& segment = list[i];
    if (segment.bytes == 0 || segment.bytes - 1 <= UINT64_MAX - segment.address) continue;
    segment.bytes = UINT64_MAX - segment.address + 1;
    list.resize(i + 1);
    return true;
  }
  return false;
}

}  // namespace

void AsyncRequest::run() {
  const ResumedTransaction resumed(chain);
  DmaResult& dma = completion.dma;
  switch (kind) {
    case AsyncKind::kCopy: dma = space->copy(list[0].address, source, list[0].bytes); break;
    case AsyncKind::kFill: dma = space->fill(list, value); break;
    case AsyncKind::kRead: dma = space->read(list, to); break;
    case AsyncKind::kWrite: dma = space->write(list, from); break;
    default: break;
  }
  completion.outcome = dma.ok() ? AsyncOutcome::kDone : AsyncOutcome::kMemoryFault;
}

std::optional<FileOp> AsyncRequest::next() {
  const ResumedTransaction resumed(chain);
  if (!has_begun_ && !begin()) return std::nullopt;
  if (has_ended_) return std::nullopt;
  if (is_sync()) {
    const bool all = kind == AsyncKind::kSync;
    return FileOp{all ? FileOpKind::kSync : FileOpKind::kDataSync, file.descriptor, {}, 0, 0};
  }
  if (pieces_.rest().empty() && !map_window()) return std::nullopt;
  return FileOp{.kind = kind == AsyncKind::kReadFile ? FileOpKind::kRead : FileOpKind::kWrite,
                .descriptor = file.descriptor,
                .pieces = pieces_.rest(),
                .offset = file.offset + done(),
                .bytes = pieces_.bytes() - pieces_.moved(),
                .home = file.home,
                .is_all_in_ram = is_all_in_ram()};
}

bool AsyncRequest::is_all_in_ram() const {
  SegmentCursor behind = cursor_;
  behind.skip(pieces_.bytes());
  return !pieces_.has_copies() && behind.peek(1).bytes == 0;
}

// io_uring would take a descriptor that cannot seek, and -1 for where it stands.
bool AsyncRequest::begin() {
  has_begun_ = true;
  cursor_ = SegmentCursor(list);
  if (is_sync()) return true;
  past_top_ = cut_at_top(list);
  cursor_ = SegmentCursor(list);
  if (::lseek(file.descriptor, 0, SEEK_CUR) < 0) {
    end(AsyncOutcome::kFileError, errno);
    return false;
  }
  return true;
}

bool AsyncRequest::map_window() {
  constexpr std::uint64_t kTop = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t at = file.offset + done();
  const DmaAccess access = kind == AsyncKind::kReadFile ? DmaAccess::kWrite : DmaAccess::kRead;
  if (cursor_.peek(1).bytes == 0) {
    if (past_top_) {
      end(DmaPieces::past_top(*space, access));
    } else {
      end(AsyncOutcome::kDone);
    }
    return false;
  }
  if (file.offset > kTop || at > kTop) {
    end(AsyncOutcome::kFileError, EINVAL);
    return false;
  }
  stop_ = pieces_.map(*space, cursor_, kTop - at + 1, access);
  if (pieces_.bytes() != 0) return true;
  end(stop_);
  return false;
}

void AsyncRequest::settle(std::int64_t result) {
  const ResumedTransaction resumed(chain);
  if (result < 0) return retry(static_cast<int>(-result));
  tries_ = 0;
  has_faulted_ = false;
  if (is_sync()) return end(AsyncOutcome::kDone);
  if (result == 0) {
    // A write that writes nothing would do so forever.
    if (kind == AsyncKind::kWriteFile) return end(AsyncOutcome::kFileError, EIO);
    return end(AsyncOutcome::kEndOfFile);
  }
  pieces_.advance(static_cast<std::uint64_t>(result));
  if (pieces_.rest().empty()) settle_window();
}

// All of the window is moved.
void AsyncRequest::settle_window() {
  const DmaResult put = pieces_.release(*space, DmaPieces::Written::kWhatMoved);
  completion.dma.done += put.done;
  cursor_.skip(put.done);
  if (!put.ok()) return end(put);
  if (!stop_.ok()) end(stop_);
}

// io_uring ties a call to the thread that submitted it. Where that thread ends first, what
// has not started is cancelled, and what the kernel was to do on the thread's behalf finds
// no memory (EFAULT). Who settles the call makes it again, from a thread that stays; nobody
// here asks the kernel to cancel.
void AsyncRequest::retry(int error) {
  const bool doubtful = error == EFAULT && !std::exchange(has_faulted_, true);
  const bool again = error == EINTR || error == EAGAIN || error == ECANCELED || doubtful;
  if (again && ++tries_ < kMaxTries) return;
  if (error != EFAULT || is_sync()) return end(AsyncOutcome::kFileError, error);
  end({DmaFault::kHostFault, 0, 0});
}

// Closes the window that is open, and tells what has become of the request.
void AsyncRequest::end(AsyncOutcome outcome, int error) {
  has_ended_ = true;
  completion.outcome = outcome;
  completion.error = error;
  if (is_sync()) return;
  const bool counted = outcome == AsyncOutcome::kEndOfFile || outcome == AsyncOutcome::kDone;
  const DmaResult put = pieces_.release(
      *space, counted ? DmaPieces::Written::kWhatMoved : DmaPieces::Written::kPerhapsAll);
  completion.dma.done += put.done;
  cursor_.skip(put.done);
  if (!put.ok()) {
    completion = {tag, AsyncOutcome::kMemoryFault, {put.fault, completion.dma.done, put.at}, 0};
  } else if (outcome != AsyncOutcome::kDone) {
    completion.dma.at = cursor_.peek(1).address;
  }
}

void AsyncRequest::end(const DmaResult& fault) {
  end(AsyncOutcome::kMemoryFault);
  completion.dma.fault = fault.fault;
  if (fault.fault != DmaFault::kHostFault) completion.dma.at = fault.at;
}

void AsyncRequest::clear() {
  tag = {};
  kind = AsyncKind::kFence;
  space.reset();
  list.clear();
  file = {};
  to = {};
  from = {};
  source = 0;
  value = {};
  chain = {};
  completion = {};
  cursor_ = SegmentCursor({});
  stop_ = {};
  has_begun_ = has_ended_ = past_top_ = has_faulted_ = false;
  tries_ = 0;
}

}  // namespace vm_device::internal
