#include "vm_mem/internal/copy_state.h"

#include <algorithm>
#include <forward_list>
#include <mutex>

#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/startup.h"

namespace vm_mem {

constinit std::atomic<std::size_t> inline_limit{0};

namespace internal {

constinit CopyState raw_copy_state;

namespace {

// Every policy that was ever in force, once: references to them stay valid.
const CopyPolicy& keep(const CopyPolicy& policy) {
  static auto* const kept = new std::forward_list<CopyPolicy>;
  const auto found = std::find(kept->begin(), kept->end(), policy);
  return found != kept->end() ? *found : kept->emplace_front(policy);
}

}  // namespace

void publish_policy(const CopyPolicy& policy) {
  // Two callers must not leave the limits of one beside those of the other.
  static constinit std::mutex mutex;
  const std::lock_guard lock(mutex);
  CopyState& state = raw_copy_state;
  state.policy.store(&keep(policy), std::memory_order_release);
  state.prefetch_min.store(policy.prefetch_min, std::memory_order_relaxed);
  state.stream_min.store(policy.stream_min, std::memory_order_relaxed);
  state.stream_hint_min.store(policy.stream_hint_min, std::memory_order_relaxed);
  state.rep_movsb_min.store(policy.rep_movsb_min, std::memory_order_relaxed);
  state.rep_movsb_hot_min.store(std::max(policy.rep_movsb_min, policy.rep_movsb_hot_min),
                                std::memory_order_relaxed);
  state.rep_movsb_max.store(policy.rep_movsb_max, std::memory_order_relaxed);
  // A forced row is there to be run: nothing bypasses it.
  const bool forced = startup().choice == RowChoice::kForced;
  inline_limit.store(forced ? 0 : policy.inline_max, std::memory_order_relaxed);
  // Last: a row that is not null tells that all of this is ready.
  state.row.store(&row_for(policy), std::memory_order_release);
}

void start_copy_core() {
  static std::once_flag once;
  std::call_once(once, [] { publish_policy(startup().policy); });
}

}  // namespace internal
}  // namespace vm_mem
