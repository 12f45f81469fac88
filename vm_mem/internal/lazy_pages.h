// The pages of a lazy restore: each comes once, checked, from whoever is first.
//
// A page is settled once it is there, or is nothing that is to come. Whoever supplies pages
// holds the lock of their chunk, from looking whether they are settled until they are: a page is
// there, and may have been written, before it is settled. Files are read before, without a lock:
// of two who bring the same page, one finds it settled.
#ifndef VM_MEM_INTERNAL_LAZY_PAGES_H_
#define VM_MEM_INTERNAL_LAZY_PAGES_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/internal/absent_pages.h"
#include "vm_mem/internal/lazy_layout.h"
#include "vm_mem/internal/lazy_questions.h"
#include "vm_mem/internal/page_bits.h"
#include "vm_mem/internal/staging_pool.h"
#include "vm_mem/internal/userfaultfd.h"
#include "vm_mem/lazy_restore.h"
#include "vm_mem/snapshot.h"

namespace vm_mem::internal {

// What pages are brought for.
enum class LazyCause : std::uint8_t { kPrefetch, kTouch, kAsked, kFill, kDamage };

class LazyPages final : public AbsentPages {
 public:
  // What it needs of the host is there before guest memory is touched.
  struct Parts {
    std::shared_ptr<const Snapshot> snapshot;
    LazyLayout layout;
    Userfaultfd faults;
    LazyMail mail;
    HostMapping staging;
  };
  LazyPages(Parts parts, const LazyRestoreOptions& options);

  const SnapshotChain& chain() const { return parts_.snapshot->files(); }
  const Snapshot& snapshot() const { return *parts_.snapshot; }
  const LazyLayout& layout() const { return parts_.layout; }
  const Userfaultfd& faults() const { return parts_.faults; }
  const LazyMail& mail() const { return parts_.mail; }

  bool is_bringing() const override { return ending_.load() != Ending::kOver; }
  absl::Status bring(const Region& region, std::uint64_t offset, std::uint64_t bytes) override;
  absl::Status give_up(const Region& region, std::uint64_t offset, std::uint64_t bytes,
                       const Discard& discard) override;

  // A touch of `host`. True: the access is to be tried again. Async-signal-safe.
  bool fault(std::uintptr_t host);
  // Brings what is absent of pages of one region; what cannot be had is damaged.
  // Async-signal-safe.
  void bring(const PageInterval& pages, LazyCause cause);
  // Supplies checked pages, which may be of several regions, and of others than the lazy ones.
  // Errors:  kResourceExhausted
  absl::Status install(std::uint64_t first, std::span<const std::byte> pages, LazyCause cause);

  // Of data that is to come.
  std::uint64_t absent_pages() const { return absent_.load(std::memory_order_acquire); }
  std::vector<DataRun> absent() const { return absent_among(layout().data()); }  // by page
  std::vector<DataRun> absent_among(std::span<const DataRun> runs) const;
  std::vector<DataRun> absent_of(const Region& region) const;
  bool is_poisoned(std::uintptr_t host) const;
  // Errors:  kDataLoss where a page of it is poisoned
  absl::Status check_sound(const Region& region) const;
  bool is_sound() const {
    return poisoned_.next_set(0, layout().page_count()) == layout().page_count();
  }
  // Gives poisoned pages back to the host, by `discard` as of give_up().
  absl::Status heal(const Region& region, const Discard& discard);
  std::uint64_t address_of(std::uint64_t page) const;  // the guest's

  // What is absent is poisoned, so that nobody takes it for zero. Where the host cannot, it
  // stays absent.
  void abandon();
  // The watch is about to end; it has, and faults are none of this object's.
  void begin_end() { ending_.store(Ending::kSoon); }
  void end() { ending_.store(Ending::kOver); }

  // This thread is the one that answers questions.
  void answer_here();
  void answer(LazyQuestion& question);
  // No question is asked any more, and none is under way when it returns.
  void stop_asking();

  // Of the first page that was poisoned; ok where there is none.
  absl::Status first_failure() const;
  // What was brought for touches, in their order.
  std::vector<std::uint64_t> touched() const;
  LazyStatistics statistics() const;
  bool is_serving() const { return serving_.load(std::memory_order_relaxed) != 0; }

 private:
  enum class Ending : std::uint8_t { kNo, kSoon, kOver };
  // The page after those that were dealt with, of which the last one failed, if any did.
  struct Brought {
    std::uint64_t next = 0;
    std::optional<PageFailure> failure;
  };
  static constexpr std::uint64_t kChunkPages = 512;

  template <typename Supply>
  int supply(std::uint64_t first, std::uint64_t end, LazyCause cause, bool is_data, Supply supply);
  FutexLock& lock_of(std::uint64_t page) { return locks_[page / kChunkPages % locks_.size()]; }
  void wake(const PageInterval& pages);
  // What anybody has seen of the memory by now is settled, and counted, when it returns.
  void wait_for_supplies() const;
  void settle(std::uint64_t first, std::uint64_t end, bool is_data);
  void settle_all(const PageInterval& pages);
  void unpoison(const LazyRegion& region, const PageInterval& pages);
  absl::Status check_sound(const PageInterval& pages) const;
  int put_data(std::uint64_t first, std::span<const std::byte> pages, LazyCause cause);
  int put_zeros(const PageInterval& pages, LazyCause cause, bool is_data);
  bool put_zeros_again(std::uint64_t page);
  Brought bring_data(const LazyPiece& piece, LazyCause cause);
  void take_zeros(std::uint64_t page);
  void poison(const PageInterval& pages);
  void fail(const PageFailure& failure);
  LazyDamage decide(const PageFailure& failure);
  void record(std::uint64_t first, std::uint64_t end);
  void note(const PageFailure& failure);
  absl::Status status_of(const PageFailure& failure) const;

  Parts parts_;
  const LazyDamageCallback on_damage_;
  StagingPool staging_;
  FaultAround around_;
  PageBits settled_;
  PageBits poisoned_;  // of settled ones
  mutable std::array<FutexLock, 64> locks_;
  std::atomic<std::uint64_t> absent_;
  std::atomic<Ending> ending_{Ending::kNo};

  std::atomic<bool> asks_;
  std::atomic<std::uint32_t> bringing_{0};               // threads that may ask
  std::atomic<std::uint32_t> serving_{0};                // threads that wait for a page
  std::array<std::atomic<std::uint64_t>, 5> brought_{};  // by cause
  std::atomic<std::uint64_t> faults_{0};
  PageFailure first_failure_;
  std::atomic<std::uint32_t> failure_state_{0};  // 1: being written, 2: it is there
  std::atomic<long> own_thread_{0};
  std::map<std::uint64_t, LazyDamage> answers_;      // by page; of the library's own thread
  std::vector<std::atomic<std::uint32_t>> touched_;  // 0: not there yet, else page + 1
  std::atomic<std::uint64_t> touched_count_{0};
};

// Of what a lazy restore that is over has left poisoned in `region`. Nobody knows of it then.
absl::Status heal(Region& region);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_LAZY_PAGES_H_
