#include "vm_mem/internal/copy_state.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <forward_list>
#include <limits>
#include <mutex>
#include <string>

#include "absl/strings/str_format.h"
#include "vm_mem/inline_copy.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/policy_file.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem {

constinit std::atomic<std::size_t> inline_limit{0};

namespace internal {

constinit CopyState raw_copy_state;

namespace {

constexpr std::size_t kMinStream = 4096;
constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

// What the environment led to.
struct Startup {
  const CopyKernels* row = nullptr;
  bool forced = false;
  CopyPolicy policy;
  absl::Status status;
};

std::string supported_names() {
  std::string names;
  for (const CopyKernels* row : built_copy_kernels()) {
    if (!row->supported()) continue;
    if (!names.empty()) names += ", ";
    names += row->isa;
  }
  return names;
}

const CopyKernels* best_row() {
  for (const CopyKernels* row : built_copy_kernels()) {
    if (row->supported()) return row;
  }
  return &kScalarKernels;
}

absl::Status force_row(std::string_view wanted, Startup& startup) {
  for (const CopyKernels* row : built_copy_kernels()) {
    if (row->isa != wanted || !row->supported()) continue;
    startup.row = row;
    startup.forced = true;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "VM_MEM_ISA=%s: not supported by this CPU and operating system; want one of %s",
      std::string(wanted), supported_names()));
}

// The smallest copy that gains from going past the caches. Twice the L2 cache: below
// it a copy is likely to be read again from there; at 64 KiB streaming costs twice
// the time, at 4 MiB it wins on the machines measured (docs/kernels.md).
std::size_t default_stream_min() {
  constexpr std::size_t kLeast = std::size_t{4} << 20;
  const long l2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return l2_bytes <= 0 ? kLeast : std::max(kLeast, 2 * static_cast<std::size_t>(l2_bytes));
}

CopyPolicy default_policy(const CopyKernels& row) {
  return CopyPolicy{.inline_max = 64,
                    .vector_width = row.vector_width,
                    .stream_min = default_stream_min(),
                    .rep_movsb_min = kNever,
                    .rep_movsb_max = 0};
}

absl::Status refuse(const char* field, std::size_t value, const std::string& allowed) {
  return absl::InvalidArgumentError(
      absl::StrFormat("CopyPolicy::%s = %d: want %s", field, value, allowed));
}

absl::Status validate(const CopyPolicy& policy, const CopyKernels& row) {
  if (policy.inline_max > kInlineCeiling) {
    return refuse("inline_max", policy.inline_max, absl::StrFormat("at most %d", kInlineCeiling));
  }
  if (policy.vector_width != row.vector_width) {
    return refuse(
        "vector_width", policy.vector_width,
        absl::StrFormat("%d, the width of the row %s", row.vector_width, std::string(row.isa)));
  }
  if (policy.stream_min < kMinStream) {
    return refuse("stream_min", policy.stream_min, absl::StrFormat("at least %d", kMinStream));
  }
  if (policy.stream_min <= policy.inline_max) {
    return refuse("stream_min", policy.stream_min,
                  absl::StrFormat("more than inline_max, %d", policy.inline_max));
  }
  if (policy.rep_movsb_min <= policy.rep_movsb_max && !has_string_copy()) {
    return refuse("rep_movsb_min", policy.rep_movsb_min,
                  "more than rep_movsb_max: this CPU has no fast rep movsb");
  }
  return absl::OkStatus();
}

absl::Status take_policy_file(const std::string& path, Startup& startup) {
  const auto policy = read_policy_file(path, startup.policy);
  absl::Status status = policy.ok() ? validate(*policy, *startup.row) : policy.status();
  if (status.ok()) {
    startup.policy = *policy;
    return status;
  }
  const std::string place = policy.ok() ? path + ": " : "";
  return absl::InvalidArgumentError(
      absl::StrFormat("VM_MEM_POLICY: %s%s", place, std::string(status.message())));
}

absl::Status both(const absl::Status& first, const absl::Status& second) {
  if (first.ok()) return second;
  if (second.ok()) return first;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s; %s", std::string(first.message()), std::string(second.message())));
}

// An empty variable is as none.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Startup read_environment() {
  Startup startup;
  startup.row = best_row();
  const std::string isa = environment("VM_MEM_ISA");
  absl::Status isa_status = isa.empty() ? absl::OkStatus() : force_row(isa, startup);
  startup.policy = default_policy(*startup.row);
  const std::string path = environment("VM_MEM_POLICY");
  startup.status =
      both(isa_status, path.empty() ? absl::OkStatus() : take_policy_file(path, startup));
  return startup;
}

// Never destroyed: copies run in other objects' destructors too.
const Startup& startup() {
  static const Startup* const made = new Startup(read_environment());
  return *made;
}

// Every policy that was ever in force, once: references to them stay valid.
const CopyPolicy& keep(const CopyPolicy& policy) {
  static std::mutex mutex;
  static auto* const kept = new std::forward_list<CopyPolicy>;
  const std::lock_guard lock(mutex);
  const auto found = std::find(kept->begin(), kept->end(), policy);
  return found != kept->end() ? *found : kept->emplace_front(policy);
}

void publish(const CopyPolicy& policy) {
  CopyState& state = raw_copy_state;
  state.policy.store(&keep(policy), std::memory_order_release);
  state.stream_min.store(policy.stream_min, std::memory_order_relaxed);
  state.rep_movsb_min.store(policy.rep_movsb_min, std::memory_order_relaxed);
  state.rep_movsb_max.store(policy.rep_movsb_max, std::memory_order_relaxed);
  inline_limit.store(startup().forced ? 0 : policy.inline_max, std::memory_order_relaxed);
}

}  // namespace

void start_copy_core() {
  static std::once_flag once;
  std::call_once(once, [] {
    publish(startup().policy);
    raw_copy_state.row.store(startup().row, std::memory_order_release);
  });
}

}  // namespace internal

const CopyPolicy& copy_policy() noexcept {
  return *internal::copy_state().policy.load(std::memory_order_acquire);
}

absl::Status set_copy_policy(CopyPolicy policy) {
  absl::Status status = internal::validate(policy, internal::active_kernels());
  if (status.ok()) internal::publish(policy);
  return status;
}

absl::Status startup_status() {
  internal::start_copy_core();
  return internal::startup().status;
}

}  // namespace vm_mem
