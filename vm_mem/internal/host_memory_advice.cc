#include "vm_mem/internal/host_memory_advice.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_numa.h"
#include "vm_mem/internal/host_memory_reservation.h"
#include "vm_mem/internal/prefault.h"

namespace vm_mem::internal {
namespace {

struct Advice {
  int advice = 0;
  const char* call = "";
  const char* kernel_option = "";  // what a kernel that answers EINVAL was built without
};

absl::Status advise(std::span<std::byte> part, const Advice& wanted) {
  if (::madvise(part.data(), part.size(), wanted.advice) == 0) return absl::OkStatus();
  if (errno != EINVAL) return host_refused(wanted.call, part.size(), errno);
  return absl::UnimplementedError(
      absl::StrFormat("%s of 0x%x bytes failed: errno %d: the host's kernel was built without %s",
                      wanted.call, part.size(), errno, wanted.kernel_option));
}

absl::Status advise_huge_pages(std::span<std::byte> part, HugePageAdvice wanted,
                               const PageTraits& traits) {
  const bool huge_already = traits.page_bytes != host_page_bytes();
  if (wanted == HugePageAdvice::kDefault || huge_already) return absl::OkStatus();
  return wanted == HugePageAdvice::kAlways
             ? advise(part, {MADV_HUGEPAGE, "madvise(MADV_HUGEPAGE)",
                             "CONFIG_TRANSPARENT_HUGEPAGE: use HugePageAdvice::kDefault"})
             : advise(part, {MADV_NOHUGEPAGE, "madvise(MADV_NOHUGEPAGE)",
                             "CONFIG_TRANSPARENT_HUGEPAGE: use HugePageAdvice::kDefault"});
}

absl::Status advise_dump(std::span<std::byte> part, CoreDump wanted) {
  if (wanted == CoreDump::kIncluded) return absl::OkStatus();
  return advise(part, {MADV_DONTDUMP, "madvise(MADV_DONTDUMP)", "MADV_DONTDUMP"});
}

absl::Status advise_merging(std::span<std::byte> part, PageMerging wanted) {
  if (wanted == PageMerging::kOff) return absl::OkStatus();
  return advise(part,
                {MADV_MERGEABLE, "madvise(MADV_MERGEABLE)", "CONFIG_KSM: use PageMerging::kOff"});
}

absl::Status prefault_part(std::span<std::byte> part, std::size_t offset, const PageSource& source,
                           const HostMemoryOptions& options) {
  if (options.prefault_threads == 0) return absl::OkStatus();
  const PageTraits traits = source.traits();
  const Populate how = best_populate();
  if (how == Populate::kTouch) {
    if (absl::Status placed = source.allocate(offset, part.size()); !placed.ok()) return placed;
  }
  return prefault({part, traits.page_bytes, traits.access}, options, how);
}

absl::Status lock_pages(std::span<std::byte> part, PageLock wanted) {
  if (wanted == PageLock::kUnlocked || ::mlock(part.data(), part.size()) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  rlimit limit = {};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  return absl::ResourceExhaustedError(
      absl::StrFormat("mlock of 0x%x bytes failed: errno %d: RLIMIT_MEMLOCK is 0x%x: raise it "
                      "(ulimit -l), or grant CAP_IPC_LOCK",
                      part.size(), error, limit.rlim_cur));
}

}  // namespace

absl::Status check_options(const HostMemoryOptions& options, const PageTraits& traits) {
  if (options.merge == PageMerging::kOn && traits.sharing == FileSharing::kShared) {
    return absl::InvalidArgumentError(
        "PageMerging::kOn has no effect on shared memory: use Backing::kAnonymous, or a file that "
        "is mapped kPrivate");
  }
  return check_nodes(options.numa_policy, options.numa_nodes);
}

absl::Status check_caller_owned(const HostMemoryOptions& options) {
  const bool untouched = options.huge_pages == HugePageAdvice::kDefault &&
                         options.numa_policy == NumaPolicy::kDefault &&
                         options.numa_nodes.empty() && options.lock == PageLock::kUnlocked &&
                         options.dump == CoreDump::kIncluded &&
                         options.merge == PageMerging::kOff && options.guards == GuardPages::kNone;
  if (untouched) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "of the host options, memory that the caller owns takes prefault alone: apply the others "
      "where it is mapped");
}

absl::Status apply_options(std::span<std::byte> part, std::size_t offset, const PageSource& source,
                           const HostMemoryOptions& options) {
  absl::Status status = place_on_nodes(part, options.numa_policy, options.numa_nodes);
  if (status.ok()) status = advise_huge_pages(part, options.huge_pages, source.traits());
  if (status.ok()) status = advise_dump(part, options.dump);
  if (status.ok()) status = advise_merging(part, options.merge);
  if (status.ok()) status = prefault_part(part, offset, source, options);
  if (status.ok()) status = lock_pages(part, options.lock);
  return status;
}

}  // namespace vm_mem::internal
