#include <liburing.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "absl/strings/str_format.h"
#include "vm_device/internal/file_ring.h"

namespace vm_device::internal {
namespace {

// What the page cache has is copied by the thread that submits, unless it asks otherwise.
// Above this the copy takes longer than handing it to a thread of the kernel's.
constexpr std::uint64_t kInlineBytes = 64 * 1024;

bool is_offered(io_uring& ring) {
  io_uring_probe* const probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return false;
  bool all = true;
  for (const int code : {IORING_OP_NOP, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC}) {
    all = all && io_uring_opcode_supported(probe, code) != 0;
  }
  io_uring_free_probe(probe);
  return all;
}

void prepare(io_uring_sqe& entry, const FileOp& op) {
  const auto count = static_cast<unsigned>(op.pieces.size());
  switch (op.kind) {
    case FileOpKind::kRead:
      io_uring_prep_readv(&entry, op.descriptor, op.pieces.data(), count, op.offset);
      break;
    case FileOpKind::kWrite:
      io_uring_prep_writev(&entry, op.descriptor, op.pieces.data(), count, op.offset);
      break;
    case FileOpKind::kSync: io_uring_prep_fsync(&entry, op.descriptor, 0); break;
    case FileOpKind::kDataSync:
      io_uring_prep_fsync(&entry, op.descriptor, IORING_FSYNC_DATASYNC);
      break;
  }
  if (op.bytes > kInlineBytes) io_uring_sqe_set_flags(&entry, IOSQE_ASYNC);
}

// How many calls are spared after one that would have waited: a try that fails costs a look at
// the page cache.
constexpr std::uint32_t kSpared = 16;

std::int64_t move_at_once(const FileOp& op) {
  const auto count = static_cast<int>(op.pieces.size());
  const auto offset = static_cast<off_t>(op.offset);
  // tmpfs knows no RWF_NOWAIT, and needs none.
  const int flags = op.home == FileHome::kMemory ? 0 : RWF_NOWAIT;
  return op.kind == FileOpKind::kRead
             ? ::preadv2(op.descriptor, op.pieces.data(), count, offset, flags)
             : ::pwritev2(op.descriptor, op.pieces.data(), count, offset, flags);
}

class Uring final : public FileRing {
 public:
  Uring() = default;
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;
  ~Uring() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  absl::Status open(std::uint32_t entries) {
    if (const int error = io_uring_queue_init(entries, &ring_, 0); error != 0) {
      return absl::UnimplementedError(
          absl::StrFormat("the host refuses io_uring with %u entries: errno %d", entries, -error));
    }
    open_ = true;
    if (is_offered(ring_)) return absl::OkStatus();
    return absl::UnimplementedError("io_uring of this kernel lacks READV, WRITEV or FSYNC");
  }

  // What the page cache has needs no thread to be woken for its completion.
  std::int64_t try_now(const FileOp& op) override {
    if (!op.is_all_in_ram || op.bytes > kInlineBytes) return 0;
    std::atomic<std::uint32_t>& spared = op.kind == FileOpKind::kRead ? reads_ : writes_;
    if (const std::uint32_t left = spared.load(std::memory_order_relaxed); left > 0) {
      spared.store(left - 1, std::memory_order_relaxed);
      return 0;
    }
    const std::int64_t moved = move_at_once(op);
    if (moved <= 0) spared.store(kSpared, std::memory_order_relaxed);
    return std::max<std::int64_t>(moved, 0);
  }

  void push(const FileOp& op, AsyncRequest& request) override {
    const std::lock_guard lock(mutex_);
    io_uring_sqe& entry = next_entry();
    prepare(entry, op);
    io_uring_sqe_set_data(&entry, &request);
  }

  void flush() override {
    const std::lock_guard lock(mutex_);
    submit();
  }

  std::size_t wait(std::span<Completion> out) override {
    io_uring_cqe* first = nullptr;
    while (io_uring_wait_cqe(&ring_, &first) != 0) {
      std::this_thread::yield();  // EINTR; the kernel has nothing else to refuse
    }
    // Whoever pushed has let go of the lock, and so of the request.
    const std::lock_guard lock(mutex_);
    std::array<io_uring_cqe*, 64> entries;
    const unsigned count = io_uring_peek_batch_cqe(
        &ring_, entries.data(), static_cast<unsigned>(std::min(out.size(), entries.size())));
    std::size_t taken = 0;
    for (unsigned i = 0; i < count; ++i) {
      auto* const request = static_cast<AsyncRequest*>(io_uring_cqe_get_data(entries[i]));
      if (request != nullptr) out[taken++] = {request, entries[i]->res};
    }
    io_uring_cq_advance(&ring_, count);
    return taken;
  }

  void stop() override {
    const std::lock_guard lock(mutex_);
    io_uring_sqe& entry = next_entry();
    io_uring_prep_nop(&entry);
    io_uring_sqe_set_data(&entry, nullptr);
    submit();
  }

 private:
  io_uring_sqe& next_entry() {
    for (;;) {
      if (io_uring_sqe* const entry = io_uring_get_sqe(&ring_); entry != nullptr) return *entry;
      submit();
    }
  }

  // The kernel may be short of memory for a moment: what is in the ring stays there.
  void submit() {
    while (io_uring_sq_ready(&ring_) > 0 && io_uring_submit(&ring_) < 0) std::this_thread::yield();
  }

  std::mutex mutex_;  // of the submission side
  io_uring ring_{};
  bool open_ = false;
  std::atomic<std::uint32_t> reads_{0};  // that are not tried
  std::atomic<std::uint32_t> writes_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileRing>> make_file_ring(std::uint32_t entries) {
  auto ring = std::make_unique<Uring>();
  if (absl::Status opened = ring->open(entries); !opened.ok()) return opened;
  return std::unique_ptr<FileRing>(std::move(ring));
}

}  // namespace vm_device::internal
