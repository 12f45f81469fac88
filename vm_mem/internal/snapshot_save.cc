#include "vm_mem/internal/snapshot_save.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_format.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/internal/absent_data.h"
#include "vm_mem/internal/guest_ram.h"
#include "vm_mem/internal/page_progress.h"
#include "vm_mem/internal/recoverable_copy.h"
#include "vm_mem/internal/zero_page.h"

namespace vm_mem::internal {
namespace {

// Guest pages, numbered through all regions.
struct PageSpan {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

class Save {
 public:
  Save(const GuestRam& ram, const AbsentData& absent, SnapshotWriter& writer,
       const DirtyWords* dirty, const SnapshotSaveOptions& options)
      : ram_(ram),
        absent_(absent),
        writer_(writer),
        dirty_(dirty),
        io_(options.io),
        progress_(options.progress) {}

  absl::Status run(std::span<const PageRun> working_set) {
    for (std::size_t i = 0; i < ram_.regions().size(); ++i) {
      plan(ram_.regions()[i], absent_.of_region(i));
    }
    progress_.expect(scanned_);
    if (absl::Status saved = save_first(working_set); !saved.ok()) return saved;
    for (const PageSpan& span : spans_) {
      if (absl::Status saved = save_span(span); !saved.ok()) return saved;
    }
    if (absl::Status saved = save_absent(); !saved.ok()) return saved;
    return progress_.finish();
  }
  std::uint64_t scanned_pages() const { return scanned_; }

 private:
  void plan(const RamRegion& region, std::span<const PageInterval> absent) {
    if (dirty_ != nullptr) return plan_dirty(region);
    const std::uint64_t base = region.entry.first_page;
    for (const PageInterval& run : absent) scanned_ += run.count();
    for (const ByteRun& run : region.populated()) {
      add_present({.first = base + run.begin / kSnapshotPageBytes,
                   .end = base + run.end / kSnapshotPageBytes},
                  absent);
    }
  }

  // What has come since `absent` was asked for is taken from the file all the same.
  void add_present(PageSpan span, std::span<const PageInterval> absent) {
    auto gap = std::ranges::upper_bound(absent, span.first, {}, &PageInterval::end);
    while (span.first < span.end) {
      const std::uint64_t end = gap == absent.end() ? span.end : std::min(span.end, gap->first);
      if (span.first < end) add({.first = span.first, .end = end});
      span.first = gap == absent.end() ? span.end : gap->end;
      if (gap != absent.end()) ++gap;
    }
  }

  // A page that was given back to the host since the parent is dirty, and not there.
  void plan_dirty(const RamRegion& region) {
    const auto found = dirty_->find(region.id);
    if (found == dirty_->end()) return;
    const std::vector<ByteRun> populated = region.populated();
    auto run = populated.begin();
    const std::uint64_t pages = region.entry.bytes / kSnapshotPageBytes;
    for (std::size_t word = 0; word < found->second.size(); ++word) {
      for (std::uint64_t bits = found->second[word]; bits != 0; bits &= bits - 1) {
        const std::uint64_t page = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
        if (page >= pages) return;
        const std::uint64_t offset = page * kSnapshotPageBytes;
        while (run != populated.end() && run->end <= offset) ++run;
        const std::uint64_t number = region.entry.first_page + page;
        if (absent_.has(number)) {
          ++scanned_;
        } else if (run == populated.end() || offset < run->begin) {
          writer_.put_zero(number, 1);
        } else {
          add({.first = number, .end = number + 1});
        }
      }
    }
  }

  void add(const PageSpan& span) {
    scanned_ += span.end - span.first;
    if (!spans_.empty() && spans_.back().end == span.first) {
      spans_.back().end = span.end;
    } else {
      spans_.push_back(span);
    }
  }

  bool is_dirty(std::uint64_t page) const {
    if (dirty_ == nullptr) return true;
    const RamRegion& region = ram_.region_of(page);
    const auto found = dirty_->find(region.id);
    const std::uint64_t bit = page - region.entry.first_page;
    return found != dirty_->end() && bit / 64 < found->second.size() &&
           (found->second[bit / 64] >> bit % 64 & 1) != 0;
  }

  bool is_planned(std::uint64_t page) const {
    if (absent_.has(page)) return is_dirty(page);
    const auto after = std::ranges::upper_bound(spans_, page, {}, &PageSpan::first);
    return after != spans_.begin() && page < std::prev(after)->end;
  }

  absl::Status save_first(std::span<const PageRun> working_set) {
    if (!working_set.empty()) done_.resize(ram_.page_count() / 64 + 1);
    for (const PageRun& run : working_set) {
      for (std::uint64_t page = run.first; page < std::uint64_t{run.first} + run.count; ++page) {
        if (!is_planned(page) || is_done(page)) continue;
        absl::Status saved =
            absent_.has(page) ? save_absent_page(page) : save_page(ram_.region_of(page), page);
        if (!saved.ok()) return saved;
        done_[page / 64] |= std::uint64_t{1} << page % 64;
      }
    }
    return absl::OkStatus();
  }

  bool is_done(std::uint64_t page) const {
    return !done_.empty() && (done_[page / 64] >> page % 64 & 1) != 0;
  }

  absl::Status save_span(const PageSpan& span) {
    const RamRegion* region = &ram_.region_of(span.first);
    for (std::uint64_t page = span.first; page < span.end; ++page) {
      if (page - region->entry.first_page >= region->entry.bytes / kSnapshotPageBytes) {
        region = &ram_.region_of(page);
      }
      if (is_done(page)) continue;
      if (absl::Status saved = save_page(*region, page); !saved.ok()) return saved;
    }
    return absl::OkStatus();
  }

  absl::Status save_page(const RamRegion& region, std::uint64_t page) {
    const std::byte* const from = region.page_memory(page);
    const bool recoverable = region.region->recoverable;
    if (!recoverable && is_zero_page(from)) return save_zero(page);
    const absl::StatusOr<std::byte*> to = writer_.room();
    if (!to.ok()) return to.status();
    if (!recoverable) {
      copy_from_guest(*to, from, kSnapshotPageBytes);
    } else if (copy_from_guest_or_fault(*to, from, kSnapshotPageBytes) != kSnapshotPageBytes) {
      return absl::DataLossError(absl::StrFormat(
          "the host cannot provide guest memory at 0x%x any more: the file behind it was "
          "shortened, or cannot be read",
          region.page_address(page)));
    } else if (is_zero_page(*to)) {
      return save_zero(page);
    }
    writer_.put_page(static_cast<std::uint32_t>(page));
    return progress_.advance(1);
  }

  absl::Status save_absent_page(std::uint64_t page) {
    const absl::StatusOr<std::byte*> to = writer_.room();
    if (!to.ok()) return to.status();
    if (absl::Status read = absent_.read(page, {*to, kSnapshotPageBytes}); !read.ok()) return read;
    writer_.put_page(static_cast<std::uint32_t>(page));
    return progress_.advance(1);
  }

  absl::Status save_absent() {
    const auto wanted = [this](std::uint64_t page) { return is_dirty(page) && !is_done(page); };
    return absent_.stream(
        wanted, io_, [this](std::uint32_t first, std::span<const std::byte> pages) -> absl::Status {
          for (; !pages.empty(); pages = pages.subspan(kSnapshotPageBytes)) {
            const absl::StatusOr<std::byte*> to = writer_.room();
            if (!to.ok()) return to.status();
            std::memcpy(*to, pages.data(), kSnapshotPageBytes);
            writer_.put_page(first++);
            if (absl::Status told = progress_.advance(1); !told.ok()) return told;
          }
          return absl::OkStatus();
        });
  }

  absl::Status save_zero(std::uint64_t page) {
    if (dirty_ != nullptr) writer_.put_zero(page, 1);
    return progress_.advance(1);
  }

  const GuestRam& ram_;
  const AbsentData& absent_;
  SnapshotWriter& writer_;
  const DirtyWords* dirty_;
  SnapshotIo io_;
  PageProgress progress_;
  std::vector<PageSpan> spans_;
  std::uint64_t scanned_ = 0;
  std::vector<std::uint64_t> done_;  // the working set's, where there is one
};

absl::StatusOr<std::vector<PageRun>> runs_of(const GuestRam& ram,
                                             std::span<const GuestAddress> pages) {
  std::vector<PageRun> runs;
  std::vector<bool> named(pages.empty() ? 0 : ram.page_count());
  for (const GuestAddress address : pages) {
    const absl::StatusOr<std::uint32_t> page = ram.page_at(address);
    if (!page.ok()) return page.status();
    if (named[*page]) continue;
    named[*page] = true;
    if (!runs.empty() && runs.back().first + runs.back().count == *page) {
      ++runs.back().count;
    } else {
      runs.push_back({.first = *page, .count = 1});
    }
  }
  return runs;
}

}  // namespace

absl::StatusOr<SaveOutcome> save_memory(MemoryManager& memory, const SnapshotTarget& target,
                                        const SnapshotSaveOptions& options,
                                        const SnapshotBase& base, const DirtyWords* dirty) {
  const std::uint64_t generation = memory.generation();
  const absl::StatusOr<GuestRam> ram = GuestRam::of(memory);
  if (!ram.ok()) return ram.status();
  if (options.leases == SnapshotLeases::kRefuse) {
    if (absl::Status unleased = ram->check_unleased(); !unleased.ok()) return unleased;
  }
  const absl::StatusOr<std::vector<PageRun>> working_set = runs_of(*ram, options.working_set);
  if (!working_set.ok()) return working_set.status();
  const absl::StatusOr<AbsentData> absent = AbsentData::of(*ram);
  if (!absent.ok()) return absent.status();
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> writer =
      SnapshotWriter::create(target, ram->entries(), base);
  if (!writer.ok()) return writer.status();
  Save save(*ram, *absent, **writer, dirty, options);
  if (absl::Status saved = save.run(*working_set); !saved.ok()) return saved;
  if (memory.generation() != generation) {
    return absl::FailedPreconditionError(
        "the memory map changed while it was saved: stop who changes it first");
  }
  const absl::StatusOr<WrittenSnapshot> written = (*writer)->commit(*working_set, options.states);
  if (!written.ok()) return written.status();
  return SaveOutcome{.written = *written, .scanned_pages = save.scanned_pages()};
}

SnapshotSaved saved_of(const SaveOutcome& outcome) {
  return {.id = outcome.written.id,
          .scanned_pages = outcome.scanned_pages,
          .data_pages = outcome.written.data_pages,
          .zero_pages = outcome.written.zero_pages,
          .file_bytes = outcome.written.file_bytes,
          .io = outcome.written.io};
}

}  // namespace vm_mem::internal
