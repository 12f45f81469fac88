#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "vm_mem/internal/block_ring.h"

namespace vm_mem::internal {
namespace {

class ThreadBlocks final : public BlockRing {
 public:
  explicit ThreadBlocks(FileCalls& calls) : calls_(calls) {}
  ThreadBlocks(const ThreadBlocks&) = delete;
  ThreadBlocks& operator=(const ThreadBlocks&) = delete;
  ~ThreadBlocks() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  absl::Status open(unsigned threads) {
    try {
      for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) return absl::ResourceExhaustedError("the host starts no thread");
    }
    return absl::OkStatus();
  }

  void start(const BlockJob& job) override {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(job);
    }
    changed_.notify_one();
  }

  BlockDone wait() override {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return !done_.empty(); });
    const BlockDone done = done_.front();
    done_.pop_front();
    return done;
  }

 private:
  std::int64_t carry_out(const BlockJob& job) {
    const ssize_t done =
        job.kind == BlockJob::Kind::kRead
            ? calls_.read_at(job.fd, job.bytes.data(), job.bytes.size(), job.offset)
            : calls_.write_at(job.fd, job.bytes.data(), job.bytes.size(), job.offset);
    return done < 0 ? -errno : done;
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      const BlockJob job = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      const BlockDone done{.tag = job.tag, .result = carry_out(job)};
      lock.lock();
      done_.push_back(done);
      finished_.notify_one();
    }
  }

  FileCalls& calls_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::condition_variable finished_;
  std::deque<BlockJob> jobs_;
  std::deque<BlockDone> done_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlockRing>> make_thread_blocks(FileCalls& calls, unsigned threads) {
  auto ring = std::make_unique<ThreadBlocks>(calls);
  if (absl::Status opened = ring->open(threads); !opened.ok()) return opened;
  return std::unique_ptr<BlockRing>(std::move(ring));
}

}  // namespace vm_mem::internal
