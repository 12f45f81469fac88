#include "vm_mem/internal/manager_state.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/discard.h"
#include "vm_mem/internal/flatten.h"
#include "vm_mem/internal/region_resize.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem {
namespace {

using internal::Cut;
using internal::Layout;
using internal::PendingChange;
using internal::Region;
using internal::RegionNode;
using internal::Removal;
using internal::SectionDiff;

// While a map is replaced: leases of what was there, and of what covers it now, are to be
// looked at again.
class LayoutChange {
 public:
  explicit LayoutChange(const SectionDiff& diff) : diff_(diff) {
    for_each([](Layout& layout) { layout.begin_change(); });
  }
  LayoutChange(const LayoutChange&) = delete;
  LayoutChange& operator=(const LayoutChange&) = delete;
  ~LayoutChange() {
    for_each([](Layout& layout) { layout.end_change(); });
  }

 private:
  template <typename Function>
  void for_each(Function function) {
    for (const auto* sections : {&diff_.removed, &diff_.added}) {
      for (const MapSection* section : *sections) {
        const internal::SectionOwner& owner = internal::owner_of(*section);
        function(owner.shown->layout);
        if (owner.window != nullptr) function(owner.window->layout);
      }
    }
  }

  const SectionDiff& diff_;
};

// Needs:  the regions are closed to leases.
absl::Status check_unused(const PendingChange& change) {
  for (const Removal& removal : change.removals) {
    if (removal.policy == RemovePolicy::kWait) continue;
    if (absl::Status unleased = check_unleased(*removal.region); !unleased.ok()) return unleased;
  }
  for (const Cut& cut : change.cuts) {
    if (absl::Status unleased = check_unleased(*cut.region); !unleased.ok()) return unleased;
  }
  return absl::OkStatus();
}

absl::Status waits_for_itself() {
  return absl::FailedPreconditionError("a change of the map may not wait for its readers");
}

absl::Status still_used(RegionId id, std::uint64_t leases) {
  return absl::DeadlineExceededError(absl::StrFormat(
      "region 0x%x is still used, by 0x%x leases among others", internal::number_of(id), leases));
}

}  // namespace

// Leases that are left no longer show what any map shows.
MemoryManager::State::~State() {
  for (const RegionNode& node : regions_.tree().nodes()) {
    node.region->layout.begin_change();
    node.region->layout.end_change();
  }
}

void MemoryManager::State::prepare_for_writes(Region& region, const RamOptions& options) const {
  const bool watchable =
      options.code_watch == CodeWatching::kOn || code_watching_ == CodeWatching::kOn;
  if (watchable) region.make_write_watch(code_watchers_);
  if (watchable || options.dirty_tracking == DirtyTracking::kOn) region.make_dirty_log();
}

absl::Status MemoryManager::State::batch(const std::function<absl::Status()>& edits) {
  return change([&](PendingChange& change) {
    PendingChange before = change;
    try {
      absl::Status status = edits();
      if (!status.ok()) std::swap(change, before);
      return status;
    } catch (...) {
      std::swap(change, before);
      throw;
    }
  });
}

absl::Status MemoryManager::State::remove(RegionId id, RemovePolicy policy) {
  return change([&](PendingChange& change) -> absl::Status {
    const auto found = change.tree.find(id);
    if (!found.ok()) return found.status();
    const std::shared_ptr<Region> region = (*found)->region;
    change.removals.reserve(change.removals.size() + 1);
    if (absl::Status unshown = change.tree.check_unshown(**found); !unshown.ok()) return unshown;
    if (absl::Status complete = check_complete(*region); !complete.ok()) return complete;
    if (policy == RemovePolicy::kRefuse) {
      if (absl::Status unleased = check_unleased(*region); !unleased.ok()) return unleased;
    }
    change.tree.erase(id);
    change.removals.push_back({region, policy});
    change.edited = true;
    return absl::OkStatus();
  });
}

absl::Status MemoryManager::State::resize(RegionId id, std::uint64_t bytes) {
  return change([&](PendingChange& change) {
    return internal::resize_region(change, regions_.tree(), id, bytes);
  });
}

absl::Status MemoryManager::State::discard(GuestRange range) {
  if (is_changing()) {
    return absl::FailedPreconditionError("memory is not discarded inside a change of the map");
  }
  const Changing changing(*this);
  return internal::discard(*maps_.current(), range);
}

absl::Status MemoryManager::State::commit(PendingChange& change) {
  if (!change.edited) return absl::OkStatus();
  absl::StatusOr<std::vector<MapSection>> sections = internal::flatten(change.tree, max_sections_);
  if (!sections.ok()) return sections.status();
  const std::shared_ptr<const MemoryMap> before = maps_.current();
  const std::shared_ptr<const MemoryMap> after = make_map(*std::move(sections));
  const SectionDiff diff = internal::compare_sections(before->sections(), after->sections());
  if (absl::Status replaced = replace(change, after, diff); !replaced.ok()) return replaced;
  internal::mark_growths(change.growths, regions_.tree());
  internal::give_back_cuts(change.cuts, regions_.tree());
  pending_.reset();
  code_book_.tell(diff);
  tell(diff);
  return absl::OkStatus();
}

absl::Status MemoryManager::State::replace(PendingChange& change,
                                           std::shared_ptr<const MemoryMap> map,
                                           const SectionDiff& diff) {
  internal::ClosedToLeases removed;
  internal::ClosedToLeases cut;  // after the removed ones, which stay closed
  for (const Removal& removal : change.removals) removed.close(*removal.region);
  for (const Cut& each : change.cuts) cut.close(*each.region);
  if (absl::Status unused = check_unused(change); !unused.ok()) return unused;
  note_removals(change.removals);
  {
    const LayoutChange changing(diff);
    publish(std::move(map));
  }
  removed.commit();
  regions_.publish(std::move(change.tree));
  return absl::OkStatus();
}

std::shared_ptr<const MemoryMap> MemoryManager::State::make_map(std::vector<MapSection> sections) {
  const std::uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  const std::shared_ptr<const MemoryMap> previous = maps_.current();
  return census_->enroll(
      std::make_unique<const MemoryMap>(std::move(sections), generation, previous.get()));
}

void MemoryManager::State::publish(std::shared_ptr<const MemoryMap> map) {
  const std::uint64_t generation = map->generation();
  maps_.publish(std::move(map));
  generation_.store(generation);
  readers_.invalidate();
}

void MemoryManager::State::note_removals(const std::vector<Removal>& removals) {
  std::erase_if(removed_, [](const auto& entry) { return entry.second.departure->has_happened(); });
  for (const Removal& removal : removals) {
    removed_[removal.region->id] = {removal.region, removal.region->departure};
  }
}

void MemoryManager::State::tell(const SectionDiff& diff) {
  for (MemoryListener* listener : listeners_) {
    listener->begin();
    for (const MapSection* section : diff.removed) listener->region_removed(*section);
    for (const MapSection* section : diff.added) listener->region_added(*section);
    for (const MapSection* section : diff.log_stopped) listener->dirty_log_stopped(*section);
    for (const MapSection* section : diff.log_started) listener->dirty_log_started(*section);
    listener->commit();
  }
}

MemoryManager::State::Departures MemoryManager::State::awaited(const PendingChange& change) {
  Departures departures;
  for (const Removal& removal : change.removals) {
    if (removal.policy == RemovePolicy::kWait) departures.push_back(removal.region->departure);
  }
  return departures;
}

absl::StatusOr<RegionNode> MemoryManager::State::find_node(RegionId id) const {
  if (!is_changing() || !pending_) return regions_.find_node(id);
  const auto found = pending_->tree.find(id);
  if (!found.ok()) return found.status();
  return **found;
}

absl::Status MemoryManager::State::wait_until_unused(RegionId id,
                                                     std::chrono::nanoseconds timeout) {
  if (is_changing()) return waits_for_itself();
  const absl::StatusOr<Removed> removed = find_removed(id);
  if (!removed.ok()) return removed.status();
  if (removed->departure == nullptr || removed->departure->wait_for(timeout)) {
    return absl::OkStatus();
  }
  const std::shared_ptr<Region> region = removed->region.lock();
  return still_used(id, region == nullptr ? 0 : region->leases.load());
}

absl::StatusOr<MemoryManager::State::Removed> MemoryManager::State::find_removed(RegionId id) {
  const std::lock_guard lock(change_mutex_);
  if (id == kRootContainer || internal::number_of(id) > last_id_) {
    return internal::no_such_region(id);
  }
  if (regions_.tree().find(id).ok()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("region 0x%x has not been removed", internal::number_of(id)));
  }
  const auto entry = removed_.find(id);
  return entry == removed_.end() ? Removed() : entry->second;
}

// The same map again, under a new generation: whoever still uses an older one began
// before this call.
absl::Status MemoryManager::State::wait_for_readers(std::chrono::nanoseconds timeout) {
  if (is_changing()) return waits_for_itself();
  std::uint64_t generation = 0;
  {
    const Changing changing(*this);
    const std::shared_ptr<const MemoryMap> now = maps_.current();
    publish(make_map({now->sections().begin(), now->sections().end()}));
    generation = generation_.load(std::memory_order_relaxed);
  }
  if (census_->wait_for_older(generation, timeout)) return absl::OkStatus();
  return absl::DeadlineExceededError("an access or a reader still uses an older map");
}

void MemoryManager::State::add_listener(MemoryListener* listener) {
  const Changing changing(*this);
  const std::shared_ptr<const MemoryMap> now = maps_.current();
  listener->begin();
  for (const MapSection& section : now->sections()) listener->region_added(section);
  listener->commit();
  listeners_.push_back(listener);
}

void MemoryManager::State::remove_listener(MemoryListener* listener) {
  const Changing changing(*this);
  std::erase(listeners_, listener);
}

}  // namespace vm_mem
