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

// From where on it pays to fetch the beginning of the next segment ahead: a CPU does not
// guess in which page that is.
constexpr std::uint64_t kPrefetchMin = 1024;

// Calls `take(rest, bytes)` for the segments from the first on, rest.front() being the one,
// while there are bytes left and it agrees. Returns how many segments it took.
template <typename Take>
std::size_t take_while(std::span<const DmaSegment> list, std::uint64_t& left, Take take) {
  std::size_t taken = 0;
  for (; taken < list.size() && left != 0; ++taken) {
    const std::uint64_t bytes = std::min(list[taken].bytes, left);
    if (!take(list.subspan(taken), bytes)) break;
    left -= bytes;
  }
  return taken;
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
  if (reader_ == nullptr || port_ == nullptr || range.bytes == 0) return false;
  const internal::IommuSection section(port_);
  const GuestSegment run = section.recall(range.address, range.bytes, access);
  return run.bytes == range.bytes && attempt(run.address);
}

// Moves the segments of a list that done_at_once() would, up to the first that it would not.
template <typename Try>
std::size_t DmaSpace::lead_of(std::span<const DmaSegment> list, std::uint64_t& left,
                              DmaAccess access, Try attempt) {
  using Rest = std::span<const DmaSegment>;
  if (direct_ != nullptr) {
    return take_while(list, left, [&](Rest rest, std::uint64_t bytes) {
      if (access == DmaAccess::kRead && bytes >= kPrefetchMin && rest.size() > 1) {
        direct_->prefetch(GuestAddress{rest[1].address}, rest[1].bytes);
      }
      return attempt(GuestAddress{rest.front().address}, bytes);
    });
  }
  if (reader_ == nullptr) return 0;
  const internal::IommuSection section(port_);
  return take_while(list, left, [&](Rest rest, std::uint64_t bytes) {
    if (bytes == 0) return true;
    const GuestSegment run = section.recall(rest.front().address, bytes, access);
    return run.bytes == bytes && attempt(run.address, bytes);
  });
}

DmaResult DmaSpace::read_runs(std::uint64_t address, std::span<std::byte> to) {
  const auto attempt = [&](GuestAddress from) { return reader_->try_read(from, to); };
  if (done_at_once({address, to.size()}, DmaAccess::kRead, attempt)) return {.done = to.size()};
  return read_in_transfer(address, to);
}

DmaResult DmaSpace::write_runs(std::uint64_t address, std::span<const std::byte> from) {
  const auto attempt = [&](GuestAddress to) { return reader_->try_write(to, from); };
  if (done_at_once({address, from.size()}, DmaAccess::kWrite, attempt)) {
    return {.done = from.size()};
  }
  return write_in_transfer(address, from);
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
  std::uint64_t left = to.size();
  const std::size_t lead =
      lead_of(from, left, DmaAccess::kRead, [&](GuestAddress at, std::uint64_t bytes) {
        return reader_->try_read(at, to.last(left).first(bytes));
      });
  const std::uint64_t done = to.size() - left;
  if (left == 0) return {.done = done};
  SegmentCursor cursor(from.subspan(lead));
  DmaResult result = read(cursor, to.last(left));
  result.done += done;
  return result;
}

DmaResult DmaSpace::write(std::span<const DmaSegment> to, std::span<const std::byte> from) {
  std::uint64_t left = from.size();
  const std::size_t lead =
      lead_of(to, left, DmaAccess::kWrite, [&](GuestAddress at, std::uint64_t bytes) {
        return reader_->try_write(at, from.last(left).first(bytes));
      });
  const std::uint64_t done = from.size() - left;
  if (left == 0) return {.done = done};
  SegmentCursor cursor(to.subspan(lead));
  DmaResult result = write(cursor, from.last(left));
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
