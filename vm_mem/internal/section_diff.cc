#include "vm_mem/internal/section_diff.h"

namespace vm_mem::internal {
namespace {

// Ids are never reused: equal ones are the same region.
bool same_but_for_the_log(const MapSection& left, const MapSection& right) {
  return left.range == right.range && left.region == right.region && left.shown == right.shown &&
         left.protection == right.protection && left.region_offset == right.region_offset &&
         left.host == right.host;
}

void compare_logs(const MapSection& before, const MapSection& after, SectionDiff& diff) {
  if (before.dirty_tracked == after.dirty_tracked) return;
  (after.dirty_tracked ? diff.log_started : diff.log_stopped)
      .push_back(after.dirty_tracked ? &after : &before);
}

}  // namespace

SectionDiff compare_sections(std::span<const MapSection> before,
                             std::span<const MapSection> after) {
  SectionDiff diff;
  auto old = before.begin();
  auto now = after.begin();
  while (old != before.end() || now != after.end()) {
    if (now == after.end()) {
      diff.removed.push_back(&*old++);
    } else if (old == before.end()) {
      diff.added.push_back(&*now++);
    } else if (same_but_for_the_log(*old, *now)) {
      compare_logs(*old++, *now++, diff);
    } else if (old->range.begin() <= now->range.begin()) {
      diff.removed.push_back(&*old++);
    } else {
      diff.added.push_back(&*now++);
    }
  }
  return diff;
}

}  // namespace vm_mem::internal
