#include "vm_device/internal/dma_pieces.h"

#include <algorithm>
#include <new>
#include <utility>

#include "vm_device/internal/dma_permission.h"

namespace vm_device::internal {
namespace {

using vm_mem::GuestAddress;
using vm_mem::GuestRange;
using vm_mem::MapSection;

// The host has no memory left, or the map has changed since it was looked at.
DmaFault fault_of(const absl::Status& lease) {
  if (absl::IsResourceExhausted(lease)) return DmaFault::kBusy;
  return absl::IsPermissionDenied(lease) ? DmaFault::kProtected : DmaFault::kUnmapped;
}

}  // namespace

DmaPieces::DmaPieces() {
  pieces_.reserve(kMaxPieces);
  host_.reserve(kMaxPieces);
}

DmaResult DmaPieces::map(DmaSpace& space, SegmentCursor cursor, std::uint64_t limit,
                         DmaAccess access) {
  drop();
  access_ = access;
  limit = std::min(limit, kMaxBytes);
  DmaTransfer transfer(space.port_, space.initiator_);
  const auto map = space.memory_->map();
  while (bytes_ < limit && !is_full()) {
    const DmaSegment segment = cursor.peek(limit - bytes_);
    if (segment.bytes == 0) break;
    const GuestSegment run = transfer.section().next(segment, 0, access);
    if (run.bytes == 0) return DmaTransfer::refused(segment.address, bytes_);
    hold(transfer, space.port_);
    const std::uint64_t before = bytes_;
    const DmaFault fault = add(space, transfer, *map, segment.address, run);
    const std::uint64_t added = bytes_ - before;
    if (fault != DmaFault::kNone) return {fault, bytes_, segment.address + added};
    cursor.skip(added);
  }
  return {.done = bytes_};
}

DmaResult DmaPieces::past_top(DmaSpace& space, DmaAccess access) {
  if (space.port_ == nullptr) return {DmaFault::kUnmapped, 0, 0};
  space.port_->record(0, access, IommuFaultReason::kUnmapped);
  return {DmaFault::kTranslation, 0, 0};
}

// One mapping of the IOMMU's for the whole window.
void DmaPieces::hold(DmaTransfer& transfer, IommuPort* port) {
  if (port == nullptr || epoch_ != 0) return;
  epoch_ = transfer.section().hold();
  if (epoch_ != 0) port_ = port;
}

DmaFault DmaPieces::add(DmaSpace& space, const DmaTransfer& transfer, const vm_mem::MemoryMap& map,
                        std::uint64_t address, const GuestSegment& run) {
  // Without a hold the addresses could be given away while the kernel uses them.
  if (space.port_ != nullptr && port_ == nullptr) return DmaFault::kBusy;
  std::uint64_t done = 0;
  while (done < run.bytes && !is_full()) {
    const GuestAddress at = run.address.offset_by(done);
    const MapSection* const section = map.find(at);
    const vm_mem::AccessFault refused = refusal_of(section, access_);
    if (refused != vm_mem::AccessFault::kNone) return transfer.fault_of(refused);
    const std::uint64_t part = std::min(run.bytes - done, section->range.end().value - at.value);
    const std::uint64_t before = bytes_;
    const DmaFault fault = section->kind == vm_mem::RegionKind::kMmio
                               ? add_copy(space, {address + done, part})
                               : add_lease(space, address + done, *GuestRange::make(at, part));
    done += bytes_ - before;
    if (fault != DmaFault::kNone) return fault;
  }
  return DmaFault::kNone;
}

DmaFault DmaPieces::add_lease(DmaSpace& space, std::uint64_t address, GuestRange range) {
  const bool reads = access_ == DmaAccess::kRead;
  auto lease = space.memory_->lease(
      range, reads ? vm_mem::LeaseAccess::kRead : vm_mem::LeaseAccess::kReadWrite,
      vm_mem::WriteCause::kDma);
  if (absl::IsFailedPrecondition(lease.status())) return add_copy(space, {address, range.bytes()});
  if (!lease.ok()) return fault_of(lease.status());
  std::byte* const host = lease->bytes().data();
  append({address, range.bytes(), nullptr, std::move(*lease)}, host);
  return DmaFault::kNone;
}

// What the device reads is read here; what it writes is written by release().
DmaFault DmaPieces::add_copy(DmaSpace& space, const DmaSegment& range) {
  if (copies_ == nullptr) copies_.reset(new (std::nothrow) std::byte[kCopyBytes]);
  if (copies_ == nullptr) return DmaFault::kBusy;
  const std::uint64_t room = std::min<std::uint64_t>(range.bytes, kCopyBytes - copied_);
  std::byte* const copy = &copies_[copied_];
  is_closed_ = access_ != DmaAccess::kRead || room < range.bytes || copied_ + room == kCopyBytes;
  DmaResult read{.done = room};
  if (access_ == DmaAccess::kRead) read = space.read(range.address, std::span(copy, room));
  if (read.done != 0) {
    copied_ += read.done;
    append({range.address, read.done, copy, {}}, copy);
  }
  return read.fault;
}

void DmaPieces::append(Piece piece, std::byte* host) {
  bytes_ += piece.bytes;
  const bool follows =
      !host_.empty() &&
      static_cast<std::byte*>(host_.back().iov_base) + host_.back().iov_len == host;
  if (follows) {
    host_.back().iov_len += piece.bytes;
  } else {
    host_.push_back({host, piece.bytes});
  }
  pieces_.push_back(std::move(piece));
}

void DmaPieces::advance(std::uint64_t bytes) {
  moved_ += bytes;
  while (bytes > 0 && first_ < host_.size()) {
    iovec& piece = host_[first_];
    const std::size_t step = std::min<std::size_t>(bytes, piece.iov_len);
    piece.iov_base = static_cast<std::byte*>(piece.iov_base) + step;
    piece.iov_len -= step;
    bytes -= step;
    if (piece.iov_len == 0) ++first_;
  }
}

DmaResult DmaPieces::release(DmaSpace& space, Written written) {
  DmaResult result{.done = moved_};
  std::uint64_t left = access_ == DmaAccess::kRead ? 0 : moved_;
  for (Piece& piece : pieces_) {
    const std::uint64_t got = std::min(left, piece.bytes);
    left -= got;
    if (piece.copy == nullptr) {
      const bool exact = written == Written::kWhatMoved || got == piece.bytes;
      if (exact && access_ != DmaAccess::kRead) piece.lease.mark_dirty(0, got).IgnoreError();
      continue;
    }
    if (got == 0) continue;
    // The last of the window.
    const DmaResult put = space.write(piece.address, std::span(piece.copy, got));
    if (!put.ok()) result = {put.fault, moved_ - got + put.done, put.at};
  }
  drop();
  return result;
}

void DmaPieces::drop() {
  pieces_.clear();
  host_.clear();
  first_ = 0;
  bytes_ = moved_ = 0;
  copied_ = 0;
  is_closed_ = false;
  if (port_ != nullptr) port_->epochs().release(epoch_);
  port_ = nullptr;
  epoch_ = 0;
}

}  // namespace vm_device::internal
