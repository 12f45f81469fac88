#include "vm_mem/internal/word_access.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <span>

#include "vm_mem/internal/device_access.h"
#include "vm_mem/internal/fault_thread.h"
#include "vm_mem/internal/recoverable_atomics.h"
#include "vm_mem/internal/section_walk.h"

namespace vm_mem::internal {
namespace {

// Calls `operation` with a null pointer to the unsigned type of that many bytes.
template <typename Operation>
auto with_word_type(unsigned bytes, Operation operation) {
  switch (bytes) {
    case 1: return operation(static_cast<std::uint8_t*>(nullptr));
    case 2: return operation(static_cast<std::uint16_t*>(nullptr));
    case 4: return operation(static_cast<std::uint32_t*>(nullptr));
    default: return operation(static_cast<std::uint64_t*>(nullptr));
  }
}

template <typename Word>
Word* word_at(std::byte* host) {
  return reinterpret_cast<Word*>(host);
}

template <typename Word>
Word atomic_modify(Word* at, WordOperation operation, Word operand) {
  switch (operation) {
    case WordOperation::kAdd: return __atomic_fetch_add(at, operand, __ATOMIC_SEQ_CST);
    case WordOperation::kOr: return __atomic_fetch_or(at, operand, __ATOMIC_SEQ_CST);
    case WordOperation::kAnd: return __atomic_fetch_and(at, operand, __ATOMIC_SEQ_CST);
    case WordOperation::kXor: return __atomic_fetch_xor(at, operand, __ATOMIC_SEQ_CST);
    case WordOperation::kExchange: break;
  }
  return __atomic_exchange_n(at, operand, __ATOMIC_SEQ_CST);
}

bool is_aligned(GuestAddress at, unsigned bytes) { return at.value % bytes == 0; }

// A word, aligned: all of it or nothing.
DeviceProgress load_run(const Run& run, std::uint64_t& bits, std::memory_order order) {
  const auto bytes = static_cast<unsigned>(run.bytes);
  if (run.is_recoverable()) {
    prepare_this_thread();
    if (!load_or_fault(run.host(), bytes, bits, order)) return {.fault = AccessFault::kHostFault};
    return {.done = bytes};
  }
  bits = with_word_type(bytes, [&](auto* type) -> std::uint64_t {
    return load_host_word<std::remove_pointer_t<decltype(type)>>(run.host(), order);
  });
  return {.done = bytes};
}
DeviceProgress store_run(const Run& run, std::uint64_t bits, std::memory_order order,
                         WriteCause cause) {
  const auto bytes = static_cast<unsigned>(run.bytes);
  if (run.is_recoverable()) {
    prepare_this_thread();
    if (!store_or_fault(run.host(), bytes, bits, order)) return {.fault = AccessFault::kHostFault};
  } else {
    with_word_type(bytes, [&](auto* type) {
      using Word = std::remove_pointer_t<decltype(type)>;
      store_host_word(run.host(), static_cast<Word>(bits), order);
    });
  }
  mark_dirty(run, cause);
  return {.done = bytes};
}

// The first of the low `bytes` of `bits`, in host byte order.
std::byte* first_byte(std::uint64_t& bits, unsigned bytes) {
  const unsigned skipped = std::endian::native == std::endian::little ? 0 : 8 - bytes;
  return reinterpret_cast<std::byte*>(&bits) + skipped;
}

DeviceProgress load_bytes_or_fault(const Run& run, std::byte* to, std::memory_order order) {
  prepare_this_thread();
  for (std::uint64_t i = 0; i < run.bytes; ++i) {
    std::uint64_t byte = 0;
    if (!load_or_fault(run.host() + i, 1, byte, order)) return {AccessFault::kHostFault, i};
    to[i] = static_cast<std::byte>(byte);
  }
  return {.done = run.bytes};
}
DeviceProgress store_bytes_or_fault(const Run& run, const std::byte* from, std::memory_order order,
                                    WriteCause cause) {
  prepare_this_thread();
  DeviceProgress progress{.done = run.bytes};
  for (std::uint64_t i = 0; i < run.bytes; ++i) {
    if (store_or_fault(run.host() + i, 1, std::to_integer<std::uint64_t>(from[i]), order)) continue;
    progress = {AccessFault::kHostFault, i};
    break;
  }
  mark_dirty(run.first(progress.done), cause);
  return progress;
}

// Unaligned: a run of memory byte by byte, a device element by element.
DeviceProgress load_bytes(const Run& run, std::byte* to, std::memory_order order) {
  if (run.is_device()) return read_device(run, to);
  if (run.is_recoverable()) return load_bytes_or_fault(run, to, order);
  for (std::uint64_t i = 0; i < run.bytes; ++i) {
    to[i] = std::byte{load_host_word<std::uint8_t>(run.host() + i, order)};
  }
  return {.done = run.bytes};
}
DeviceProgress store_bytes(const Run& run, const std::byte* from, std::memory_order order,
                           WriteCause cause) {
  if (run.is_device()) return write_device(run, from);
  if (run.is_recoverable()) return store_bytes_or_fault(run, from, order, cause);
  for (std::uint64_t i = 0; i < run.bytes; ++i) {
    store_host_word(run.host() + i, std::to_integer<std::uint8_t>(from[i]), order);
  }
  mark_dirty(run, cause);
  return {.done = run.bytes};
}

// All of the word or none, as far as the map knows: `move(run, position)` is called
// only where every byte is permitted.
template <typename Move>
AccessResult move_word(const MemoryMap& map, GuestAddress at, unsigned bytes, Access access,
                       Move move) {
  const AccessSide side = access == Access::kRead ? AccessSide::kSource : AccessSide::kDestination;
  const Permitted permitted = permitted_prefix(map, at, bytes, access);
  if (permitted.bytes < bytes) {
    return {permitted.fault, side, false, 0, at.offset_by(permitted.bytes)};
  }
  std::uint64_t done = 0;
  while (done < bytes) {
    const DeviceProgress moved = move(run_at(map, at.offset_by(done), bytes - done), done);
    done += moved.done;
    if (moved.fault != AccessFault::kNone) {
      return {moved.fault, side, false, done, at.offset_by(done)};
    }
  }
  return {.done = done};
}

// The memory that a read-modify-write works on, or why there is none.
AccessResult find_word(const MemoryMap& map, GuestAddress at, unsigned bytes, Run& run) {
  AccessFault fault = AccessFault::kNone;
  if (!is_aligned(at, bytes)) {
    fault = AccessFault::kMisaligned;
  } else if (const Permitted permitted = permitted_prefix(map, at, bytes, Access::kWrite);
             permitted.fault != AccessFault::kNone) {
    fault = permitted.fault;
  } else if (run = run_at(map, at, bytes); run.is_device()) {
    fault = AccessFault::kProtected;
  }
  if (fault == AccessFault::kNone) return {.done = bytes};
  return {fault, AccessSide::kDestination, false, 0, at};
}

AccessResult host_fault_at(GuestAddress at) {
  return {AccessFault::kHostFault, AccessSide::kDestination, false, 0, at};
}

bool modify_plain(const Run& run, unsigned bytes, WordOperation operation, std::uint64_t operand,
                  std::uint64_t& previous) {
  previous = with_word_type(bytes, [&](auto* type) -> std::uint64_t {
    using Word = std::remove_pointer_t<decltype(type)>;
    return atomic_modify(word_at<Word>(run.host()), operation, static_cast<Word>(operand));
  });
  return true;
}

bool compare_exchange_plain(const Run& run, unsigned bytes, std::uint64_t& expected,
                            std::uint64_t desired, bool& exchanged) {
  exchanged = with_word_type(bytes, [&](auto* type) {
    using Word = std::remove_pointer_t<decltype(type)>;
    auto found = static_cast<Word>(expected);
    const bool stored =
        __atomic_compare_exchange_n(word_at<Word>(run.host()), &found, static_cast<Word>(desired),
                                    /*weak=*/false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    expected = found;
    return stored;
  });
  return true;
}

}  // namespace

AccessResult load_word(const MemoryMap& map, GuestAddress from, unsigned bytes, std::uint64_t& bits,
                       std::memory_order order) {
  std::uint64_t value = 0;
  std::byte* const to = first_byte(value, bytes);
  const AccessResult result =
      move_word(map, from, bytes, Access::kRead,
                [&](const Run& run, std::uint64_t position) -> DeviceProgress {
                  if (run.is_device() || !is_aligned(from, bytes)) {
                    return load_bytes(run, to + position, order);
                  }
                  return load_run(run, value, order);
                });
  bits = value;
  return result;
}

AccessResult store_word(const MemoryMap& map, GuestAddress to, unsigned bytes, std::uint64_t bits,
                        std::memory_order order, WriteCause cause) {
  const std::byte* const from = first_byte(bits, bytes);
  return move_word(map, to, bytes, Access::kWrite,
                   [&](const Run& run, std::uint64_t position) -> DeviceProgress {
                     if (run.is_device() || !is_aligned(to, bytes)) {
                       return store_bytes(run, from + position, order, cause);
                     }
                     return store_run(run, bits, order, cause);
                   });
}

AccessResult modify_word(const MemoryMap& map, GuestAddress at, unsigned bytes,
                         WordOperation operation, std::uint64_t operand, std::uint64_t& previous,
                         WriteCause cause) {
  Run run;
  const AccessResult result = find_word(map, at, bytes, run);
  if (!result.ok()) return result;
  if (run.is_recoverable()) prepare_this_thread();
  const bool done = run.is_recoverable()
                        ? modify_or_fault(run.host(), bytes, operation, operand, previous)
                        : modify_plain(run, bytes, operation, operand, previous);
  if (!done) return host_fault_at(at);
  mark_dirty(run, cause);
  return result;
}

AccessResult compare_exchange_word(const MemoryMap& map, GuestAddress at, unsigned bytes,
                                   std::uint64_t& expected, std::uint64_t desired, bool& exchanged,
                                   WriteCause cause) {
  Run run;
  const AccessResult result = find_word(map, at, bytes, run);
  if (!result.ok()) return result;
  if (run.is_recoverable()) prepare_this_thread();
  const bool done = run.is_recoverable()
                        ? compare_exchange_or_fault(run.host(), bytes, expected, desired, exchanged)
                        : compare_exchange_plain(run, bytes, expected, desired, exchanged);
  if (!done) return host_fault_at(at);
  if (exchanged) mark_dirty(run, cause);
  return result;
}

}  // namespace vm_mem::internal
