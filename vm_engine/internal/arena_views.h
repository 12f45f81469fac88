// What an arena shows, which of its pages may be stored to, and what a fault in it means.
//
// 1. A view is one piece of a section at one place of the arena: a mapping of the region's
//    file, a device, or memory that cannot be shown.
// 2. A page of a writable view is open or closed. Open pages of tracked views are marked
//    dirty when they are opened, and again when they are closed; no page is open whose
//    writes somebody wants to be told of.
// 3. A page that is closed when its view comes is not writable for a moment: emitted code of
//    other vCPUs runs meanwhile.
// 4. What has to hold, hiding and closing, allocates nothing.
// 5. One lock guards it all. A handler only tries it: where it is taken, the fault goes to
//    the landing pad, whose helper needs nothing from here.
#ifndef VM_ENGINE_INTERNAL_ARENA_VIEWS_H_
#define VM_ENGINE_INTERNAL_ARENA_VIEWS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "vm_engine/fastmem.h"
#include "vm_engine/internal/arena_reason.h"
#include "vm_engine/internal/arena_space.h"
#include "vm_engine/internal/page_bits.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"

namespace vm_engine::internal {

enum class ViewKind : std::uint8_t { kMapped, kDevice, kUnmappable };

struct ArenaView {
  std::uint64_t end = 0;  // in the arena
  ViewKind kind = ViewKind::kUnmappable;
  vm_mem::RegionId region{};
  std::uint64_t region_offset = 0;
  std::uint64_t page_bytes = 0;  // what can be protected
  bool tracked = false;
  vm_mem::DirtyLog* dirty_log = nullptr;
  std::shared_ptr<const void> owner;  // keeps memory and log alive
  // One for each page where it is writable, else none.
  PageBits open;
  // There are too few mappings for it: all closed for good.
  bool frozen = false;
};

// What a fault in the arena, or near it, leads to.
struct ArenaFault {
  bool ours = false;
  bool again = false;  // the access may be tried again
  vme_rc rc = VME_UNMAPPED;
};

// Spins, and is never held for long: a few system calls.
class ArenaLock {
 public:
  bool try_lock() { return !taken_.exchange(true, std::memory_order_acquire); }
  void lock();
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

class ArenaViews {
 public:
  // Errors:  std::bad_alloc.
  ArenaViews(vm_mem::MemoryManager& memory, ArenaSpace space, std::size_t max_mappings);
  ArenaViews(const ArenaViews&) = delete;
  ArenaViews& operator=(const ArenaViews&) = delete;
  ~ArenaViews();

  // Of who cuts the map into views; taken before the lock of these.
  std::mutex& follower_mutex() { return follower_mutex_; }

  // For fork_guard.h: the locks of every arena.
  static void lock_all_for_fork();
  static void unlock_all_after_fork();

  std::byte* base() const { return space_.base(); }
  std::uint64_t bytes() const { return space_.bytes(); }

  // Shows [begin, view.end). What cannot be shown is a view all the same, and reason()
  // says so.
  //
  // Needs:   nothing is there.
  // Errors:  std::bad_alloc.
  struct Source {
    std::optional<vm_mem::RegionFile> file;
    std::span<const std::byte> content;  // of ROM without a file
    vm_mem::Protection protection = vm_mem::Protection::kReadWrite;
  };
  void add(std::uint64_t begin, ArenaView view, const Source& source);
  // Errors:  std::bad_alloc, where a view is cut.
  void remove(std::uint64_t begin, std::uint64_t end);
  // Notes why not everything can be shown.
  void refuse(const ArenaReason& reason) noexcept;
  // Shows nothing from here on: there is no memory to follow what happens.
  void give_up() noexcept;

  absl::Status protect(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes);
  void unprotect(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes);
  // As protect(), for pages that their log guards: each may be opened again once it does
  // not. False: the host refuses every way to do it.
  bool close(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes) noexcept;

  void close_tracked();
  // Marks what is open, which stays so: of what this thread has stored, the next harvest
  // tells all.
  void mark_tracked();
  // Closes where dirty pages were harvested since.
  void renew();

  // Memory:  async-signal-safe.
  ArenaFault on_fault(std::uintptr_t address, std::uint32_t access);

  // Empty: everything is shown.
  std::string reason() const;
  // How many views the host did not let be shown.
  std::uint64_t refusals() const;
  bool is_complete() const { return complete_.load(std::memory_order_relaxed); }
  FastmemStatistics statistics() const;

 private:
  using Views = std::map<std::uint64_t, ArenaView>;  // by their beginning
  using Entry = Views::value_type;

  Views::iterator first_overlap(std::uint64_t begin);
  bool show(std::uint64_t begin, ArenaView& view, const Source& source);
  void show_open(std::uint64_t begin, ArenaView& view);
  void leave_guarded_closed(ArenaView& view);
  void explain(ArenaReason::Kind kind, std::array<std::uint64_t, 3> numbers = {}) noexcept;
  bool hide_everything() noexcept;
  static void make_unmappable(ArenaView& view);
  Entry part_of(const Entry& whole, std::uint64_t begin, std::uint64_t end) const;

  // Whether somebody is to be told of each store to the page.
  bool is_guarded(const ArenaView& view, std::uint64_t page) const;
  bool is_protected(const ArenaView& view, std::uint64_t page) const;
  bool is_affordable(std::uint64_t more) const { return mappings_ + more <= max_mappings_; }
  bool open(Entry& entry, std::uint64_t page);
  // False, all of these: the host refuses every way to do it.
  bool close_pages(vm_mem::RegionId region, std::uint64_t begin, std::uint64_t end);
  bool close(Entry& entry, std::uint64_t first, std::uint64_t count);
  bool freeze(Entry& entry);
  bool close_all(Entry& entry);
  void mark_open(const ArenaView& view, std::uint64_t first, std::uint64_t count) const;
  void assign(ArenaView& view, std::uint64_t first, std::uint64_t count, bool value);
  void forget(const ArenaView& view);
  static std::uint64_t mappings_of(const ArenaView& view);

  vm_mem::MemoryManager& memory_;
  ArenaSpace space_;
  const std::uint64_t max_mappings_;

  std::mutex follower_mutex_;
  mutable ArenaLock lock_;
  Views views_;
  std::map<vm_mem::RegionId, std::vector<bool>> protected_;  // by kPageBytes
  std::uint64_t mappings_ = 0;
  std::uint64_t opened_ = 0;
  std::uint64_t closed_ = 0;
  std::uint64_t refusals_ = 0;
  bool given_up_ = false;
  ArenaReason reason_;
  std::atomic<bool> complete_{true};
  std::atomic<std::uint64_t> dirty_epoch_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_ARENA_VIEWS_H_
