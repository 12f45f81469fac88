#include "vm_mem/internal/device_access.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "vm_mem/mmio_handler.h"

namespace vm_mem::internal {
namespace {

std::uint64_t region_offset(const Run& run) { return run.section->region_offset + run.offset; }

// The low `bytes` of a 64-bit value are its first ones in memory, or its last.
std::size_t low_bytes_at(unsigned bytes) {
  return std::endian::native == std::endian::little ? 0 : sizeof(std::uint64_t) - bytes;
}

Run skip(const Run& run, std::uint64_t bytes) {
  return {run.section, run.offset + bytes, run.bytes - bytes};
}

// Calls `move(rest, bytes, done)` for each element, until one is refused.
template <typename Move>
DeviceProgress for_each_element(const Run& run, Move move) {
  DeviceProgress progress;
  while (progress.done < run.bytes) {
    const Run rest = skip(run, progress.done);
    const unsigned bytes = element_bytes(rest.begin().value, rest.bytes);
    progress.fault = move(rest, bytes, progress.done);
    if (progress.fault != AccessFault::kNone) break;
    progress.done += bytes;
  }
  return progress;
}

}  // namespace

unsigned element_bytes(std::uint64_t address, std::uint64_t bytes) {
  const std::uint64_t alignment = address == 0 ? 8 : address & (~address + 1);
  return static_cast<unsigned>(std::min({std::bit_floor(bytes), alignment, std::uint64_t{8}}));
}

AccessFault read_element(const Run& run, unsigned bytes, std::byte* to) {
  std::uint64_t value = 0;
  const AccessFault fault = run.section->handler->mmio_read(region_offset(run), bytes, value);
  if (fault != AccessFault::kNone) return fault;
  std::memcpy(to, reinterpret_cast<const std::byte*>(&value) + low_bytes_at(bytes), bytes);
  return AccessFault::kNone;
}

AccessFault write_element(const Run& run, unsigned bytes, const std::byte* from) {
  std::uint64_t value = 0;
  std::memcpy(reinterpret_cast<std::byte*>(&value) + low_bytes_at(bytes), from, bytes);
  return run.section->handler->mmio_write(region_offset(run), bytes, value);
}

DeviceProgress read_device(const Run& run, std::byte* to) {
  return for_each_element(run, [to](const Run& rest, unsigned bytes, std::uint64_t done) {
    return read_element(rest, bytes, to + done);
  });
}

DeviceProgress write_device(const Run& run, const std::byte* from) {
  return for_each_element(run, [from](const Run& rest, unsigned bytes, std::uint64_t done) {
    return write_element(rest, bytes, from + done);
  });
}

}  // namespace vm_mem::internal
