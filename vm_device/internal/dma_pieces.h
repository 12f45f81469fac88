// Host bytes that stand for the next bytes of a list of bus addresses, for a system call:
// the guest's own where they are RAM, else a bounded copy.
#ifndef VM_DEVICE_INTERNAL_DMA_PIECES_H_
#define VM_DEVICE_INTERNAL_DMA_PIECES_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vm_device/dma.h"
#include "vm_device/internal/dma_transfer.h"
#include "vm_mem/memory_lease.h"

namespace vm_device::internal {

// One window on the list at a time. Memory is kept from window to window.
class DmaPieces {
 public:
  // Of one window: what one system call moves.
  static constexpr std::size_t kMaxPieces = 128;
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 20;
  // Of a window, of copies: what is not RAM.
  static constexpr std::size_t kCopyBytes = 16 * 1024;

  DmaPieces();
  ~DmaPieces() { drop(); }

  // Opens a window on what is at the cursor, of at most `limit` bytes: `done` of them, up
  // to the first that cannot be had. What the device writes ends behind the first copy, so
  // that no byte behind one that is refused later is written.
  DmaResult map(DmaSpace& space, SegmentCursor cursor, std::uint64_t limit, DmaAccess access);

  // What becomes of a list that goes on past 2^64.
  static DmaResult past_top(DmaSpace& space, DmaAccess access);

  // What of the window is still to move.
  std::span<const iovec> rest() const { return std::span(host_).subspan(first_); }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t moved() const { return moved_; }
  // Of what is not RAM.
  bool has_copies() const { return copied_ != 0; }
  // The first `bytes` of rest() were moved.
  void advance(std::uint64_t bytes);

  // How far the device may have written.
  enum class Written : std::uint8_t { kWhatMoved, kPerhapsAll };
  // Closes the window: what was moved is in guest memory and marked dirty. `done` is what
  // the guest has got of moved().
  DmaResult release(DmaSpace& space, Written written);

 private:
  struct Piece {
    std::uint64_t address = 0;  // on the bus
    std::uint64_t bytes = 0;
    std::byte* copy = nullptr;  // or leased
    vm_mem::MemoryLease lease;
  };

  DmaFault add(DmaSpace& space, const DmaTransfer& transfer, const vm_mem::MemoryMap& map,
               std::uint64_t address, const GuestSegment& run);
  DmaFault add_lease(DmaSpace& space, std::uint64_t address, vm_mem::GuestRange range);
  DmaFault add_copy(DmaSpace& space, const DmaSegment& range);
  void append(Piece piece, std::byte* host);
  bool is_full() const { return is_closed_ || pieces_.size() == kMaxPieces; }
  void hold(DmaTransfer& transfer, IommuPort* port);
  void drop();

  DmaAccess access_ = DmaAccess::kRead;
  std::vector<Piece> pieces_;
  std::vector<iovec> host_;
  std::size_t first_ = 0;  // of host_ that is not moved whole
  std::uint64_t bytes_ = 0;
  std::uint64_t moved_ = 0;
  bool is_closed_ = false;  // to further pieces
  std::unique_ptr<std::byte[]> copies_;
  std::size_t copied_ = 0;
  // What is kept in use at the IOMMU; without one, null.
  IommuPort* port_ = nullptr;
  std::uint64_t epoch_ = 0;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_DMA_PIECES_H_
