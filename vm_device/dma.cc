#include "vm_device/dma.h"

#include <algorithm>
#include <array>

#include "vm_device/internal/dma_mappings.h"
#include "vm_device/internal/dma_memory.h"
#include "vm_device/internal/dma_transfer.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_device {
namespace {

using internal::DmaTransfer;
using vm_mem::GuestAddress;

// Calls `move(run, done)` for each run of the list, `done` bytes into it, until `total`
// bytes are moved, the list ends or a run fails.
template <typename Move>
DmaResult walk(SegmentCursor& cursor, std::uint64_t total, Move move) {
  std::uint64_t done = 0;
  while (done < total) {
    const DmaSegment run = cursor.peek(total - done);
    if (run.bytes == 0) break;
    DmaResult result = move(run, done);
    cursor.skip(result.done);
    done += result.done;
    if (!result.ok()) {
      result.done = done;
      return result;
    }
  }
  return DmaResult{.fault = DmaFault::kNone, .done = done};
}

// Calls move(runs, buffer) for the guest's runs of the segments from the first on, some at a
// time, until one is not in mind or is refused by `move`, which is one of MemoryReader's
// tries. Returns how many were moved.
template <typename Buffer, typename Move>
std::size_t move_in_mind(std::span<const DmaSegment> list, Buffer& buffer, DmaAccess access,
                         const internal::IommuGlance& glance, Move move) {
  std::array<DmaSegment, 8> runs;
  std::size_t moved = 0;
  while (moved < list.size() && !buffer.empty()) {
    std::size_t count = 0;
    for (; count < runs.size() && moved + count < list.size(); ++count) {
      const DmaSegment& it = list[moved + count];
      const std::uint64_t bytes = std::min<std::uint64_t>(it.bytes, buffer.size());
      GuestAddress at;
      if (bytes != 0 && !glance.find(it.address, bytes, access, at)) break;
      runs[count] = {at.value, bytes};
    }
    const std::size_t more = move(std::span<const DmaSegment>(runs).first(count), buffer);
    moved += more;
    if (more < runs.size()) break;
  }
  return moved;
}

}  // namespace

DmaSpace::DmaSpace(vm_mem::MemoryManager& memory, const vm_mem::MmioHandler* initiator)
    : memory_(&memory),
      initiator_(initiator),
      mappings_(std::make_shared<internal::DmaMappings>(kMaxBounceBytes)) {}

DmaSpace::DmaSpace(vm_mem::MemoryManager& memory, Iommu& iommu, IommuDeviceId device,
                   const vm_mem::MmioHandler* initiator)
    : DmaSpace(memory, initiator) {
  port_ = iommu.port(device);
}

DmaSpace::DmaSpace(vm_mem::MemoryReader& reader, const vm_mem::MmioHandler* initiator)
    : DmaSpace(reader.manager(), initiator) {
  reader_ = &reader;
  direct_ = &reader;
}

DmaSpace::DmaSpace(vm_mem::MemoryReader& reader, Iommu& iommu, IommuDeviceId device,
                   const vm_mem::MmioHandler* initiator)
    : DmaSpace(reader.manager(), iommu, device, initiator) {
  reader_ = &reader;
  quick_port_ = port_;
}

internal::DmaMemory DmaSpace::memory() const { return {*memory_, reader_}; }

DmaResult DmaSpace::read(DmaTransfer& transfer, const DmaSegment& from, std::byte* to) {
  return transfer.move(from, DmaAccess::kRead,
                       [&](GuestAddress at, std::uint64_t done, std::uint64_t bytes) {
                         return memory().read(at, std::span<std::byte>(to + done, bytes));
                       });
}

DmaResult DmaSpace::write(DmaTransfer& transfer, const DmaSegment& to, const std::byte* from) {
  return transfer.move(to, DmaAccess::kWrite,
                       [&](GuestAddress at, std::uint64_t done, std::uint64_t bytes) {
                         return memory().write(at, std::span<const std::byte>(from + done, bytes));
                       });
}

DmaResult DmaSpace::fill(DmaTransfer& transfer, const DmaSegment& to, std::byte value) {
  return transfer.move(to, DmaAccess::kWrite,
                       [&](GuestAddress at, std::uint64_t, std::uint64_t bytes) {
                         return memory().fill(at, value, bytes);
                       });
}

// What stays within one run of ordinary memory reaches no device: it needs no place in a
// transaction.
template <typename Try>
inline bool DmaSpace::done_at_once(const DmaSegment& range, DmaAccess access, Try attempt) {
  if (quick_port_ == nullptr) return false;
  internal::IommuEpochs& epochs = quick_port_->epochs();
  internal::IommuThread* const thread = epochs.thread();
  if (!internal::IommuGlance::possible(thread)) [[unlikely]]
    return false;
  const internal::IommuGlance glance(*quick_port_, epochs, *thread);
  GuestAddress at;
  return glance.find(range.address, range.bytes, access, at) && attempt(at);
}

// Moves the segments of a list that done_at_once() would, up to the first that it would not.
// `buffer` becomes what is left of it.
template <typename Buffer, typename Move>
std::size_t DmaSpace::lead_of(std::span<const DmaSegment> list, Buffer& buffer, DmaAccess access,
                              Move move) {
  if (direct_ != nullptr) return move(list, buffer);
  if (quick_port_ == nullptr) return 0;
  internal::IommuEpochs& epochs = quick_port_->epochs();
  internal::IommuThread* const thread = epochs.thread();
  if (!internal::IommuGlance::possible(thread)) return 0;
  const internal::IommuGlance glance(*quick_port_, epochs, *thread);
  return move_in_mind(list, buffer, access, glance, move);
}

bool DmaSpace::read_in_mind(std::uint64_t address, std::span<std::byte> to) {
  return done_at_once({address, to.size()}, DmaAccess::kRead,
                      [&](GuestAddress from) { return reader_->try_read(from, to); });
}

bool DmaSpace::write_in_mind(std::uint64_t address, std::span<const std::byte> from) {
  return done_at_once({address, from.size()}, DmaAccess::kWrite,
                      [&](GuestAddress to) { return reader_->try_write(to, from); });
}

DmaResult DmaSpace::read_in_transfer(std::uint64_t address, std::span<std::byte> to) {
  DmaTransfer transfer(port_, initiator_);
  return read(transfer, {address, to.size()}, to.data());
}

DmaResult DmaSpace::write_in_transfer(std::uint64_t address, std::span<const std::byte> from) {
  DmaTransfer transfer(port_, initiator_);
  return write(transfer, {address, from.size()}, from.data());
}

DmaResult DmaSpace::read(SegmentCursor& from, std::span<std::byte> to) {
  DmaTransfer transfer(port_, initiator_);
  return walk(from, to.size(), [&](const DmaSegment& run, std::uint64_t done) {
    return read(transfer, run, to.data() + done);
  });
}

DmaResult DmaSpace::write(SegmentCursor& to, std::span<const std::byte> from) {
  DmaTransfer transfer(port_, initiator_);
  return walk(to, from.size(), [&](const DmaSegment& run, std::uint64_t done) {
    return write(transfer, run, from.data() + done);
  });
}

DmaResult DmaSpace::read(std::span<const DmaSegment> from, std::span<std::byte> to) {
  std::span<std::byte> rest = to;
  const std::size_t lead = lead_of(from, rest, DmaAccess::kRead, [this](auto runs, auto& buffer) {
    return reader_->try_read(runs, buffer);
  });
  const std::uint64_t done = to.size() - rest.size();
  if (rest.empty()) return {.done = done};
  SegmentCursor cursor(from.subspan(lead));
  DmaResult result = read(cursor, rest);
  result.done += done;
  return result;
}

DmaResult DmaSpace::write(std::span<const DmaSegment> to, std::span<const std::byte> from) {
  std::span<const std::byte> rest = from;
  const std::size_t lead = lead_of(to, rest, DmaAccess::kWrite, [this](auto runs, auto& buffer) {
    return reader_->try_write(runs, buffer);
  });
  const std::uint64_t done = from.size() - rest.size();
  if (rest.empty()) return {.done = done};
  SegmentCursor cursor(to.subspan(lead));
  DmaResult result = write(cursor, rest);
  result.done += done;
  return result;
}

DmaResult DmaSpace::fill(std::uint64_t to, std::byte value, std::uint64_t bytes) {
  DmaTransfer transfer(port_, initiator_);
  return fill(transfer, {to, bytes}, value);
}

DmaResult DmaSpace::fill(std::span<const DmaSegment> to, std::byte value) {
  DmaTransfer transfer(port_, initiator_);
  SegmentCursor cursor(to);
  return walk(cursor, UINT64_MAX,
              [&](const DmaSegment& run, std::uint64_t) { return fill(transfer, run, value); });
}

// By way of a buffer: the guest's bytes are read once, as any read reads them.
DmaResult DmaSpace::compare(std::span<const DmaSegment> a, std::span<const std::byte> b,
                            int& order) {
  DmaTransfer transfer(port_, initiator_);
  SegmentCursor cursor(a);
  std::array<std::byte, 4096> buffer;
  order = 0;
  return walk(cursor, b.size(), [&](const DmaSegment& run, std::uint64_t done) {
    const DmaSegment part{run.address, std::min<std::uint64_t>(run.bytes, buffer.size())};
    const DmaResult result = read(transfer, part, buffer.data());
    if (order == 0) order = vm_mem::memcmp_raw(buffer.data(), b.data() + done, result.done);
    return result;
  });
}

}  // namespace vm_device
