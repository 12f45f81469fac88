#include "vm_mem/lazy_restore.h"

#include <utility>

#include "vm_mem/internal/lazy_run.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem {

absl::StatusOr<std::unique_ptr<LazyRestore>> LazyRestore::start(
    MemoryManager& memory, std::shared_ptr<const Snapshot> snapshot,
    const LazyRestoreOptions& options) {
  return internal::without_exceptions([&]() -> absl::StatusOr<std::unique_ptr<LazyRestore>> {
    auto run = internal::LazyRun::start(memory, std::move(snapshot), options);
    if (!run.ok()) return run.status();
    return std::unique_ptr<LazyRestore>(new LazyRestore(*std::move(run)));
  });
}

absl::StatusOr<std::unique_ptr<LazyRestore>> LazyRestore::start(MemoryManager& memory,
                                                                Snapshot snapshot,
                                                                const LazyRestoreOptions& options) {
  return internal::without_exceptions([&] {
    return start(memory, std::make_shared<const Snapshot>(std::move(snapshot)), options);
  });
}

LazyRestore::LazyRestore(std::unique_ptr<internal::LazyRun> run) : run_(std::move(run)) {}
LazyRestore::~LazyRestore() = default;

absl::Status LazyRestore::ensure_present(GuestRange range) {
  return internal::without_exceptions([&] { return run_->ensure_present(range); });
}

absl::Status LazyRestore::finish() {
  return internal::without_exceptions([&] { return run_->finish(); });
}

bool LazyRestore::done() const { return run_->done(); }
std::vector<GuestAddress> LazyRestore::touched() const { return run_->touched(); }
LazyStatistics LazyRestore::statistics() const { return run_->statistics(); }
const Snapshot& LazyRestore::snapshot() const { return run_->snapshot(); }

}  // namespace vm_mem
