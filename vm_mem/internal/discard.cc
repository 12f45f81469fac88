#include "vm_mem/internal/discard.h"

#include <cstdint>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/pending_change.h"
#include "vm_mem/internal/region.h"
#include "vm_mem/internal/region_text.h"
#include "vm_mem/internal/section_walk.h"

namespace vm_mem::internal {
namespace {

absl::Status check_run(const Run& run) {
  const MapSection& section = *run.section;
  const std::uint64_t at = run.begin().value;
  if (section.kind != RegionKind::kRam) {
    return absl::FailedPreconditionError(
        absl::StrFormat("region 0x%x at 0x%x is not RAM", number_of(section.shown), at));
  }
  if (section.protection != Protection::kReadWrite) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "writing of region 0x%x at 0x%x is not permitted", number_of(section.shown), at));
  }
  const Region& region = *owner_of(section).shown;
  const std::uint64_t offset = section.region_offset + run.offset;
  const std::uint64_t page = region.mapping->page_bytes();
  if ((offset | run.bytes) % page != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "0x%x bytes at offset 0x%x of region 0x%x, whose pages in the host have 0x%x", run.bytes,
        offset, number_of(region.id), page));
  }
  return absl::OkStatus();
}

// Leases of what lies beside the run go on.
absl::Status close_run(const Run& run, ClosedToLeases& closed) {
  Region& region = *owner_of(*run.section).shown;
  closed.close(region);
  const std::uint64_t offset = run.section->region_offset + run.offset;
  const std::uint64_t leases = region.lease_windows.count(offset, offset + run.bytes);
  if (leases == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("0x%x bytes at offset 0x%x of region 0x%x are held by 0x%x leases", run.bytes,
                      offset, number_of(region.id), leases));
}

absl::Status discard_run(const Run& run) {
  Region& region = *owner_of(*run.section).shown;
  const std::uint64_t begin = run.section->region_offset + run.offset;
  const auto discard = [&region](std::uint64_t offset, std::uint64_t bytes) {
    return region.mapping->discard(offset, bytes);
  };
  const std::shared_ptr<AbsentPages> absent = region.absent.get();
  absl::Status discarded = absent == nullptr ? discard(begin, run.bytes)
                                             : absent->give_up(region, begin, run.bytes, discard);
  mark_dirty(run, WriteCause::kDiscard);
  return discarded;
}

template <typename Visit>
absl::Status for_each_run(const MemoryMap& map, GuestRange range, Visit visit) {
  for (std::uint64_t done = 0; done < range.bytes();) {
    const GuestAddress at = range.begin().offset_by(done);
    if (map.find(at) == nullptr) {
      return absl::NotFoundError(absl::StrFormat("nothing is mapped at 0x%x", at.value));
    }
    const Run run = run_at(map, at, range.bytes() - done);
    if (absl::Status visited = visit(run); !visited.ok()) return visited;
    done += run.bytes;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status discard(const MemoryMap& map, GuestRange range) {
  if (absl::Status shape = check_shape(range); !shape.ok()) return shape;
  if (absl::Status all = for_each_run(map, range, check_run); !all.ok()) return all;
  ClosedToLeases closed;
  const auto close = [&closed](const Run& run) { return close_run(run, closed); };
  if (absl::Status all = for_each_run(map, range, close); !all.ok()) return all;
  return for_each_run(map, range, discard_run);
}

}  // namespace vm_mem::internal
