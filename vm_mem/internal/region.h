// What stands behind a region: the memory or the handler, and who waits for its end.
#ifndef VM_MEM_INTERNAL_REGION_H_
#define VM_MEM_INTERNAL_REGION_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "vm_mem/dirty_log.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/absent_pages.h"
#include "vm_mem/internal/lease_windows.h"
#include "vm_mem/internal/write_watch.h"
#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

// The longest that a condition is waited for: the clock can represent its end.
inline constexpr std::chrono::nanoseconds kLongestWait = std::chrono::hours(24 * 365 * 10);

// An event that happens once.
class Departure {
 public:
  void signal();
  void wait();
  bool has_happened();
  // False where it has not happened within `timeout`.
  bool wait_for(std::chrono::nanoseconds timeout);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;
};

// A number for where and how maps show a region: another one after each change. A lease
// that is taken while it changes could be of either map, and is to be taken again.
class Layout {
 public:
  // A change may begin and end several.
  void begin_change() { number_.fetch_add(1, std::memory_order_release); }
  void end_change() { number_.fetch_add(kChanged - 1, std::memory_order_release); }

  std::uint64_t number() const { return number_.load(std::memory_order_acquire); }
  static bool is_changing(std::uint64_t number) { return number % kChanged != 0; }

 private:
  // Below, how many changes have begun and not ended: a few for each section at most.
  static constexpr std::uint64_t kChanged = std::uint64_t{1} << 32;

  std::atomic<std::uint64_t> number_{0};
};

struct Region;

// What MapSection::owner points to.
struct SectionOwner {
  Region* shown = nullptr;   // whose memory or handler the section is
  Region* window = nullptr;  // the alias that shows it, or null
};

// One for each region, aliases and containers too. Maps, changes and leases share it.
// Destruction gives the memory back, then signals the departure.
struct Region : SectionOwner {
  Region() : SectionOwner{this, nullptr} {}
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();
  // Makes the log, for `capacity` bytes, where there is none.
  void make_dirty_log();
  // Who brings its pages, or knows of lost ones; null: nobody. No page of zeros takes the place
  // of such ones.
  void set_absent(std::shared_ptr<AbsentPages> pages);
  // Makes `write_watch` where there is none. Of RAM before its log, which then exists too.
  void make_write_watch(std::shared_ptr<WatcherList> watchers);

  RegionId id{};
  MmioHandler* handler = nullptr;      // MMIO only
  std::optional<HostMapping> mapping;  // RAM and ROM
  std::uint64_t capacity = 0;          // bytes of the mapping that may be shown
  bool recoverable = false;            // an access can fault in the host
  std::span<std::byte> zero_pages;     // registered: read as zero where the host fails
  // RAM only: made when it is first wanted, and this object's until its end.
  std::atomic<DirtyLog*> dirty_log{nullptr};
  // Who is told of writes. RAM has it from its beginning or not at all, as the first write
  // would miss it; ROM when somebody watches it.
  std::atomic<WriteWatch*> write_watch{nullptr};
  std::shared_ptr<Departure> departure = std::make_shared<Departure>();

  // A lessor counts itself and then looks whether the region is leaving; a remover says that
  // it leaves and then looks at the count. Both sides are sequentially consistent, so at least
  // one of them sees the other. Who takes single pages away looks at the windows instead:
  // they are entered before the count, and their lock does the same.
  std::atomic<std::uint64_t> leases{0};
  LeaseWindows lease_windows;
  std::atomic<bool> leaving{false};
  Layout layout;
  AbsentPagesSlot absent;  // RAM only
};

// The region that a section shows, and the alias that it does so through, if any.
inline const SectionOwner& owner_of(const MapSection& section) {
  return *static_cast<const SectionOwner*>(section.owner.get());
}

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_REGION_H_
