// Tells a SnapshotProgress how many pages are done, now and then.
#ifndef VM_MEM_INTERNAL_PAGE_PROGRESS_H_
#define VM_MEM_INTERNAL_PAGE_PROGRESS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "vm_mem/internal/snapshot_format.h"
#include "vm_mem/snapshot_info.h"

namespace vm_mem::internal {

class PageProgress {
 public:
  // `tell` may be empty, and outlives this object.
  explicit PageProgress(const SnapshotProgress& tell) : tell_(tell) {}

  void expect(std::uint64_t pages) { total_ = pages; }
  // Errors:  kCancelled
  absl::Status advance(std::uint64_t pages) {
    done_ += pages;
    return done_ - told_ < kStep ? absl::OkStatus() : tell();
  }
  // All is done, whatever was said.
  absl::Status finish() {
    done_ = total_;
    return tell();
  }

 private:
  static constexpr std::uint64_t kStep = 2048;

  absl::Status tell() {
    told_ = done_;
    if (!tell_ ||
        tell_(done_ * kSnapshotPageBytes, total_ * kSnapshotPageBytes) == SnapshotStep::kContinue) {
      return absl::OkStatus();
    }
    return absl::CancelledError("cancelled by the progress callback");
  }

  const SnapshotProgress& tell_;
  std::uint64_t done_ = 0;
  std::uint64_t told_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_PAGE_PROGRESS_H_
