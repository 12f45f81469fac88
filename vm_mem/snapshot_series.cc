#include "vm_mem/snapshot_series.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/internal/snapshot_restore.h"
#include "vm_mem/internal/snapshot_save.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem {
namespace {

using internal::GuestRam;
using internal::RamRegion;

// A file, whatever it is called.
struct FileIdentity {
  dev_t device = 0;
  ino_t number = 0;

  static std::optional<FileIdentity> of(const std::string& path) {
    struct stat about = {};
    if (::stat(path.c_str(), &about) != 0) return std::nullopt;
    return FileIdentity{.device = about.st_dev, .number = about.st_ino};
  }
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// One that others may rest on.
struct Link {
  std::string path;
  FileIdentity file;
};

}  // namespace

class SnapshotSeries::State {
 public:
  State(MemoryManager& memory, DirtyClient client) : memory_(memory), client_(client) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { memory_.remove_dirty_client(client_).IgnoreError(); }

  void watch(ForeignWriteTracker& writer) { writers_.push_back(&writer); }
  absl::Status adopt(const Snapshot& snapshot);
  absl::StatusOr<SnapshotSaved> save(const std::string& path, const SnapshotSaveOptions& options,
                                     bool incremental);

 private:
  absl::Status collect(const GuestRam& ram);
  absl::Status check_base(const std::string& path, const GuestRam& ram) const;
  bool has_link(const std::string& path) const;

  MemoryManager& memory_;
  DirtyClient client_;
  std::vector<ForeignWriteTracker*> writers_;
  internal::DirtyWords dirty_;  // since base_, what was harvested
  internal::SnapshotBase base_;
  std::vector<internal::RegionEntry> regions_;  // of base_
  std::vector<Link> links_;                     // base_'s file last; none: there is no base
};

absl::Status SnapshotSeries::State::adopt(const Snapshot& snapshot) {
  const internal::SnapshotChain& chain = snapshot.files();
  if (absl::Status complete = check_complete(chain); !complete.ok()) return complete;
  const absl::StatusOr<GuestRam> ram = GuestRam::of(memory_);
  if (!ram.ok()) return ram.status();
  if (absl::Status same = check_same_regions(chain.youngest(), ram->entries()); !same.ok()) {
    return same;
  }
  for (const auto& file : chain.files()) {
    const auto identity = FileIdentity::of(file->file().path);
    if (!identity) {
      return absl::FailedPreconditionError(
          absl::StrFormat("%s: the file is gone", file->file().path));
    }
    links_.insert(links_.begin(), {.path = file->file().path, .file = *identity});
  }
  regions_ = ram->entries();
  base_ = {.id = chain.info().id,
           .seal = chain.youngest().seal(),
           .depth = chain.info().depth,
           .name = internal::name_of_file(snapshot.path())};
  return absl::OkStatus();
}

// Whatever fails from here on, the pages stay noted.
absl::Status SnapshotSeries::State::collect(const GuestRam& ram) {
  for (ForeignWriteTracker* const writer : writers_) {
    // Where the kernel refuses, every page is marked: more than needed, and right.
    writer->collect().IgnoreError();
  }
  for (const RamRegion& region : ram.regions()) {
    // Room first: what was harvested must not be lost.
    std::vector<std::uint64_t>& words = dirty_[region.id];
    words.resize(
        std::max<std::size_t>(words.size(), region.entry.bytes / kDirtyPageBytes / 64 + 1));
    DirtyPages pages;
    if (absl::Status told = memory_.harvest_dirty(client_, region.id, pages); !told.ok()) {
      return {
          told.code(),
          absl::StrFormat("%s: set_dirty_tracking() before the series begins, or save_snapshot() "
                          "without one",
                          told.message())};
    }
    const std::size_t count = std::min(words.size(), pages.words().size());
    for (std::size_t i = 0; i < count; ++i) words[i] |= pages.words()[i];
  }
  return absl::OkStatus();
}

bool SnapshotSeries::State::has_link(const std::string& path) const {
  const auto identity = FileIdentity::of(path);
  return identity && std::ranges::find(links_, *identity, &Link::file) != links_.end();
}

absl::Status SnapshotSeries::State::check_base(const std::string& path, const GuestRam& ram) const {
  if (links_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: there is no snapshot that it could rest on: save a full one", path));
  }
  const Link& base = links_.back();
  if (FileIdentity::of(base.path) != base.file) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: %s, which it would rest on, is gone or was replaced: save a full one",
                        path, base.path));
  }
  if (regions_ != ram.entries()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: the RAM regions are others than those of %s: save a full one", path, base.path));
  }
  if (base_.depth >= internal::kMaxSnapshotDepth) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: %s rests on %u others already: save a full one, or merge them", path,
                        base.path, base_.depth));
  }
  if (has_link(path)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: it would replace a snapshot that it rests on", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<SnapshotSaved> SnapshotSeries::State::save(const std::string& path,
                                                          const SnapshotSaveOptions& options,
                                                          bool incremental) {
  const absl::StatusOr<GuestRam> ram = GuestRam::of(memory_);
  if (!ram.ok()) return ram.status();
  if (incremental) {
    if (absl::Status fits = check_base(path, *ram); !fits.ok()) return fits;
  }
  if (absl::Status collected = collect(*ram); !collected.ok()) return collected;
  const bool replaces = has_link(path);
  const absl::StatusOr<internal::SaveOutcome> outcome = internal::save_memory(
      memory_, {.path = path, .io = options.io}, options,
      incremental ? base_ : internal::SnapshotBase{}, incremental ? &dirty_ : nullptr);
  if (!outcome.ok()) {
    // It may have got its name all the same: nothing can rest on what was there.
    if (replaces) links_.clear();
    return outcome.status();
  }
  if (!incremental) links_.clear();
  links_.push_back({.path = path, .file = FileIdentity::of(path).value_or(FileIdentity{})});
  dirty_.clear();
  regions_ = ram->entries();
  base_ = {.id = outcome->written.id,
           .seal = outcome->written.seal,
           .depth = static_cast<std::uint32_t>(links_.size() - 1),
           .name = internal::name_of_file(path)};
  return internal::saved_of(*outcome);
}

SnapshotSeries::SnapshotSeries(std::unique_ptr<State> state) : state_(std::move(state)) {}
SnapshotSeries::SnapshotSeries(SnapshotSeries&&) noexcept = default;
SnapshotSeries& SnapshotSeries::operator=(SnapshotSeries&&) noexcept = default;
SnapshotSeries::~SnapshotSeries() = default;

absl::StatusOr<SnapshotSeries> SnapshotSeries::make(MemoryManager& memory,
                                                    std::string_view client) {
  const absl::StatusOr<DirtyClient> added = memory.add_dirty_client(client);
  if (!added.ok()) return added.status();
  return SnapshotSeries(std::make_unique<State>(memory, *added));
}

absl::StatusOr<SnapshotSeries> SnapshotSeries::begin(MemoryManager& memory,
                                                     std::string_view client) {
  return make(memory, client);
}

absl::StatusOr<SnapshotSeries> SnapshotSeries::resume(MemoryManager& memory,
                                                      std::string_view client,
                                                      const Snapshot& snapshot) {
  absl::StatusOr<SnapshotSeries> series = make(memory, client);
  if (!series.ok()) return series.status();
  if (absl::Status adopted = series->state_->adopt(snapshot); !adopted.ok()) return adopted;
  return series;
}

void SnapshotSeries::watch(ForeignWriteTracker& writer) { state_->watch(writer); }

absl::StatusOr<SnapshotSaved> SnapshotSeries::save_full(const std::string& path,
                                                        const SnapshotSaveOptions& options) {
  return internal::without_exceptions([&] { return state_->save(path, options, false); });
}

absl::StatusOr<SnapshotSaved> SnapshotSeries::save_incremental(const std::string& path,
                                                               const SnapshotSaveOptions& options) {
  return internal::without_exceptions([&] { return state_->save(path, options, true); });
}

}  // namespace vm_mem
