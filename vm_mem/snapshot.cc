#include "vm_mem/snapshot.h"

#include <utility>

#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/internal/snapshot_restore.h"
#include "vm_mem/internal/snapshot_save.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem {
namespace {

absl::Status verify_chain(const internal::SnapshotChain& chain,
                          const SnapshotReadOptions& options) {
  std::vector<internal::DataRun> runs;
  for (std::size_t i = 0; i < chain.files().size(); ++i) {
    const auto more = chain.files()[i]->data_runs(static_cast<std::uint32_t>(i));
    runs.insert(runs.end(), more.begin(), more.end());
    if (absl::Status sections = chain.files()[i]->verify_sections(); !sections.ok()) {
      return sections;
    }
  }
  internal::sort_by_place(runs);
  internal::PageProgress progress(options.progress);
  progress.expect(internal::page_count_of(runs));
  const absl::Status read = internal::stream_pages(
      chain, runs, options.io, progress,
      [](std::uint32_t, std::span<const std::byte>) { return absl::OkStatus(); });
  return read.ok() ? progress.finish() : read;
}

}  // namespace

absl::StatusOr<SnapshotSaved> save_snapshot(MemoryManager& memory, const std::string& path,
                                            const SnapshotSaveOptions& options) {
  return internal::without_exceptions([&]() -> absl::StatusOr<SnapshotSaved> {
    const absl::StatusOr<internal::SaveOutcome> outcome = internal::save_memory(
        memory, {.path = path, .io = options.io, .compression = options.compression}, options,
        internal::SnapshotBase{}, nullptr);
    if (!outcome.ok()) return outcome.status();
    return internal::saved_of(*outcome);
  });
}

absl::StatusOr<Snapshot> Snapshot::open(const std::string& path,
                                        const SnapshotOpenOptions& options) {
  return internal::without_exceptions([&]() -> absl::StatusOr<Snapshot> {
    absl::StatusOr<internal::SnapshotChain> chain = internal::SnapshotChain::open(path, options);
    if (!chain.ok()) return chain.status();
    return Snapshot(std::make_unique<internal::SnapshotChain>(*std::move(chain)));
  });
}

Snapshot::Snapshot(std::unique_ptr<internal::SnapshotChain> chain) : chain_(std::move(chain)) {}
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&&) noexcept = default;
Snapshot::~Snapshot() = default;

const std::string& Snapshot::path() const { return chain_->youngest().file().path; }
const SnapshotInfo& Snapshot::info() const { return chain_->info(); }

std::vector<SnapshotInfo> Snapshot::chain() const {
  std::vector<SnapshotInfo> infos;
  for (const auto& file : chain_->files()) infos.push_back(file->info());
  return infos;
}

const std::vector<DeviceState>& Snapshot::states() const { return chain_->youngest().states(); }

absl::StatusOr<DeviceState> Snapshot::state(const std::string& id) const {
  return internal::without_exceptions([&] { return chain_->youngest().read_state(id); });
}

std::vector<GuestAddress> Snapshot::working_set() const {
  const internal::SnapshotFile& file = chain_->youngest();
  std::vector<GuestAddress> pages;
  for (const internal::PageRun& run : file.working_set()) {
    for (std::uint32_t i = 0; i < run.count; ++i) pages.push_back(file.address_of(run.first + i));
  }
  return pages;
}

absl::Status Snapshot::verify(const SnapshotReadOptions& options) const {
  return internal::without_exceptions([&] { return verify_chain(*chain_, options); });
}

absl::Status restore_snapshot(MemoryManager& memory, const Snapshot& snapshot,
                              const SnapshotRestoreOptions& options) {
  return internal::without_exceptions(
      [&] { return internal::restore_memory(memory, snapshot.files(), options); });
}

}  // namespace vm_mem
