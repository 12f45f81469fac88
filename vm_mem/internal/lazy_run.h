// One lazy restore from its start to its end: the host's resources, and its threads.
#ifndef VM_MEM_INTERNAL_LAZY_RUN_H_
#define VM_MEM_INTERNAL_LAZY_RUN_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/lazy_pages.h"
#include "vm_mem/lazy_restore.h"

namespace vm_mem::internal {

class LazyRun {
 public:
  static absl::StatusOr<std::unique_ptr<LazyRun>> start(MemoryManager& memory,
                                                        std::shared_ptr<const Snapshot> snapshot,
                                                        const LazyRestoreOptions& options);
  LazyRun(const LazyRun&) = delete;
  LazyRun& operator=(const LazyRun&) = delete;
  ~LazyRun();

  absl::Status ensure_present(GuestRange range) const;
  absl::Status finish();
  bool done() const { return done_.load(std::memory_order_acquire); }
  std::vector<GuestAddress> touched() const;
  LazyStatistics statistics() const;
  const Snapshot& snapshot() const { return pages_->snapshot(); }

 private:
  using Runs = std::vector<DataRun>;

  LazyRun(MemoryManager& memory, const LazyRestoreOptions& options)
      : memory_(memory), options_(options) {}

  // --- lazy_start.cc. Nothing is touched before take_over().
  absl::Status prepare(const GuestRam& ram, std::shared_ptr<const Snapshot> snapshot);
  absl::Status attach(const GuestRam& ram);
  absl::Status start_threads();
  absl::Status take_over(const GuestRam& ram);
  absl::Status give_back();
  void prefetch();
  Runs working_set_runs() const;

  // --- lazy_run.cc
  void serve();
  void serve_mail();
  void serve_faults();
  void serve_fault(std::uintptr_t host);
  // Brings what `absent` says until it says nothing, or `stop`.
  void bring_all(const std::function<Runs()>& absent, LazyCause cause,
                 const std::atomic<bool>& stop, std::size_t depth);
  absl::Status stream(const Runs& runs, LazyCause cause, const std::atomic<bool>& stop,
                      std::size_t depth);
  void bring_what_is_left();
  void fill();
  void start_fill();
  // Everything is there: the memory becomes ordinary.
  void complete();
  void detach();

  MemoryManager& memory_;
  const LazyRestoreOptions options_;
  std::shared_ptr<LazyPages> pages_;
  std::vector<PageInterval> watched_;
  std::vector<RamRegion> regions_;  // that are lazy; no more once it is done
  std::vector<bool> is_lazy_;       // of all
  std::vector<GuestAddress> prefetched_;
  std::uint64_t eager_pages_ = 0;
  bool is_attached_ = false;

  std::atomic<bool> done_{false};
  std::mutex complete_mutex_;
  std::mutex finish_mutex_;
  std::atomic<bool> stop_fill_{false};
  std::atomic<bool> stop_{false};
  std::thread own_;  // answers questions, and faults where that is wanted
  std::thread fill_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LAZY_RUN_H_
