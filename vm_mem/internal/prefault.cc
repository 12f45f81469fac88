// The memory is cut into chunks, which the threads take from a counter. The calling
// thread is one of them, and the only one that reports progress.
#include "vm_mem/internal/prefault.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_reservation.h"

namespace vm_mem::internal {
namespace {

constexpr int kPopulateRead = 22;   // MADV_POPULATE_READ, from Linux 5.14
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE

// Small enough that progress is told often and the threads end together, large enough
// that a chunk's fixed cost is nothing beside clearing its pages.
constexpr std::size_t kLeastChunk = std::size_t{2} << 20;
constexpr std::size_t kMostChunk = std::size_t{64} << 20;
constexpr std::size_t kChunksPerThread = 8;
constexpr std::size_t kMostThreads = 256;  // beyond it they only wait for each other

int advise(std::span<std::byte> part, int advice) {
  while (::madvise(part.data(), part.size(), advice) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

// A store of what is there already: unlike an addition of zero, no compiler turns a
// compare-exchange into a load.
void touch(std::byte& byte, FileAccess access) {
  const std::atomic_ref<std::byte> place(byte);
  std::byte value = place.load(std::memory_order_relaxed);
  if (access == FileAccess::kReadWrite) {
    place.compare_exchange_strong(value, value, std::memory_order_relaxed);
  }
}

absl::Status populate_error(std::size_t bytes, int error) {
  if (error == EHWPOISON) {
    return absl::DataLossError(
        absl::StrFormat("prefault of 0x%x bytes: damaged host memory (errno %d)", bytes, error));
  }
  if (error == EFAULT) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("prefault of 0x%x bytes failed: errno %d: the huge-page pool or the file "
                        "system has no page left, or the file became shorter",
                        bytes, error));
  }
  return host_refused("madvise(MADV_POPULATE_WRITE)", bytes, error);
}

class PrefaultRun {
 public:
  PrefaultRun(const PrefaultRequest& request, const HostMemoryOptions& options, Populate how)
      : request_(request), progress_(options.prefault_progress), how_(how) {
    const std::size_t share = total() / (kChunksPerThread * options.prefault_threads);
    const std::size_t chunk = std::clamp(share, kLeastChunk, kMostChunk);
    chunk_bytes_ = (chunk + request.page_bytes - 1) / request.page_bytes * request.page_bytes;
  }

  absl::Status run(std::size_t thread_count);

 private:
  std::size_t total() const { return request_.memory.size(); }
  void work();
  void work_and_report();
  bool populate_next();
  int populate(std::span<std::byte> part);
  void report(std::size_t done);

  const PrefaultRequest& request_;
  const std::function<PrefaultStep(std::uint64_t, std::uint64_t)>& progress_;
  const Populate how_;
  std::size_t chunk_bytes_ = 0;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> done_{0};
  std::atomic<int> error_{0};
  std::atomic<bool> cancelled_{false};
};

int PrefaultRun::populate(std::span<std::byte> part) {
  if (how_ == Populate::kAdvice) {
    const bool writes = request_.access == FileAccess::kReadWrite;
    return advise(part, writes ? kPopulateWrite : kPopulateRead);
  }
  for (std::size_t at = 0; at < part.size(); at += request_.page_bytes) {
    touch(part[at], request_.access);
  }
  return 0;
}

// False where there is nothing more to do.
bool PrefaultRun::populate_next() {
  if (cancelled_.load(std::memory_order_relaxed) || error_.load(std::memory_order_relaxed) != 0) {
    return false;
  }
  const std::size_t begin = next_.fetch_add(chunk_bytes_, std::memory_order_relaxed);
  if (begin >= total()) return false;
  const auto part = request_.memory.subspan(begin, std::min(chunk_bytes_, total() - begin));
  if (const int error = populate(part); error != 0) {
    error_.store(error, std::memory_order_relaxed);
    return false;
  }
  done_.fetch_add(part.size(), std::memory_order_relaxed);
  return true;
}

void PrefaultRun::work() {
  while (populate_next()) {
  }
}

void PrefaultRun::report(std::size_t done) {
  if (progress_ && progress_(done, total()) == PrefaultStep::kCancel) {
    cancelled_.store(true, std::memory_order_relaxed);
  }
}

void PrefaultRun::work_and_report() {
  while (populate_next()) {
    const std::size_t done = done_.load(std::memory_order_relaxed);
    if (done < total()) report(done);
  }
}

absl::Status PrefaultRun::run(std::size_t thread_count) {
  {
    std::vector<std::jthread> threads;
    threads.reserve(thread_count);
    try {
      while (threads.size() + 1 < thread_count) threads.emplace_back([this] { work(); });
    } catch (const std::system_error&) {  // the host has no more threads: these do it
    }
    work_and_report();
  }
  if (const int error = error_.load(); error != 0) return populate_error(total(), error);
  if (!cancelled_.load()) report(total());
  if (!cancelled_.load()) return absl::OkStatus();
  return absl::CancelledError(
      absl::StrFormat("prefault cancelled after 0x%x of 0x%x bytes", done_.load(), total()));
}

}  // namespace

// A host that answers 0 and does nothing (an emulator, a sandbox) does not have it either.
Populate best_populate() {
  static const Populate best = [] {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
    const std::size_t bytes = host_page_bytes();
    void* page = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (page == MAP_FAILED) return Populate::kTouch;
    unsigned char resident = 0;
    const bool populated = advise({static_cast<std::byte*>(page), bytes}, kPopulateWrite) == 0 &&
                           ::mincore(page, bytes, &resident) == 0 && (resident & 1) != 0;
    ::munmap(page, bytes);
    return populated ? Populate::kAdvice : Populate::kTouch;
  }();
  return best;
}

absl::Status prefault(const PrefaultRequest& request, const HostMemoryOptions& options,
                      Populate how) {
  if (options.prefault_threads == 0 || request.memory.empty()) return absl::OkStatus();
  const std::size_t pages = request.memory.size() / request.page_bytes;
  const std::size_t useful = std::min({std::size_t{options.prefault_threads}, pages, kMostThreads});
  return PrefaultRun(request, options, how).run(useful);
}

}  // namespace vm_mem::internal
