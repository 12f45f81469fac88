#include "vm_mem/internal/lease_hold.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/internal/region_text.h"
#include "vm_mem/internal/section_walk.h"

namespace vm_mem::internal {
namespace {

absl::Status check_permitted(const MapSection& section, GuestAddress at, LeaseAccess access) {
  const Access wanted = access == LeaseAccess::kReadWrite ? Access::kWrite : Access::kRead;
  if (refusal(section, wanted) != AccessFault::kNone) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "%s of region 0x%x at 0x%x is not permitted",
        wanted == Access::kWrite ? "writing" : "reading", number_of(section.shown), at.value));
  }
  if (section.kind != RegionKind::kMmio) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("region 0x%x at 0x%x is a device", number_of(section.shown), at.value));
}

absl::Status not_contiguous(GuestRange range, std::uint64_t bytes) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "of range %s only 0x%x bytes are contiguous in the host", text_of(range), bytes));
}

absl::Status not_now(const Region& region) {
  return absl::UnavailableError(
      absl::StrFormat("region 0x%x takes no leases now", number_of(region.id)));
}

}  // namespace

LeaseHold::LeaseHold(LeaseUse use, LeaseCount all) : use_(use), all_(std::move(all)) {
  all_->fetch_add(1, std::memory_order_relaxed);
}

LeaseHold::~LeaseHold() {
  for (Piece& piece : pieces_) piece.regions.shown->lease_windows.remove(piece.held);
  for (Region* region : counted_) region->leases.fetch_sub(1);
  all_->fetch_sub(1, std::memory_order_relaxed);
}

absl::StatusOr<MemoryLease> LeaseHold::lease(const MemoryMap& map, GuestRange range, LeaseUse use,
                                             const LeaseCount& all) {
  if (range.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("empty range at 0x%x", range.begin().value));
  }
  auto hold = std::make_unique<LeaseHold>(use, all);
  std::byte* first = nullptr;
  while (hold->leased_bytes() < range.bytes()) {
    const std::uint64_t leased = hold->leased_bytes();
    const GuestAddress at = range.begin().offset_by(leased);
    const MapSection* section = map.find(at);
    if (section == nullptr) {
      return absl::NotFoundError(absl::StrFormat("nothing is mapped at 0x%x", at.value));
    }
    if (absl::Status free = check_permitted(*section, at, use.access); !free.ok()) return free;
    const Run run = run_at(map, at, range.bytes() - leased);
    if (leased == 0) first = run.host();
    if (run.host() != first + leased) return not_contiguous(range, leased);
    if (absl::Status taken = hold->take(*section, run.offset, run.bytes); !taken.ok()) return taken;
  }
  MemoryLease lease;
  lease.bytes_ = {first, range.bytes()};
  lease.range_ = range;
  lease.generation_ = map.generation();
  lease.hold_ = std::move(hold);
  return lease;
}

absl::Status LeaseHold::bring_pages(const MemoryLease& lease) {
  for (const Piece& piece : lease.hold_->pieces_) {
    const Region& region = *piece.regions.shown;
    const std::shared_ptr<AbsentPages> absent = region.absent.get();
    if (absent == nullptr) continue;
    const LeaseWindow& held = piece.held;
    absl::Status brought = absent->bring(region, held.begin, held.end - held.begin);
    if (!brought.ok()) return brought;
  }
  return absl::OkStatus();
}

void LeaseHold::abandon(MemoryLease& lease) {
  lease.hold_.reset();
  lease.bytes_ = {};
  lease.range_ = {};
}

absl::Status LeaseHold::take(const MapSection& section, std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t begin = leased_bytes();
  Piece& piece = pieces_.emplace_back(Piece{.owner = section.owner, .regions = owner_of(section)});
  piece.held.begin = section.region_offset + offset;
  piece.held.end = piece.held.begin + bytes;
  piece.held.writes = writes();
  piece.begin = begin;
  piece.end = begin + bytes;
  Region& shown = *piece.regions.shown;
  shown.lease_windows.add(piece.held);
  Region* const window = piece.regions.window;
  if (absl::Status counted = count(shown); !counted.ok()) return counted;
  piece.shown_layout = shown.layout.number();
  if (Layout::is_changing(piece.shown_layout)) return not_now(shown);
  if (window == nullptr) return absl::OkStatus();
  if (absl::Status counted = count(*window); !counted.ok()) return counted;
  piece.window_layout = window->layout.number();
  return Layout::is_changing(piece.window_layout) ? not_now(*window) : absl::OkStatus();
}

absl::Status LeaseHold::count(Region& region) {
  if (std::find(counted_.begin(), counted_.end(), &region) == counted_.end()) {
    counted_.push_back(&region);
    region.leases.fetch_add(1);
  }
  return region.leaving.load() ? not_now(region) : absl::OkStatus();
}

bool LeaseHold::current() const {
  return std::all_of(pieces_.begin(), pieces_.end(), [](const Piece& piece) {
    const Region* window = piece.regions.window;
    return piece.regions.shown->layout.number() == piece.shown_layout &&
           (window == nullptr || window->layout.number() == piece.window_layout);
  });
}

void LeaseHold::mark(std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t end = offset + bytes;
  if (bytes != 0) {
    const bool first = told_end_ == 0;
    told_begin_ = first ? offset : std::min(told_begin_, offset);
    told_end_ = std::max(told_end_, end);
  }
  told_ = true;
  // The log of today: tracking may have begun after the lease.
  for (const Piece& piece : pieces_) {
    const std::uint64_t from = std::max(offset, piece.begin);
    const std::uint64_t to = std::min(end, piece.end);
    DirtyLog* const log = piece.regions.shown->dirty_log.load(std::memory_order_acquire);
    if (log == nullptr || from >= to) continue;
    log->mark(piece.held.begin + (from - piece.begin), to - from, use_.cause);
  }
}

void LeaseHold::mark_at_end() {
  if (!writes()) return;
  if (told_) {
    mark(told_begin_, told_end_ - told_begin_);
  } else {
    mark(0, leased_bytes());
  }
}

}  // namespace vm_mem::internal
