#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "vm_mem/internal/block_ring.h"

namespace vm_mem::internal {
namespace {

// First in, first out, with all its room from the beginning on.
template <typename T>
class Queue {
 public:
  explicit Queue(std::size_t room) : values_(room) {}

  bool empty() const { return put_ == taken_; }
  void put(const T& value) { values_[put_++ % values_.size()] = value; }
  T take() { return values_[taken_++ % values_.size()]; }

 private:
  std::vector<T> values_;
  std::size_t put_ = 0;
  std::size_t taken_ = 0;
};

class ThreadBlocks final : public BlockRing {
 public:
  ThreadBlocks(FileCalls& calls, std::uint32_t depth) : calls_(calls), jobs_(depth), done_(depth) {}
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

  void start(const BlockJob& job) noexcept override {
    {
      const std::lock_guard lock(mutex_);
      jobs_.put(job);
    }
    changed_.notify_one();
  }

  BlockDone wait() noexcept override {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return !done_.empty(); });
    return done_.take();
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
      const BlockJob job = jobs_.take();
      lock.unlock();
      const BlockDone done{.tag = job.tag, .result = carry_out(job)};
      lock.lock();
      done_.put(done);
      finished_.notify_one();
    }
  }

  FileCalls& calls_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::condition_variable finished_;
  Queue<BlockJob> jobs_;
  Queue<BlockDone> done_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlockRing>> make_thread_blocks(FileCalls& calls, std::uint32_t depth,
                                                              unsigned threads) {
  auto ring = std::make_unique<ThreadBlocks>(calls, depth);
  if (absl::Status opened = ring->open(threads); !opened.ok()) return opened;
  return std::unique_ptr<BlockRing>(std::move(ring));
}

}  // namespace vm_mem::internal
