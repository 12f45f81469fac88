#include "vm_mem/internal/snapshot_writer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/crc32c.h"

namespace vm_mem::internal {
namespace {

absl::Status check_states(std::span<const DeviceState> states) {
  std::set<std::string_view> names;
  for (const DeviceState& state : states) {
    if (state.id.empty() || state.id.size() > kMaxSectionName) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the name of a device state has 0x%x bytes: it may have 1 to 64", state.id.size()));
    }
    if (!names.insert(state.id).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("two device states are called \"%s\"", state.id));
    }
  }
  // The other sections need a few entries.
  if (states.size() > kMaxSnapshotSections / 2) {
    return absl::InvalidArgumentError(absl::StrFormat("0x%x device states", states.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotWriter>> SnapshotWriter::create(
    SnapshotTarget target, std::vector<RegionEntry> regions, const SnapshotBase& base) {
  using Cache = NewFile::Cache;
  const Cache cache = target.io == SnapshotIo::kBuffered ? Cache::kUsed : Cache::kAvoided;
  absl::StatusOr<NewFile> file = NewFile::create(target.path, cache, *target.calls);
  if (!file.ok()) return file.status();
  std::unique_ptr<SnapshotWriter> writer(
      new SnapshotWriter(std::move(target), *std::move(file), std::move(regions)));
  if (absl::Status opened = writer->open(base); !opened.ok()) return opened;
  return writer;
}

SnapshotWriter::SnapshotWriter(SnapshotTarget target, NewFile file,
                               std::vector<RegionEntry> regions)
    : target_(std::move(target)),
      file_(std::move(file)),
      id_(SnapshotId::make()),
      regions_(std::move(regions)) {}

absl::Status SnapshotWriter::open(const SnapshotBase& base) {
  absl::StatusOr<std::unique_ptr<BlockPipe>> pipe = BlockPipe::make(*target_.calls, target_.io);
  if (!pipe.ok()) return pipe.status();
  pipe_ = *std::move(pipe);
  block_ = pipe_->next();

  Superblock superblock;
  if (target_.compression != SnapshotCompression::kNone) {
    const bool is_lz4 = target_.compression == SnapshotCompression::kLz4;
    absl::StatusOr<std::unique_ptr<FramePacker>> packer =
        FramePacker::make(is_lz4 ? FrameCodec::kLz4 : FrameCodec::kZstd);
    if (!packer.ok()) return packer.status();
    packer_ = *std::move(packer);
    superblock.incompatible = kFeatureFrames;
  }
  superblock.id = id_;
  superblock.parent = base.id;
  superblock.parent_seal = base.seal;
  superblock.depth = base.id.is_zero() ? 0 : base.depth + 1;
  superblock.parent_name = base.name;
  superblock.guest_pages = page_count_of(regions_);
  superblock.created = std::chrono::duration_cast<std::chrono::seconds>(
                           std::chrono::system_clock::now().time_since_epoch())
                           .count();
  const SnapshotPage page = encode(superblock);
  superblock_checksum_ = seal_of(page);
  return append(page);
}

absl::Status SnapshotWriter::next_block() {
  if (absl::Status flushed = flush(); !flushed.ok()) return flushed;
  if (pipe_->is_full()) {
    if (const auto finished = pipe_->finish_oldest(); !finished.ok()) return finished.status();
  }
  block_ = pipe_->next();
  return absl::OkStatus();
}

// Needs next_block() before anything is put into room() again.
absl::Status SnapshotWriter::flush() {
  if (fill_ == 0) return absl::OkStatus();
  pipe_->start(BlockJob::Kind::kWrite, file_.file(), block_offset_, fill_);
  block_offset_ += fill_;
  fill_ = 0;
  block_ = {};
  return absl::OkStatus();
}

absl::Status SnapshotWriter::append(std::span<const std::byte> page) {
  const absl::StatusOr<std::byte*> to = block_room();
  if (!to.ok()) return to.status();
  std::memcpy(*to, page.data(), page.size());
  fill_ += page.size();
  return absl::OkStatus();
}

void SnapshotWriter::extend(const Extent& extent) {
  if (!extents_.empty()) {
    Extent& last = extents_.back();
    const bool follows =
        last.kind == extent.kind && last.end() == extent.first &&
        (extent.kind == ExtentKind::kZero || last.slot + last.count == extent.slot);
    if (follows && last.count <= UINT32_MAX - extent.count) {
      last.count += extent.count;
      return;
    }
  }
  extents_.push_back(extent);
}

void SnapshotWriter::put_page(std::uint32_t page) {
  extend({.first = page, .count = 1, .slot = checksums_.size(), .kind = ExtentKind::kData});
  if (packer_ != nullptr) {
    checksums_.push_back(crc32c(packer_->room()));
    packer_->put_page();
    return;
  }
  checksums_.push_back(crc32c(block_.subspan(fill_, kSnapshotPageBytes)));
  fill_ += kSnapshotPageBytes;
}

absl::StatusOr<std::byte*> SnapshotWriter::frame_room() {
  if (packer_->is_full()) {
    if (absl::Status appended = append_frame(); !appended.ok()) return appended;
  }
  return packer_->room().data();
}

absl::Status SnapshotWriter::append_frame() {
  FrameEntry entry;
  std::span<const std::byte> stored = packer_->pack(entry);
  frames_.push_back(entry);
  for (; !stored.empty(); stored = stored.subspan(kSnapshotPageBytes)) {
    if (absl::Status appended = append(stored.first(kSnapshotPageBytes)); !appended.ok()) {
      return appended;
    }
  }
  return absl::OkStatus();
}

void SnapshotWriter::put_zero(std::uint64_t first, std::uint64_t count) {
  if (count == 0) return;
  zero_pages_ += count;
  extend({.first = static_cast<std::uint32_t>(first),
          .count = static_cast<std::uint32_t>(count),
          .slot = 0,
          .kind = ExtentKind::kZero});
}

template <typename EncodeOne>
absl::Status SnapshotWriter::append_section(SectionEntry entry, std::size_t count,
                                            std::size_t bytes_each, EncodeOne encode_one) {
  entry.offset = offset();
  entry.bytes = count * bytes_each;
  const std::size_t a_page = kSnapshotPageBytes / bytes_each;
  for (std::size_t done = 0; done < count;) {
    SnapshotPage page{};
    const std::size_t now = std::min(count - done, a_page);
    for (std::size_t i = 0; i < now; ++i) {
      encode_one(done + i, std::span(page).subspan(i * bytes_each, bytes_each));
    }
    entry.checksum = crc32c(page, entry.checksum);
    if (absl::Status appended = append(page); !appended.ok()) return appended;
    done += now;
  }
  sections_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status SnapshotWriter::append_sections(std::span<const PageRun> working_set,
                                             std::span<const DeviceState> states) {
  std::ranges::sort(extents_, {}, &Extent::first);
  const auto section = [](SectionKind kind) {
    return SectionEntry{.kind = kind, .version = 1, .flags = kSectionRequired, .name = {}};
  };
  const auto encoder = [](const auto& values) {
    return [&values](std::size_t i, std::span<std::byte> to) { encode(values[i], to); };
  };
  absl::Status appended = append_section(section(SectionKind::kRegions), regions_.size(),
                                         kRegionEntryBytes, encoder(regions_));
  if (!appended.ok()) return appended;
  appended = append_section(section(SectionKind::kPageMap), extents_.size(), kExtentBytes,
                            encoder(extents_));
  if (!appended.ok()) return appended;
  appended = append_section(section(SectionKind::kPageChecksums), checksums_.size(),
                            sizeof(std::uint32_t), [&](std::size_t i, std::span<std::byte> to) {
                              std::memcpy(to.data(), &checksums_[i], sizeof checksums_[i]);
                            });
  if (!appended.ok()) return appended;
  if (packer_ != nullptr) {
    appended = append_section(section(SectionKind::kFrames), frames_.size(), kFrameEntryBytes,
                              encoder(frames_));
    if (!appended.ok()) return appended;
  }
  if (!working_set.empty()) {
    appended = append_section({.kind = SectionKind::kWorkingSet, .version = 1, .name = {}},
                              working_set.size(), kPageRunBytes, encoder(working_set));
    if (!appended.ok()) return appended;
  }
  for (const DeviceState& state : states) {
    appended = append_section(
        {.kind = SectionKind::kDeviceState, .version = state.version, .name = state.id},
        state.bytes.size(), 1,
        [&](std::size_t i, std::span<std::byte> to) { to[0] = state.bytes[i]; });
    if (!appended.ok()) return appended;
  }
  return absl::OkStatus();
}

absl::Status SnapshotWriter::append_table(Footer& footer) {
  footer.table_offset = offset();
  footer.section_count = static_cast<std::uint32_t>(sections_.size());
  const std::vector<SectionEntry> entries = sections_;
  absl::Status appended =
      append_section({}, entries.size(), kSectionEntryBytes,
                     [&](std::size_t i, std::span<std::byte> to) { encode(entries[i], to); });
  footer.table_checksum = sections_.back().checksum;
  return appended;
}

// The footer is written once everything before it is on the disk, so that a file that has one
// is whole.
absl::StatusOr<WrittenSnapshot> SnapshotWriter::commit(std::span<const PageRun> working_set,
                                                       std::span<const DeviceState> states) {
  if (absl::Status named = check_states(states); !named.ok()) return named;
  Footer footer{.id = id_, .data_pages = checksums_.size()};
  footer.superblock_checksum = superblock_checksum_;
  absl::Status step;
  if (packer_ != nullptr) {
    if (!packer_->is_empty()) step = append_frame();
    footer.frame_pages = offset() / kSnapshotPageBytes - 1;
  }
  if (step.ok()) step = append_sections(working_set, states);
  if (step.ok()) step = append_table(footer);
  if (step.ok()) step = flush();
  if (step.ok()) step = pipe_->finish_all();
  if (!step.ok()) return step;
  if (absl::Status synced = file_.sync(); !synced.ok()) return synced;

  footer.file_bytes = offset() + kSnapshotPageBytes;
  const SnapshotPage page = encode(footer);
  step = append(page);
  if (step.ok()) step = flush();
  if (step.ok()) step = pipe_->finish_all();
  if (!step.ok()) return step;
  if (absl::Status synced = file_.sync(); !synced.ok()) return synced;
  if (absl::Status published = file_.publish(); !published.ok()) return published;
  return WrittenSnapshot{.id = id_,
                         .seal = seal_of(page),
                         .data_pages = checksums_.size(),
                         .zero_pages = zero_pages_,
                         .file_bytes = footer.file_bytes,
                         .io = file_.file().direct ? pipe_->io() : SnapshotIo::kBuffered};
}

}  // namespace vm_mem::internal
