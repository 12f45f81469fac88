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
  static std::optional<FileIdentity> of(const internal::OpenFile& file) {
    struct stat about = {};
    if (::fstat(file.fd.get(), &about) != 0) return std::nullopt;
    return FileIdentity{.device = about.st_dev, .number = about.st_ino};
  }
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// One that others may rest on.
struct Link {
  std::string path;
  FileIdentity file;
};

std::vector<RegionId> ids_of(const GuestRam& ram) {
  std::vector<RegionId> ids;
  for (const RamRegion& region : ram.regions()) ids.push_back(region.id);
  return ids;
}

// Bit p % 64 of word p / 64 for each page p that [begin, end) touches.
void mark_pages(std::vector<std::uint64_t>& words, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t page = begin / kDirtyPageBytes; page * kDirtyPageBytes < end; ++page) {
    words[page / 64] |= std::uint64_t{1} << page % 64;
  }
}

}  // namespace

class SnapshotSeries::State {
 public:
  explicit State(MemoryManager& memory) : memory_(memory) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (client_) memory_.remove_dirty_client(*client_).IgnoreError();
  }

  absl::Status begin(std::string_view client) {
    const absl::StatusOr<DirtyClient> added = memory_.add_dirty_client(client);
    if (added.ok()) client_ = *added;
    return added.status();
  }
  void watch(ForeignWriteTracker& writer) { writers_.push_back(&writer); }
  absl::Status adopt(const Snapshot& snapshot);
  absl::StatusOr<SnapshotSaved> save(const std::string& path, const SnapshotSaveOptions& options,
                                     bool incremental);

 private:
  absl::Status collect(const GuestRam& ram);
  static void collect_leased(const RamRegion& region, std::vector<std::uint64_t>& words);
  absl::Status check_base(const std::string& path, const GuestRam& ram) const;
  bool has_link(const std::string& path) const;

  MemoryManager& memory_;
  std::optional<DirtyClient> client_;
  std::vector<ForeignWriteTracker*> writers_;
  internal::DirtyWords dirty_;  // since base_, what was harvested
  internal::SnapshotBase base_;
  std::vector<internal::RegionEntry> regions_;  // of base_
  std::vector<RegionId> region_ids_;            // of regions_
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
    links_.insert(links_.begin(),
                  {.path = file->file().path,
                   .file = FileIdentity::of(file->file()).value_or(FileIdentity{})});
  }
  regions_ = ram->entries();
  region_ids_ = ids_of(*ram);
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
  for (std::size_t i = 0; i < ram.regions().size(); ++i) {
    const RamRegion& region = ram.regions()[i];
    // Room first: what was harvested must not be lost.
    std::vector<std::uint64_t>& words = dirty_[region.id];
    words.resize(
        std::max<std::size_t>(words.size(), region.entry.bytes / kDirtyPageBytes / 64 + 1));
    DirtyPages pages;
    if (absl::Status told = memory_.harvest_dirty(*client_, region.id, pages); !told.ok()) {
      return {
          told.code(),
          absl::StrFormat("%s: set_dirty_tracking() before the series begins, or save_snapshot() "
                          "without one",
                          told.message())};
    }
    const std::size_t count = std::min(words.size(), pages.words().size());
    for (std::size_t w = 0; w < count; ++w) words[w] |= pages.words()[w];
    collect_leased(region, words);
    // Where another region was, nothing is known of how the two differ.
    if (i < region_ids_.size() && region_ids_[i] != region.id) {
      mark_pages(words, 0, region.entry.bytes);
    }
  }
  return absl::OkStatus();
}

// What is written through a lease gets its mark when that is released.
void SnapshotSeries::State::collect_leased(const RamRegion& region,
                                           std::vector<std::uint64_t>& words) {
  region.region->lease_windows.for_each_written([&](std::uint64_t begin, std::uint64_t end) {
    mark_pages(words, begin, std::min(end, region.entry.bytes));
  });
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
  // A file that is made anew may have the number of the old one.
  const auto found = internal::SnapshotFile::mark_of(base.path);
  if (!found.ok() || *found != internal::SnapshotMark{.id = base_.id, .seal = base_.seal}) {
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
  // What it replaces is gone, even where an error comes after it got its name.
  if (has_link(path)) links_.clear();
  // All that takes memory comes before, so that what is known of the base stays whole.
  std::vector<Link> links = incremental ? links_ : std::vector<Link>{};
  links.push_back({.path = path, .file = {}});
  internal::SnapshotBase base{.id = {},
                              .seal = 0,
                              .depth = static_cast<std::uint32_t>(links.size() - 1),
                              .name = internal::name_of_file(path)};
  std::vector<internal::RegionEntry> regions = ram->entries();
  std::vector<RegionId> region_ids = ids_of(*ram);
  const absl::StatusOr<internal::SaveOutcome> outcome = internal::save_memory(
      memory_, {.path = path, .io = options.io, .compression = options.compression}, options,
      incremental ? base_ : internal::SnapshotBase{}, incremental ? &dirty_ : nullptr);
  if (!outcome.ok()) return outcome.status();
  links.back().file = FileIdentity::of(path).value_or(FileIdentity{});
  base.id = outcome->written.id;
  base.seal = outcome->written.seal;
  links_ = std::move(links);
  base_ = std::move(base);
  regions_ = std::move(regions);
  region_ids_ = std::move(region_ids);
  dirty_.clear();
  return internal::saved_of(*outcome);
}

SnapshotSeries::SnapshotSeries(std::unique_ptr<State> state) : state_(std::move(state)) {}
SnapshotSeries::SnapshotSeries(SnapshotSeries&&) noexcept = default;
SnapshotSeries& SnapshotSeries::operator=(SnapshotSeries&&) noexcept = default;
SnapshotSeries::~SnapshotSeries() = default;

absl::StatusOr<SnapshotSeries> SnapshotSeries::make(MemoryManager& memory,
                                                    std::string_view client) {
  // First, so that nothing that takes memory comes after the client is there.
  auto state = std::make_unique<State>(memory);
  if (absl::Status begun = state->begin(client); !begun.ok()) return begun;
  return SnapshotSeries(std::move(state));
}

absl::StatusOr<SnapshotSeries> SnapshotSeries::begin(MemoryManager& memory,
                                                     std::string_view client) {
  return internal::without_exceptions([&] { return make(memory, client); });
}

absl::StatusOr<SnapshotSeries> SnapshotSeries::resume(MemoryManager& memory,
                                                      std::string_view client,
                                                      const Snapshot& snapshot) {
  return internal::without_exceptions([&]() -> absl::StatusOr<SnapshotSeries> {
    absl::StatusOr<SnapshotSeries> series = make(memory, client);
    if (!series.ok()) return series.status();
    if (absl::Status adopted = series->state_->adopt(snapshot); !adopted.ok()) return adopted;
    return series;
  });
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
