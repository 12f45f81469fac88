#include "vm_mem/internal/page_stream.h"

#include <algorithm>
#include <deque>
#include <tuple>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/frames.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kBlockPages = BlockPipe::kBlockBytes / kSnapshotPageBytes;
// Pages that are read although nobody wants them, where that saves a read of its own.
constexpr std::uint64_t kBridgedPages = 8;

// Runs that one read brings.
struct Batch {
  std::uint32_t file = 0;
  std::uint64_t slot = 0;  // where frames are, that of the first page of one
  std::uint64_t pages = 0;
  std::vector<DataRun> runs;
};

// Cuts runs into batches.
class Batches {
 public:
  Batches(const SnapshotChain& chain, std::span<const DataRun> runs) : chain_(chain), runs_(runs) {}

  bool empty() const { return runs_.empty(); }
  Batch next() {
    Batch batch{.file = runs_[0].file, .slot = runs_[0].slot + done_, .pages = 0, .runs = {}};
    if (chain_.files()[batch.file]->has_frames()) batch.slot -= batch.slot % kFramePages;
    while (!runs_.empty() && takes(batch)) {
      const DataRun& run = runs_[0];
      const std::uint64_t at = run.slot + done_ - batch.slot;
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(run.count - done_, kBlockPages - at));
      batch.runs.push_back(
          {.file = run.file, .first = run.first + done_, .count = count, .slot = run.slot + done_});
      batch.pages = at + count;
      done_ += count;
      if (done_ < run.count) break;
      runs_ = runs_.subspan(1);
      done_ = 0;
    }
    return batch;
  }

 private:
  bool takes(const Batch& batch) const {
    if (batch.runs.empty()) return true;
    const DataRun& run = runs_[0];
    const std::uint64_t slot = run.slot + done_;
    const std::uint64_t end = batch.slot + batch.pages;
    return run.file == batch.file && slot >= end && slot - end <= kBridgedPages &&
           slot - batch.slot < kBlockPages;
  }

  const SnapshotChain& chain_;
  std::span<const DataRun> runs_;
  std::uint32_t done_ = 0;  // of the first
};

class Stream {
 public:
  Stream(const SnapshotChain& chain, PageProgress& progress, const VisitPages& visit,
         std::size_t depth)
      : chain_(chain), progress_(progress), visit_(visit), depth_(depth) {}

  absl::Status run(std::span<const DataRun> runs, SnapshotIo io) {
    // What is in the page cache comes faster from there.
    if (io == SnapshotIo::kRing && is_cached(runs)) io = SnapshotIo::kBuffered;
    for (const std::unique_ptr<SnapshotFile>& file : chain_.files()) {
      files_.push_back(io == SnapshotIo::kBuffered ? reopened_buffered(file->file())
                                                   : reopened_direct(file->file()));
    }
    absl::StatusOr<std::unique_ptr<BlockPipe>> pipe =
        BlockPipe::make(chain_.youngest().calls(), io);
    if (!pipe.ok()) return pipe.status();
    pipe_ = *std::move(pipe);
    Batches batches(chain_, runs);
    while (!batches.empty()) {
      if (pipe_->is_full() || under_way_.size() >= depth_) {
        if (absl::Status taken = take_oldest(); !taken.ok()) return taken;
      }
      start(batches.next());
    }
    while (!pipe_->is_idle()) {
      if (absl::Status taken = take_oldest(); !taken.ok()) return taken;
    }
    return absl::OkStatus();
  }

 private:
  // By a few pages here and there.
  bool is_cached(std::span<const DataRun> runs) const {
    constexpr std::size_t kSamples = 32;
    if (!chain_.youngest().calls().may_use_ring()) return false;
    const std::size_t step = runs.size() / kSamples + 1;
    for (std::size_t i = 0; i < runs.size(); i += step) {
      const DataRun& run = runs[i];
      const SnapshotFile& file = *chain_.files()[run.file];
      if (!has_cached(file.file(), file.place_of(run.slot + run.count / 2))) return false;
    }
    return true;
  }

  void start(Batch batch) {
    const SnapshotFile& file = *chain_.files()[batch.file];
    std::uint64_t pages = batch.pages;
    if (file.has_frames()) {
      const auto frames = file.frames();
      pages = frames[(batch.slot + pages - 1) / kFramePages].end_page() -
              frames[batch.slot / kFramePages].page;
    }
    pipe_->start(BlockJob::Kind::kRead, files_[batch.file], file.place_of(batch.slot),
                 pages * kSnapshotPageBytes);
    under_way_.push_back(std::move(batch));
  }

  absl::Status take_oldest() {
    const absl::StatusOr<std::span<std::byte>> bytes = pipe_->finish_oldest();
    if (!bytes.ok()) return bytes.status();
    const Batch batch = std::move(under_way_.front());
    under_way_.pop_front();
    absl::StatusOr<std::span<const std::byte>> plain = *bytes;
    if (chain_.files()[batch.file]->has_frames()) plain = unpacked(batch, *bytes);
    if (!plain.ok()) return plain.status();
    for (const DataRun& run : batch.runs) {
      const std::span<const std::byte> pages = plain->subspan(
          (run.slot - batch.slot) * kSnapshotPageBytes, run.count * kSnapshotPageBytes);
      if (absl::Status checked = check(run, pages); !checked.ok()) return checked;
      if (absl::Status visited = visit_(run.first, pages); !visited.ok()) return visited;
      if (absl::Status told = progress_.advance(run.count); !told.ok()) return told;
    }
    return absl::OkStatus();
  }

  // What the frames of a batch have, as if they lay there as they are: of those that any run is of.
  absl::StatusOr<std::span<const std::byte>> unpacked(const Batch& batch,
                                                      std::span<const std::byte> stored) {
    unpacked_.resize(BlockPipe::kBlockBytes);
    const SnapshotFile& file = *chain_.files()[batch.file];
    const std::uint64_t base = file.frames()[batch.slot / kFramePages].page;
    std::uint64_t next = 0;
    for (const DataRun& run : batch.runs) {
      std::uint64_t frame = std::max(next, run.slot / kFramePages);
      for (; frame * kFramePages < run.slot + run.count; ++frame) {
        const FrameEntry& entry = file.frames()[frame];
        const std::uint64_t slot = frame * kFramePages;
        const std::uint64_t pages = std::min(kFramePages, file.checksums().size() - slot);
        const absl::Status done = unpacker_.unpack(
            entry, stored.subspan((entry.page - base) * kSnapshotPageBytes, paged(entry.bytes)),
            std::span(unpacked_).subspan((slot - batch.slot) * kSnapshotPageBytes,
                                         pages * kSnapshotPageBytes));
        if (!done.ok()) return frame_error(file, run, slot, done);
      }
      next = frame;
    }
    return unpacked_;
  }

  static absl::Status frame_error(const SnapshotFile& file, const DataRun& run, std::uint64_t slot,
                                  const absl::Status& reason) {
    const std::uint64_t page = run.first + (std::max(slot, run.slot) - run.slot);
    return file_error(file.file().path, file.place_of(slot),
                      absl::Status(reason.code(),
                                   absl::StrFormat("%s (with guest memory at 0x%x)",
                                                   reason.message(), file.address_of(page).value)));
  }

  absl::Status check(const DataRun& run, std::span<const std::byte> pages) const {
    const SnapshotFile& file = *chain_.files()[run.file];
    for (std::uint32_t i = 0; i < run.count; ++i) {
      if (file.matches(run.slot + i, pages.subspan(i * kSnapshotPageBytes, kSnapshotPageBytes))) {
        continue;
      }
      return mismatch(file, run.slot + i, file.address_of(std::uint64_t{run.first} + i).value);
    }
    return absl::OkStatus();
  }

  const SnapshotChain& chain_;
  PageProgress& progress_;
  const VisitPages& visit_;
  std::size_t depth_;
  std::vector<OpenFile> files_;
  std::unique_ptr<BlockPipe> pipe_;  // goes before files_
  std::deque<Batch> under_way_;
  FrameUnpacker unpacker_;
  std::vector<std::byte> unpacked_;
};

}  // namespace

absl::Status stream_pages(const SnapshotChain& chain, std::span<const DataRun> runs, SnapshotIo io,
                          PageProgress& progress, const VisitPages& visit, std::size_t depth) {
  return Stream(chain, progress, visit, depth).run(runs, io);
}

absl::Status mismatch(const SnapshotFile& file, std::uint64_t slot, std::uint64_t guest_address) {
  return file_error(
      file.file().path, file.place_of(slot),
      absl::DataLossError(absl::StrFormat(
          "the page of guest memory at 0x%x does not match its checksum", guest_address)));
}

void sort_by_place(std::vector<DataRun>& runs) {
  std::ranges::sort(runs, {}, [](const DataRun& run) { return std::tuple(run.file, run.slot); });
}

std::uint64_t page_count_of(std::span<const DataRun> runs) {
  std::uint64_t pages = 0;
  for (const DataRun& run : runs) pages += run.count;
  return pages;
}

}  // namespace vm_mem::internal
