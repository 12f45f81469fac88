// One request of AsyncDma, from its submission to its completion.
#ifndef VM_DEVICE_INTERNAL_ASYNC_REQUEST_H_
#define VM_DEVICE_INTERNAL_ASYNC_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vm_device/async_dma.h"
#include "vm_device/internal/dma_pieces.h"
#include "vm_device/internal/file_op.h"
#include "vm_device/internal/transaction.h"

namespace vm_device::internal {

enum class AsyncKind : std::uint8_t {
  kReadFile,
  kWriteFile,
  kSync,
  kDataSync,
  kCopy,
  kFill,
  kRead,
  kWrite,
  kFence,
};

constexpr bool is_of_file(AsyncKind kind) { return kind <= AsyncKind::kDataSync; }

class AsyncRequest {
 public:
  explicit AsyncRequest(std::uint32_t max_segments) { list.reserve(max_segments); }

  // What was asked for. Set by who submits it, before anybody else sees it.
  AsyncTag tag;
  AsyncKind kind = AsyncKind::kFence;
  std::optional<DmaSpace> space;
  std::vector<DmaSegment> list;
  AsyncFile file;
  std::span<std::byte> to;
  std::span<const std::byte> from;
  std::uint64_t source = 0;  // of a copy
  std::byte value{};
  TransactionChain chain;  // of the devices that led to it

  AsyncCompletion completion;

  // Does all of one that is not of a file.
  void run();

  // One of a file is a row of calls: while next() gives one it is made, and its result
  // (bytes, or -errno) given to settle(). Then the completion is there.
  std::optional<FileOp> next();
  void settle(std::int64_t result);

  // Back to what the constructor makes.
  void clear();

 private:
  bool begin();
  bool map_window();
  bool is_all_in_ram() const;
  void settle_window();
  void retry(int error);
  void end(AsyncOutcome outcome, int error = 0);
  void end(const DmaResult& fault);
  bool is_sync() const { return kind == AsyncKind::kSync || kind == AsyncKind::kDataSync; }
  std::uint64_t done() const { return completion.dma.done + pieces_.moved(); }

  DmaPieces pieces_;
  SegmentCursor cursor_{{}};
  DmaResult stop_;  // what ended the window's mapping
  bool has_begun_ = false;
  bool has_ended_ = false;
  bool past_top_ = false;     // the list goes on past 2^64
  bool has_faulted_ = false;  // since bytes were moved last
  int tries_ = 0;             // that moved nothing, in a row
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_ASYNC_REQUEST_H_
