#include "vm_mem/internal/block_pipe.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

namespace vm_mem::internal {
namespace {

constexpr unsigned kThreads = 2;
constexpr std::size_t kAlignment = 4096;  // of all that O_DIRECT is asked for

bool drop_direct(OpenFile& file) {
  if (!file.direct) return true;
  file.direct = false;
  const int flags = ::fcntl(file.fd.get(), F_GETFL);
  return flags >= 0 && ::fcntl(file.fd.get(), F_SETFL, flags & ~O_DIRECT) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockPipe>> BlockPipe::make(FileCalls& calls, SnapshotIo io) {
  HostMappingOptions options;
  options.host.huge_pages = HugePageAdvice::kAlways;
  absl::StatusOr<HostMapping> staging = HostMapping::anonymous(kDepth * kBlockBytes, options);
  if (!staging.ok()) return staging.status();
  absl::StatusOr<std::unique_ptr<BlockRing>> ring = absl::UnimplementedError("not asked for");
  if (io == SnapshotIo::kRing && calls.may_use_ring()) {
    ring = make_uring_blocks(kDepth, staging->bytes());
  }
  if (!ring.ok()) {
    if (io == SnapshotIo::kRing) io = SnapshotIo::kThreads;
    ring = make_thread_blocks(calls, kDepth, kThreads);
  }
  if (!ring.ok()) return ring.status();
  return std::unique_ptr<BlockPipe>(new BlockPipe(*std::move(staging), *std::move(ring), io));
}

BlockPipe::BlockPipe(HostMapping staging, std::unique_ptr<BlockRing> ring, SnapshotIo io)
    : staging_(std::move(staging)), ring_(std::move(ring)), io_(io) {}

BlockPipe::~BlockPipe() {
  for (; !is_idle(); ++finished_) wait_for_oldest();
}

std::span<std::byte> BlockPipe::block(std::size_t number) const {
  return staging_.bytes().subspan(number * kBlockBytes, kBlockBytes);
}

std::span<std::byte> BlockPipe::next() { return block(started_ % kDepth); }

void BlockPipe::start(BlockJob::Kind kind, OpenFile& file, std::uint64_t offset,
                      std::size_t bytes) {
  const std::size_t number = started_ % kDepth;
  Slot& slot = slots_[number];
  slot = {.job = {.kind = kind,
                  .fd = file.fd.get(),
                  .bytes = block(number).first(bytes),
                  .offset = offset,
                  .tag = static_cast<std::uint32_t>(number)},
          .file = &file,
          .bytes = bytes,
          .direct = file.direct,
          .done = false,
          .error = 0};
  ++started_;
  ring_->start(slot.job);
}

// Whether there is something left to do, which slot.job is then.
bool BlockPipe::may_go_on(Slot& slot, std::int64_t result) noexcept {
  BlockJob& job = slot.job;
  if (result == -EINTR || result == -EAGAIN) return true;
  if (result == -EINVAL && std::exchange(slot.direct, false) && drop_direct(*slot.file)) {
    return true;
  }
  if (result <= 0) {
    const bool writes_none = result == 0 && job.kind == BlockJob::Kind::kWrite;
    slot.error = writes_none ? ENOSPC : static_cast<int>(-result);
    return false;
  }
  auto done = static_cast<std::size_t>(result);
  if (done >= job.bytes.size()) {
    job.bytes = {};
    return false;
  }
  // What is left has to be aligned, unless the page cache is between.
  if (slot.direct && done % kAlignment != 0) {
    done -= done % kAlignment;
    if (done == 0) slot.direct = !drop_direct(*slot.file);
  }
  job.bytes = job.bytes.subspan(done);
  job.offset += done;
  return true;
}

void BlockPipe::wait_for_oldest() noexcept {
  const Slot& oldest = slots_[finished_ % kDepth];
  while (!oldest.done) {
    const BlockDone done = ring_->wait();
    Slot& slot = slots_[done.tag];
    if (may_go_on(slot, done.result)) {
      ring_->start(slot.job);
    } else {
      slot.done = true;
    }
  }
}

absl::Status BlockPipe::status_of(const Slot& slot) {
  const BlockJob& job = slot.job;
  if (job.bytes.empty()) return absl::OkStatus();
  if (slot.error != 0) {
    return file_refused(slot.file->path, job.offset,
                        job.kind == BlockJob::Kind::kRead ? "reading" : "writing", slot.error);
  }
  return file_error(slot.file->path, job.offset,
                    absl::DataLossError("the file ends here, too early"));
}

absl::StatusOr<std::span<std::byte>> BlockPipe::finish_oldest() {
  wait_for_oldest();
  const std::size_t number = finished_ % kDepth;
  ++finished_;
  if (absl::Status status = status_of(slots_[number]); !status.ok()) return status;
  return block(number).first(slots_[number].bytes);
}

absl::Status BlockPipe::finish_all() {
  absl::Status first;
  while (!is_idle()) {
    if (const auto finished = finish_oldest(); !finished.ok() && first.ok()) {
      first = finished.status();
    }
  }
  return first;
}

}  // namespace vm_mem::internal
