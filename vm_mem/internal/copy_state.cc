#include "vm_mem/internal/copy_state.h"

#include <algorithm>
#include <array>
#include <forward_list>
#include <iterator>
#include <mutex>

#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/long_copy.h"
#include "vm_mem/internal/startup.h"

namespace vm_mem {

namespace {

// What copy_function is until the core has chosen.
void start_and_copy(std::byte* dst, const std::byte* src, std::size_t n) noexcept {
  internal::active_kernels().copy(dst, src, n);
}

}  // namespace

constinit std::atomic<CopyFunction*> copy_function{start_and_copy};
constinit std::atomic<std::size_t> inline_limits[3] = {};
thread_local constinit std::uint32_t latest_sizes = 0;

namespace internal {

constinit CopyState raw_copy_state;
thread_local constinit std::array<std::uintptr_t, 8> recent_pages = {};

namespace {

// Where strings of stores beat a loop, they do from about this size on.
constexpr std::size_t kStringFillMin = std::size_t{1} << 20;

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
  state.align_loads_max.store(policy.align_loads_max, std::memory_order_relaxed);
  state.stream_pages.store(policy.stream_pages, std::memory_order_relaxed);
  state.prefetch_min.store(policy.prefetch_min, std::memory_order_relaxed);
  state.stream_min.store(policy.stream_min, std::memory_order_relaxed);
  state.stream_hint_min.store(policy.stream_hint_min, std::memory_order_relaxed);
  state.rep_movsb_min.store(policy.rep_movsb_min, std::memory_order_relaxed);
  state.rep_movsb_hot_min.store(std::max(policy.rep_movsb_min, policy.rep_movsb_hot_min),
                                std::memory_order_relaxed);
  state.rep_movsb_max.store(policy.rep_movsb_max, std::memory_order_relaxed);
  const bool strings =
      policy.rep_movsb_min != kNever && policy.rep_movsb_min <= policy.rep_movsb_max;
  state.string_fill_min.store(strings ? kStringFillMin : kNever, std::memory_order_relaxed);
  state.least_long.store(std::min({policy.prefetch_min, policy.stream_min, policy.rep_movsb_min}),
                         std::memory_order_relaxed);
  // A forced row is there to be run: nothing bypasses it.
  const bool forced = startup().choice == RowChoice::kForced;
  const std::size_t inline_max = forced ? 0 : policy.inline_max;
  for (std::size_t i = 0; i < std::size(inline_limits); ++i) {
    // A policy that asks for narrower vectors has its reason: wider code is not used.
    const bool fits = (std::size_t{16} << i) <= std::max<std::size_t>(16, policy.vector_width);
    inline_limits[i].store(fits ? std::min(inline_max << i, kInlineCeiling) : 0,
                           std::memory_order_relaxed);
  }
  // Last: a row that is not null tells that all of this is ready.
  const CopyKernels& row = row_for(policy);
  copy_function.store(row.copy, std::memory_order_relaxed);
  state.row.store(&row, std::memory_order_release);
}

void start_copy_core() {
  static std::once_flag once;
  std::call_once(once, [] { publish_policy(startup().policy); });
}

}  // namespace internal
}  // namespace vm_mem
