#include "vm_mem/snapshot_convert.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/flat_regions.h"
#include "vm_mem/internal/new_file.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/populated.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/internal/snapshot_restore.h"
#include "vm_mem/internal/snapshot_writer.h"
#include "vm_mem/internal/without_exceptions.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_mem {
namespace {

using internal::DataRun;
using internal::kSnapshotPageBytes;
using internal::PageRun;
using internal::SnapshotChain;
using internal::SnapshotFile;
using internal::SnapshotWriter;

SnapshotSaved saved_of(const internal::WrittenSnapshot& written, std::uint64_t scanned) {
  return {.id = written.id,
          .scanned_pages = scanned,
          .data_pages = written.data_pages,
          .zero_pages = written.zero_pages,
          .file_bytes = written.file_bytes,
          .io = written.io};
}

absl::Status put_pages(SnapshotWriter& writer, std::uint32_t first,
                       std::span<const std::byte> pages) {
  for (; !pages.empty(); pages = pages.subspan(kSnapshotPageBytes)) {
    const absl::StatusOr<std::byte*> to = writer.room();
    if (!to.ok()) return to.status();
    std::memcpy(*to, pages.data(), kSnapshotPageBytes);
    writer.put_page(first++);
  }
  return absl::OkStatus();
}

// The pages of the working set before the others, both by page.
std::vector<DataRun> working_set_first(std::vector<DataRun> runs, const SnapshotFile& file) {
  std::vector<PageRun> wanted(file.working_set().begin(), file.working_set().end());
  std::ranges::sort(wanted, {}, &PageRun::first);
  std::vector<DataRun> first;
  std::vector<DataRun> rest;
  auto next = wanted.begin();
  for (DataRun run : runs) {
    while (run.count != 0) {
      while (next != wanted.end() && std::uint64_t{next->first} + next->count <= run.first) ++next;
      const bool inside = next != wanted.end() && next->first <= run.first;
      const std::uint64_t end = next == wanted.end() ? run.end()
                                : inside             ? std::uint64_t{next->first} + next->count
                                                     : next->first;
      DataRun part = run;
      part.count = static_cast<std::uint32_t>(std::min(end, run.end()) - run.first);
      (inside ? first : rest).push_back(part);
      run.first += part.count;
      run.slot += part.count;
      run.count -= part.count;
    }
  }
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

absl::StatusOr<std::vector<DeviceState>> read_states(const SnapshotFile& file) {
  std::vector<DeviceState> states;
  for (const DeviceState& about : file.states()) {
    absl::StatusOr<DeviceState> state = file.read_state(about.id);
    if (!state.ok()) return state.status();
    states.push_back(*std::move(state));
  }
  return states;
}

bool is_same_file(const std::string& path, const internal::OpenFile& file) {
  struct stat one = {};
  struct stat other = {};
  return ::stat(path.c_str(), &one) == 0 && ::fstat(file.fd.get(), &other) == 0 &&
         one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

absl::Status check_merge(const SnapshotChain& chain, const std::string& path, std::uint32_t kept) {
  if (absl::Status complete = check_complete(chain); !complete.ok()) return complete;
  if (kept >= chain.files().size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: it has %u files, of which %u are to be kept: nothing is to be merged",
                        chain.youngest().file().path, chain.files().size(), kept));
  }
  for (const auto& file : chain.files()) {
    if (is_same_file(path, file->file())) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: it would replace a snapshot that is being read", path));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SnapshotSaved> merge(const Snapshot& snapshot, const std::string& path,
                                    const SnapshotMergeOptions& options) {
  const SnapshotChain& chain = snapshot.files();
  if (absl::Status fits = check_merge(chain, path, options.kept); !fits.ok()) return fits;
  const std::size_t merged = chain.files().size() - options.kept;
  internal::SnapshotBase base;
  if (options.kept != 0) {
    const SnapshotFile& below = *chain.files()[merged];
    base = {.id = below.superblock().id,
            .seal = below.seal(),
            .depth = below.superblock().depth,
            .name = internal::name_of_file(below.file().path)};
  }
  const SnapshotFile& youngest = chain.youngest();
  const absl::StatusOr<std::vector<DeviceState>> states = read_states(youngest);
  if (!states.ok()) return states.status();
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> writer =
      SnapshotWriter::create({.path = path, .io = options.io, .compression = options.compression},
                             {youngest.regions().begin(), youngest.regions().end()}, base);
  if (!writer.ok()) return writer.status();
  const std::vector<DataRun> runs = working_set_first(chain.data_runs(merged), youngest);
  const std::uint64_t pages = internal::page_count_of(runs);
  internal::PageProgress progress(options.progress);
  progress.expect(pages);
  absl::Status copied =
      internal::stream_pages(chain, runs, options.io, progress,
                             [&](std::uint32_t first, std::span<const std::byte> bytes) {
                               return put_pages(**writer, first, bytes);
                             });
  if (copied.ok()) copied = progress.finish();
  if (!copied.ok()) return copied;
  if (options.kept != 0) {
    for (const PageRun& run : chain.zero_runs(merged)) (*writer)->put_zero(run.first, run.count);
  }
  const auto written = (*writer)->commit(youngest.working_set(), *states);
  if (!written.ok()) return written.status();
  return saved_of(*written, pages);
}

absl::Status export_flat(const Snapshot& snapshot, const std::string& path,
                         const SnapshotReadOptions& options) {
  const SnapshotChain& chain = snapshot.files();
  if (absl::Status fits = check_merge(chain, path, 0); !fits.ok()) return fits;
  absl::StatusOr<internal::NewFile> image =
      internal::NewFile::create(path, internal::NewFile::Cache::kUsed);
  if (!image.ok()) return image.status();
  if (absl::Status sized = image->resize(chain.info().guest_pages * kSnapshotPageBytes);
      !sized.ok()) {
    return sized;
  }
  std::vector<DataRun> runs = chain.data_runs();
  internal::sort_by_place(runs);
  internal::PageProgress progress(options.progress);
  progress.expect(internal::page_count_of(runs));
  absl::Status copied = internal::stream_pages(
      chain, runs, options.io, progress,
      [&](std::uint32_t first, std::span<const std::byte> bytes) {
        return internal::write_exactly(internal::FileCalls::host(), image->file(),
                                       first * std::uint64_t{kSnapshotPageBytes}, bytes);
      });
  if (copied.ok()) copied = progress.finish();
  if (copied.ok()) copied = image->sync();
  return copied.ok() ? image->publish() : copied;
}

absl::StatusOr<SnapshotSaved> import_flat(const std::string& image,
                                          std::span<const GuestRange> regions,
                                          const std::string& path,
                                          const SnapshotSaveOptions& options) {
  if (!options.working_set.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: a flat image is taken as it is, without a working set", path));
  }
  const auto entries = internal::flat_regions(regions);
  if (!entries.ok()) return entries.status();
  const absl::StatusOr<internal::OpenFile> file = internal::open_flat_image(image, regions);
  if (!file.ok()) return file.status();
  if (is_same_file(path, *file)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: it would replace the image that is being read", path));
  }
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> writer = SnapshotWriter::create(
      {.path = path, .io = options.io, .compression = options.compression}, *entries, {});
  if (!writer.ok()) return writer.status();
  const std::uint64_t bytes = internal::page_count_of(*entries) * kSnapshotPageBytes;
  const auto populated = internal::populated_file(file->fd.get(), 0, bytes);
  std::uint64_t pages = 0;
  for (const internal::ByteRun& run : populated)
    pages += (run.end - run.begin) / kSnapshotPageBytes;
  internal::PageProgress progress(options.progress);
  progress.expect(pages);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (const internal::ByteRun& run : populated) {
    for (std::uint64_t at = run.begin; at < run.end; at += buffer.size()) {
      const auto block =
          std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), run.end - at));
      absl::Status done = internal::read_exactly(internal::FileCalls::host(), *file, at, block);
      for (std::size_t i = 0; done.ok() && i < block.size(); i += kSnapshotPageBytes) {
        const auto page = block.subspan(i, kSnapshotPageBytes);
        if (is_zero(page)) continue;
        done = put_pages(**writer, static_cast<std::uint32_t>((at + i) / kSnapshotPageBytes), page);
      }
      if (done.ok()) done = progress.advance(block.size() / kSnapshotPageBytes);
      if (!done.ok()) return done;
    }
  }
  if (absl::Status told = progress.finish(); !told.ok()) return told;
  const auto written = (*writer)->commit({}, options.states);
  if (!written.ok()) return written.status();
  return saved_of(*written, pages);
}

}  // namespace

absl::StatusOr<SnapshotSaved> merge_snapshots(const Snapshot& snapshot, const std::string& path,
                                              const SnapshotMergeOptions& options) {
  return internal::without_exceptions([&] { return merge(snapshot, path, options); });
}

absl::Status export_flat_image(const Snapshot& snapshot, const std::string& path,
                               const SnapshotReadOptions& options) {
  return internal::without_exceptions([&] { return export_flat(snapshot, path, options); });
}

absl::StatusOr<SnapshotSaved> import_flat_image(const std::string& image,
                                                std::span<const GuestRange> regions,
                                                const std::string& path,
                                                const SnapshotSaveOptions& options) {
  return internal::without_exceptions([&] { return import_flat(image, regions, path, options); });
}

}  // namespace vm_mem
