// What a MemoryManager owns, and how its map changes.
#ifndef VM_MEM_INTERNAL_MANAGER_STATE_H_
#define VM_MEM_INTERNAL_MANAGER_STATE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "vm_mem/internal/code_book.h"
#include "vm_mem/internal/dirty_book.h"
#include "vm_mem/internal/map_census.h"
#include "vm_mem/internal/map_publisher.h"
#include "vm_mem/internal/pending_change.h"
#include "vm_mem/internal/reader_list.h"
#include "vm_mem/internal/region_table.h"
#include "vm_mem/internal/section_diff.h"
#include "vm_mem/internal/statistics_counter.h"
#include "vm_mem/memory_listener.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {

class MemoryManager::State {
 public:
  // `generation` is published together with each map.
  State(MemoryManagerOptions options, std::atomic<std::uint64_t>& generation)
      : regions_(options.max_regions),
        code_watching_(options.code_watch),
        max_sections_(options.max_sections),
        fault_handler_(options.fault_handler),
        generation_(generation) {}
  ~State();

  // Makes one edit and publishes it; inside a change of this thread the edit joins
  // that. `edit(PendingChange&)` returns a status and, where it fails, edits nothing.
  //
  // Errors:  its own; kFailedPrecondition from a listener; those of flatten();
  //          kUnavailable where a lease came between
  template <typename Edit>
  absl::Status change(Edit edit);
  // The same for `edits`, which makes changes by calls of the manager.
  absl::Status batch(const std::function<absl::Status()>& edits);

  // Adds the region that `make(tree)` makes, as StatusOr<RegionNode>, once its place is
  // found to be free. Range, placement and id are filled in.
  template <typename Make>
  absl::StatusOr<RegionId> add(GuestRange range, Placement placement, Make make);
  // Takes the region out of the map; its memory goes when nobody holds it.
  absl::Status remove(RegionId id, RemovePolicy policy);
  absl::Status resize(RegionId id, std::uint64_t bytes);
  absl::Status discard(GuestRange range);

  // Of the pending change where this thread makes one, else of what is published.
  absl::StatusOr<internal::RegionNode> find_node(RegionId id) const;
  const internal::RegionTable& regions() const { return regions_; }

  absl::Status wait_until_unused(RegionId id, std::chrono::nanoseconds timeout);
  absl::Status wait_for_readers(std::chrono::nanoseconds timeout);

  void add_listener(MemoryListener* listener);
  void remove_listener(MemoryListener* listener);

  FaultHandler fault_handler() const { return fault_handler_; }
  internal::MapPublisher& maps() { return maps_; }
  internal::DirtyBook& dirty_book() { return dirty_book_; }
  CodeWatch& code_watch() { return code_watch_; }
  // Makes what the options of new RAM ask for to see writes to it.
  void prepare_for_writes(internal::Region& region, const RamOptions& options) const;
  internal::StatisticsCounter& statistics() { return statistics_; }
  internal::ReaderList& readers() { return readers_; }
  // Outlives this object in the leases that are left.
  const std::shared_ptr<std::atomic<std::uint64_t>>& lease_count() const { return lease_count_; }

 private:
  using Departures = std::vector<std::shared_ptr<internal::Departure>>;
  class Changing;
  class Making;
  // The memory goes after the last reference to the region has: what is waited for is
  // the departure.
  struct Removed {
    std::weak_ptr<internal::Region> region;
    std::shared_ptr<internal::Departure> departure;
  };

  bool is_changing() const { return changing_thread_.load() == std::this_thread::get_id(); }
  absl::Status commit(internal::PendingChange& change);
  absl::Status replace(internal::PendingChange& change, std::shared_ptr<const MemoryMap> map,
                       const internal::SectionDiff& diff);
  std::shared_ptr<const MemoryMap> make_map(std::vector<MapSection> sections);
  void publish(std::shared_ptr<const MemoryMap> map);
  // Without a departure where it has happened.
  absl::StatusOr<Removed> find_removed(RegionId id);
  void note_removals(const std::vector<internal::Removal>& removals);
  void tell(const internal::SectionDiff& diff);
  static Departures awaited(const internal::PendingChange& change);

  internal::MapPublisher maps_;
  internal::RegionTable regions_;
  internal::DirtyBook dirty_book_{regions_};
  const CodeWatching code_watching_;
  // Outlives this object in the regions that leases hold.
  const std::shared_ptr<internal::WatcherList> code_watchers_ =
      std::make_shared<internal::WatcherList>();
  internal::CodeBook code_book_{regions_, code_watchers_};
  CodeWatch code_watch_{code_book_};
  internal::StatisticsCounter statistics_;
  internal::ReaderList readers_;
  const std::size_t max_sections_;
  FaultHandler fault_handler_;
  std::atomic<std::uint64_t>& generation_;
  std::shared_ptr<internal::MapCensus> census_ = std::make_shared<internal::MapCensus>();
  std::shared_ptr<std::atomic<std::uint64_t>> lease_count_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);

  // Held for the whole of a change, its listeners' calls included; never for an access.
  std::mutex change_mutex_;
  std::atomic<std::thread::id> changing_thread_{};
  std::optional<internal::PendingChange> pending_;  // empty while listeners are told
  bool is_making_ = false;  // of the changing thread alone: a region, for `pending_`
  std::vector<MemoryListener*> listeners_;
  std::uint64_t last_id_ = 0;
  std::map<RegionId, Removed> removed_;  // not yet unused
};

// One thread's turn at changing the map.
class MemoryManager::State::Changing {
 public:
  explicit Changing(State& state) : state_(state), lock_(state.change_mutex_) {
    state_.changing_thread_.store(std::this_thread::get_id());
  }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;
  ~Changing() {
    state_.pending_.reset();
    state_.changing_thread_.store({});
  }

 private:
  State& state_;
  std::lock_guard<std::mutex> lock_;
};

// While it lives the embedder's prefault_progress may be called, and what it asks for
// would edit the tree beneath the edit that calls it.
class MemoryManager::State::Making {
 public:
  explicit Making(State& state) : state_(state) { state_.is_making_ = true; }
  Making(const Making&) = delete;
  Making& operator=(const Making&) = delete;
  ~Making() { state_.is_making_ = false; }

 private:
  State& state_;
};

template <typename Edit>
absl::Status MemoryManager::State::change(Edit edit) {
  if (is_changing()) {
    if (pending_ && !is_making_) return edit(*pending_);
    return absl::FailedPreconditionError(is_making_ ? "prefault_progress may not change the map"
                                                    : "a listener may not change the map");
  }
  Departures departures;
  {
    const Changing changing(*this);
    pending_.emplace(regions_.tree());
    if (absl::Status edited = edit(*pending_); !edited.ok()) return edited;
    departures = awaited(*pending_);
    if (absl::Status published = commit(*pending_); !published.ok()) return published;
  }
  for (const auto& departure : departures) departure->wait();
  return absl::OkStatus();
}

template <typename Make>
absl::StatusOr<RegionId> MemoryManager::State::add(GuestRange range, Placement placement,
                                                   Make make) {
  RegionId id{};
  const absl::Status added = change([&](internal::PendingChange& change) -> absl::Status {
    if (absl::Status free = change.tree.check_new(range, placement); !free.ok()) return free;
    absl::StatusOr<internal::RegionNode> node = [&] {
      const Making making(*this);
      return make(change.tree);
    }();
    if (!node.ok()) return node.status();
    id = RegionId{last_id_ + 1};
    node->id = node->region->id = id;
    node->range = range;
    node->placement = placement;
    change.tree.insert(*std::move(node));
    change.edited = true;
    ++last_id_;
    return absl::OkStatus();
  });
  if (!added.ok()) return added;
  return id;
}

}  // namespace vm_mem

#endif  // VM_MEM_INTERNAL_MANAGER_STATE_H_
