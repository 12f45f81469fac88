// Reads, writes and fills: what the map permits is found first, then the bytes move
// run by run.
#include "vm_mem/internal/access_engine.h"

#include <algorithm>
#include <array>

#include "vm_mem/guest_copy.h"
#include "vm_mem/internal/device_access.h"
#include "vm_mem/internal/recoverable_copy.h"
#include "vm_mem/internal/section_walk.h"

namespace vm_mem::internal {
namespace {

// Calls `move(run, position)` for each run of the permitted prefix, in order, until
// one does not complete. It returns its progress as a device does.
template <typename Move>
AccessResult for_each_run(const MemoryMap& map, GuestAddress at, std::uint64_t bytes, Access access,
                          Move move) {
  const AccessSide side = access == Access::kRead ? AccessSide::kSource : AccessSide::kDestination;
  const Permitted permitted = permitted_prefix(map, at, bytes, access);
  DeviceProgress progress;
  std::uint64_t done = 0;
  while (done < permitted.bytes && progress.fault == AccessFault::kNone) {
    progress = move(run_at(map, at.offset_by(done), permitted.bytes - done), done);
    done += progress.done;
  }
  const AccessFault fault = progress.fault != AccessFault::kNone ? progress.fault : permitted.fault;
  if (fault == AccessFault::kNone) return {.done = done};
  return {fault, side, false, done, at.offset_by(done)};
}

DeviceProgress progress_of(const Run& run, std::uint64_t done) {
  return {done < run.bytes ? AccessFault::kHostFault : AccessFault::kNone, done};
}

DeviceProgress read_run(const Run& run, std::byte* to) {
  if (run.is_device()) return read_device(run, to);
  if (run.is_recoverable()) {
    return progress_of(run, copy_from_guest_or_fault(to, run.host(), run.bytes));
  }
  copy_from_guest(to, run.host(), run.bytes);
  return {.done = run.bytes};
}

DeviceProgress write_run(const Run& run, const std::byte* from, WriteCause cause) {
  if (run.is_device()) return write_device(run, from);
  std::uint64_t done = run.bytes;
  if (run.is_recoverable()) {
    done = copy_to_guest_or_fault(run.host(), from, run.bytes);
  } else {
    copy_to_guest(run.host(), from, run.bytes);
  }
  mark_dirty(run.first(done), cause);
  return progress_of(run, done);
}

DeviceProgress fill_device(const Run& run, std::byte value) {
  std::array<std::byte, 64> pattern;
  pattern.fill(value);
  DeviceProgress progress;
  while (progress.done < run.bytes && progress.fault == AccessFault::kNone) {
    // Steps end at multiples of 8, so that they cut no element.
    const std::uint64_t at = run.begin().value + progress.done;
    const std::uint64_t step = std::min(run.bytes - progress.done, pattern.size() - at % 8);
    const DeviceProgress moved =
        write_device({run.section, run.offset + progress.done, step}, pattern.data());
    progress = {moved.fault, progress.done + moved.done};
  }
  return progress;
}

DeviceProgress fill_run(const Run& run, std::byte value, WriteCause cause) {
  if (run.is_device()) return fill_device(run, value);
  std::uint64_t done = run.bytes;
  if (run.is_recoverable()) {
    done = fill_guest_or_fault(run.host(), value, run.bytes);
  } else {
    fill_guest(run.host(), value, run.bytes);
  }
  mark_dirty(run.first(done), cause);
  return progress_of(run, done);
}

}  // namespace

AccessResult read_memory(const MemoryMap& map, GuestAddress from, std::span<std::byte> to) {
  return for_each_run(
      map, from, to.size(), Access::kRead,
      [to](const Run& run, std::uint64_t position) { return read_run(run, to.data() + position); });
}

AccessResult write_memory(const MemoryMap& map, GuestAddress to, std::span<const std::byte> from,
                          WriteCause cause) {
  return for_each_run(map, to, from.size(), Access::kWrite,
                      [from, cause](const Run& run, std::uint64_t position) {
                        return write_run(run, from.data() + position, cause);
                      });
}

AccessResult fill_memory(const MemoryMap& map, GuestAddress to, std::byte value,
                         std::uint64_t bytes, WriteCause cause) {
  return for_each_run(
      map, to, bytes, Access::kWrite,
      [value, cause](const Run& run, std::uint64_t) { return fill_run(run, value, cause); });
}

}  // namespace vm_mem::internal
