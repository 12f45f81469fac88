// Dirty pages of writers that cannot mark: read(2) into guest memory, a library that is
// given a host pointer. The kernel watches the pages instead and is asked now and then.
//
// Where a writer can be made to mark, that is better: MapSection::dirty_log->mark() after
// the call costs nothing for the others.
#ifndef VM_MEM_FOREIGN_WRITES_H_
#define VM_MEM_FOREIGN_WRITES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/memory_map.h"

namespace vm_mem {

enum class ForeignWriteMethod : std::uint8_t {
  kWriteProtect,  // the kernel notes the first write to each page: userfaultfd with
                  // UFFD_FEATURE_WP_ASYNC, asked by PAGEMAP_SCAN (Linux 6.7)
  kAllDirty,      // nothing is known: every page counts as written, every time
};

// Best first.
inline constexpr ForeignWriteMethod kForeignWriteMethods[] = {ForeignWriteMethod::kWriteProtect,
                                                              ForeignWriteMethod::kAllDirty};

// One thread at a time.
class ForeignWriteTracker {
 public:
  // Watches the memory of `section`, by the first of `allowed` that works on this host:
  // that is tried out on a page, not concluded from a version. Pages count as clean from
  // here on.
  //
  // Errors:  kFailedPrecondition  its writes are not tracked, or it is no RAM
  //          kUnimplemented       nothing that is allowed works; the message says why
  // Cost:    kWriteProtect: 10 ms a GiB to begin; then 1 to 2 us for the first write to
  //          each page after a collect(), whoever writes. Huge pages that are written are
  //          split into small ones.
  static absl::StatusOr<ForeignWriteTracker> watch(
      const MapSection& section,
      std::span<const ForeignWriteMethod> allowed = kForeignWriteMethods);

  ForeignWriteTracker(ForeignWriteTracker&&) noexcept;
  ForeignWriteTracker& operator=(ForeignWriteTracker&&) noexcept;
  // Stops watching. Writes since the last collect() are forgotten.
  ~ForeignWriteTracker();

  ForeignWriteMethod method() const;
  // Why the methods before this one are not in force; empty where there are none.
  const std::string& reason() const;

  // Marks the pages that were written since the last call in the region's dirty log. Call
  // it before a harvest; what is written meanwhile is marked by the next call.
  //
  // Errors:  kUnavailable: the kernel refuses (errno in the message); every page is marked.
  // Cost:    kWriteProtect: 0.2 ms a GiB where little was written, 5 ms where much was.
  absl::Status collect();

 private:
  class Watch;
  explicit ForeignWriteTracker(std::unique_ptr<Watch> watch);

  std::unique_ptr<Watch> watch_;
};

}  // namespace vm_mem

#endif  // VM_MEM_FOREIGN_WRITES_H_
