#include "vm_mem/internal/snapshot_chain.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

// An extent, and the file that it is of.
struct Resolved {
  Extent extent;
  std::uint32_t file = 0;
};

// The part of an extent that lies in [first, end).
Extent part_of(const Extent& extent, std::uint64_t first, std::uint64_t end) {
  Extent part = extent;
  part.first = static_cast<std::uint32_t>(std::max<std::uint64_t>(extent.first, first));
  part.count = static_cast<std::uint32_t>(std::min(extent.end(), end) - part.first);
  if (extent.kind == ExtentKind::kData) part.slot += part.first - extent.first;
  return part;
}

// `upper`, and in its gaps what `lower`, of `file`, has. All sorted.
std::vector<Resolved> laid_over(std::span<const Resolved> upper, std::span<const Extent> lower,
                                std::uint32_t file) {
  std::vector<Resolved> all;
  all.reserve(upper.size() + lower.size());
  std::size_t next = 0;  // of upper
  for (const Extent& extent : lower) {
    std::uint64_t at = extent.first;
    while (at < extent.end()) {
      for (; next < upper.size() && upper[next].extent.end() <= at; ++next) {
        all.push_back(upper[next]);
      }
      const std::uint64_t gap_end = next < upper.size() ? upper[next].extent.first : UINT64_MAX;
      if (at < gap_end) {
        all.push_back({.extent = part_of(extent, at, gap_end), .file = file});
        at = std::min(extent.end(), gap_end);
      } else {
        at = upper[next].extent.end();
      }
    }
  }
  all.insert(all.end(), upper.begin() + static_cast<std::ptrdiff_t>(next), upper.end());
  return all;
}

std::vector<Resolved> resolve(std::span<const std::unique_ptr<SnapshotFile>> files) {
  std::vector<Resolved> all;
  for (std::size_t i = 0; i < files.size(); ++i) {
    all = laid_over(all, files[i]->extents(), static_cast<std::uint32_t>(i));
  }
  return all;
}

}  // namespace

absl::StatusOr<SnapshotChain> SnapshotChain::open(const std::string& path,
                                                  const SnapshotOpenOptions& options,
                                                  FileCalls& calls) {
  SnapshotChain chain;
  absl::StatusOr<std::unique_ptr<SnapshotFile>> file =
      SnapshotFile::open(path, {.table_bytes = options.max_table_bytes}, calls);
  if (!file.ok()) return file.status();
  chain.files_.push_back(*std::move(file));
  if (options.parents == SnapshotParents::kOpen) {
    if (absl::Status added = chain.add_parents(options, calls); !added.ok()) return added;
  }
  chain.info_ = chain.youngest().info();
  return chain;
}

// Depths fall by one from file to file, so that a loop cannot close.
absl::Status SnapshotChain::check_parent(const SnapshotFile& child,
                                         const SnapshotFile& parent) const {
  const Superblock& wanted = child.superblock();
  const Superblock& found = parent.superblock();
  const auto refused = [&](const std::string& reason) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: at 0x0: %s is not its parent: %s", child.file().path, parent.file().path, reason));
  };
  for (const std::unique_ptr<SnapshotFile>& other : files_) {
    if (other->superblock().id == found.id) return refused("the parents are a loop");
  }
  if (found.id != wanted.parent) {
    return refused(absl::StrFormat("it is snapshot %s, where %s is wanted", found.id.text(),
                                   wanted.parent.text()));
  }
  if (parent.seal() != wanted.parent_seal) return refused("it was changed since");
  if (found.depth + 1 != wanted.depth) return refused("its depth is not one less");
  if (!std::ranges::equal(child.regions(), parent.regions())) return refused("other regions");
  return absl::OkStatus();
}

absl::Status SnapshotChain::add_parents(const SnapshotOpenOptions& options, FileCalls& calls) {
  while (!is_complete()) {
    const SnapshotFile& child = *files_.back();
    const Superblock& superblock = child.superblock();
    if (superblock.depth > kMaxSnapshotDepth) {
      return file_error(
          child.file().path, 0,
          absl::FailedPreconditionError(absl::StrFormat("a chain of %u parents; the longest has %u",
                                                        superblock.depth, kMaxSnapshotDepth)));
    }
    // Before a caller makes a path of it, too.
    if (!is_plain_name(superblock.parent_name)) {
      return file_error(child.file().path, 0,
                        absl::DataLossError("the parent's name is none of a file in a folder"));
    }
    std::string path = folder_of(child.file().path) + "/" + superblock.parent_name;
    if (options.find_parent) {
      absl::StatusOr<std::string> found =
          options.find_parent(superblock.parent, superblock.parent_name);
      if (!found.ok()) return found.status();
      path = *std::move(found);
    }
    absl::StatusOr<std::unique_ptr<SnapshotFile>> parent =
        SnapshotFile::open(path, {.table_bytes = options.max_table_bytes}, calls);
    if (!parent.ok()) {
      return {
          parent.status().code(),
          absl::StrFormat("%s (the parent of %s)", parent.status().message(), child.file().path)};
    }
    if (absl::Status checked = check_parent(child, **parent); !checked.ok()) return checked;
    files_.push_back(*std::move(parent));
  }
  return absl::OkStatus();
}

std::vector<DataRun> SnapshotChain::data_runs(std::size_t depth) const {
  std::vector<DataRun> runs;
  for (const Resolved& part : resolve(files().first(std::min(depth, files_.size())))) {
    if (part.extent.kind != ExtentKind::kData) continue;
    runs.push_back({.file = part.file,
                    .first = part.extent.first,
                    .count = part.extent.count,
                    .slot = part.extent.slot});
  }
  return runs;
}

std::vector<PageRun> SnapshotChain::zero_runs(std::size_t depth) const {
  std::vector<PageRun> runs;
  for (const Resolved& part : resolve(files().first(std::min(depth, files_.size())))) {
    if (part.extent.kind != ExtentKind::kZero) continue;
    runs.push_back({.first = part.extent.first, .count = part.extent.count});
  }
  return runs;
}

void append_part(std::span<const DataRun> runs, std::uint64_t first, std::uint64_t end,
                 std::vector<DataRun>& to) {
  for (auto run = std::ranges::upper_bound(runs, first, {}, &DataRun::end);
       run != runs.end() && run->first < end; ++run) {
    const std::uint64_t from = std::max<std::uint64_t>(run->first, first);
    to.push_back({.file = run->file,
                  .first = static_cast<std::uint32_t>(from),
                  .count = static_cast<std::uint32_t>(std::min(run->end(), end) - from),
                  .slot = run->slot + (from - run->first)});
  }
}

}  // namespace vm_mem::internal
