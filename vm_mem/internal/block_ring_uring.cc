#include <liburing.h>
#include <sys/uio.h>

#include <thread>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/block_ring.h"

namespace vm_mem::internal {
namespace {

class UringBlocks final : public BlockRing {
 public:
  UringBlocks() = default;
  UringBlocks(const UringBlocks&) = delete;
  UringBlocks& operator=(const UringBlocks&) = delete;
  ~UringBlocks() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  absl::Status open(std::uint32_t depth, std::span<std::byte> staging) {
    if (const int error = io_uring_queue_init(depth, &ring_, 0); error != 0) {
      return absl::UnimplementedError(
          absl::StrFormat("the host refuses io_uring: errno %d", -error));
    }
    open_ = true;
    // Registered memory is not looked up at each job; RLIMIT_MEMLOCK may forbid it.
    const iovec memory{staging.data(), staging.size()};
    registered_ = io_uring_register_buffers(&ring_, &memory, 1) == 0;
    return absl::OkStatus();
  }

  void start(const BlockJob& job) noexcept override {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    prepare(*entry, job);
    io_uring_sqe_set_data(entry, reinterpret_cast<void*>(std::uintptr_t{job.tag}));
    // The kernel may be short of memory for a moment: what is in the ring stays there.
    while (io_uring_sq_ready(&ring_) > 0 && io_uring_submit(&ring_) < 0) std::this_thread::yield();
  }

  BlockDone wait() noexcept override {
    io_uring_cqe* entry = nullptr;
    while (io_uring_wait_cqe(&ring_, &entry) != 0) std::this_thread::yield();
    const auto tag = reinterpret_cast<std::uintptr_t>(io_uring_cqe_get_data(entry));
    const BlockDone done{.tag = static_cast<std::uint32_t>(tag), .result = entry->res};
    io_uring_cqe_seen(&ring_, entry);
    return done;
  }

 private:
  void prepare(io_uring_sqe& entry, const BlockJob& job) const {
    const auto bytes = static_cast<unsigned>(job.bytes.size());
    void* const data = job.bytes.data();
    if (job.kind == BlockJob::Kind::kRead && registered_) {
      io_uring_prep_read_fixed(&entry, job.fd, data, bytes, job.offset, 0);
    } else if (job.kind == BlockJob::Kind::kRead) {
      io_uring_prep_read(&entry, job.fd, data, bytes, job.offset);
    } else if (registered_) {
      io_uring_prep_write_fixed(&entry, job.fd, data, bytes, job.offset, 0);
    } else {
      io_uring_prep_write(&entry, job.fd, data, bytes, job.offset);
    }
  }

  io_uring ring_{};
  bool open_ = false;
  bool registered_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlockRing>> make_uring_blocks(std::uint32_t depth,
                                                             std::span<std::byte> staging) {
  auto ring = std::make_unique<UringBlocks>();
  if (absl::Status opened = ring->open(depth, staging); !opened.ok()) return opened;
  return std::unique_ptr<BlockRing>(std::move(ring));
}

}  // namespace vm_mem::internal
