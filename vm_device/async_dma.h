// DMA that goes on beside its caller: between files and guest memory without a copy in
// between, and long copies that no vCPU should wait for.
#ifndef VM_DEVICE_ASYNC_DMA_H_
#define VM_DEVICE_ASYNC_DMA_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "vm_device/async_file.h"
#include "vm_device/dma.h"
#include "vm_device/dma_result.h"
#include "vm_device/dma_segment.h"

namespace vm_device {

namespace internal {
class AsyncInjection;
class FileCalls;
}  // namespace internal

// What the caller knows a request by. Need not be unique.
struct AsyncTag {
  std::uint64_t value = 0;
  friend constexpr bool operator==(AsyncTag, AsyncTag) = default;
};

enum class AsyncSync : std::uint8_t { kAll, kData };  // fsync(2), fdatasync(2)

enum class AsyncOutcome : std::uint8_t {
  kDone,         // everything was moved
  kEndOfFile,    // the file ended: `done` is what it had
  kFileError,    // error has the errno
  kMemoryFault,  // dma has it: kHostFault too where the file moves to memory that is lost
  kCancelled,    // it had not started: nothing was moved
};

std::string_view async_outcome_name(AsyncOutcome outcome);

// dma.done is exact: the first bytes of the list that were moved, or the last ones of a
// copy() where dma.from_end is set. What a list has more than the buffer of read() and
// write() is not asked for. Where ok() is false dma.at is the bus address at which the move
// stopped, whatever stopped it there.
struct AsyncCompletion {
  AsyncTag tag;
  AsyncOutcome outcome = AsyncOutcome::kDone;
  DmaResult dma;
  int error = 0;  // errno of kFileError

  [[nodiscard]] constexpr bool ok() const { return outcome == AsyncOutcome::kDone; }
  friend constexpr bool operator==(const AsyncCompletion&, const AsyncCompletion&) = default;
};

// Whether a request was taken. Only what was taken has a completion.
enum class AsyncAdmission : std::uint8_t {
  kAccepted,
  kBusy,     // max_requests wait for poll(): take some completions first
  kTooLong,  // more than max_segments
};

enum class AsyncBackend : std::uint8_t {
  kFastest,  // io_uring where host and build have it, else threads
  kIoUring,
  kThreads,
};

// Hears that completions wait: the alternative to completion_fd() for who has a thread of
// its own to wake.
class AsyncSignal {
 public:
  virtual ~AsyncSignal() = default;
  // Called after the first completion has come since poll() left none behind; from any
  // thread, inside submissions and cancel() too, with no lock held. Not after ~AsyncDma.
  virtual void completions_wait() = 0;
};

struct AsyncDmaOptions {
  AsyncBackend backend = AsyncBackend::kFastest;
  std::uint32_t max_requests = 128;  // at most 4096; a fence counts too
  std::uint32_t max_segments = 1024;
  // What copies, and without io_uring what waits for files: at most 64.
  std::uint32_t threads = 2;
  AsyncSignal* signal = nullptr;
};

// A request names the space whose DMA it is, so that permissions, the IOMMU, dirty marks
// and the rule of re-entrancy hold as they do for that space; its list is copied.
//
// Ordering: requests are in no order to each other. A fence completes after all that were
//           accepted before it, and nothing accepted after it starts before it completes.
//           A write to a file is not durable before a sync that was ordered behind it.
// Memory:   bytes are in guest memory, then the pages are marked dirty, before the
//           completion can be polled. Where a file error ends a request, pages behind
//           `done` may be marked, and may have got bytes that the host does not count.
// Ahead:    of a file's request up to 64 MiB of the list are looked at before the first
//           byte is moved. What is there is on record (a fault of the IOMMU's) or read
//           (registers that write_file() gives to the file) even where the file then ends
//           the request in front of it.
//           What files give or take is moved by the host, without the guarantees of
//           docs/memory_model.md. Nobody else writes a host buffer until the completion.
//           RAM is held by a lease while the host moves it: MemoryManager::remove_region
//           refuses or waits, and Iommu::wait_for_dma waits. What is no RAM goes through a
//           copy of 16 KiB.
// Threads:  any number at a time. Spaces may be those of a MemoryReader: it is not used.
// Needs:    the memory, the IOMMU and the descriptor outlive the request; the space, only
//           the call. Writes past RLIMIT_FSIZE raise SIGXFSZ, as write(2) does.
// Cost:     nothing is allocated for a request, but for leases (three small ones for each
//           piece of RAM). With io_uring a request of up to 64 KiB that the page cache can
//           answer, or a file in memory, is done by the submitting thread, and mostly
//           complete when it is accepted: no other thread is woken for it.
class AsyncDma {
 public:
  // Errors:  kInvalidArgument    options outside their limits
  //          kUnimplemented      kIoUring: the host or this build has none; the message
  //                              says why
  //          kResourceExhausted  the host gives no thread, descriptor or memory
  static absl::StatusOr<std::unique_ptr<AsyncDma>> create(AsyncDmaOptions options);

  AsyncDma(const AsyncDma&) = delete;
  AsyncDma& operator=(const AsyncDma&) = delete;
  // Cancels what has not started and waits for the rest. Completions are dropped.
  ~AsyncDma();

  // kIoUring or kThreads.
  AsyncBackend backend() const;

  // File to guest. A list that is longer than the file ends in kEndOfFile.
  [[nodiscard]] AsyncAdmission read_file(const DmaSpace& space, std::span<const DmaSegment> to,
                                         AsyncFile from, AsyncTag tag);
  // Guest to file.
  [[nodiscard]] AsyncAdmission write_file(const DmaSpace& space, std::span<const DmaSegment> from,
                                          AsyncFile to, AsyncTag tag);
  [[nodiscard]] AsyncAdmission sync_file(int descriptor, AsyncSync what, AsyncTag tag);

  // As the members of DmaSpace are.
  [[nodiscard]] AsyncAdmission copy(const DmaSpace& space, std::uint64_t to, std::uint64_t from,
                                    std::uint64_t bytes, AsyncTag tag);
  [[nodiscard]] AsyncAdmission fill(const DmaSpace& space, std::span<const DmaSegment> to,
                                    std::byte value, AsyncTag tag);
  // Needs:  the buffer lives until the completion.
  [[nodiscard]] AsyncAdmission read(const DmaSpace& space, std::span<const DmaSegment> from,
                                    std::span<std::byte> to, AsyncTag tag);
  [[nodiscard]] AsyncAdmission write(const DmaSpace& space, std::span<const DmaSegment> to,
                                     std::span<const std::byte> from, AsyncTag tag);

  [[nodiscard]] AsyncAdmission fence(AsyncTag tag);

  // Of requests with this tag, those that have not started complete with kCancelled: how
  // many. Those that have started complete as they end. Fences stay.
  std::size_t cancel(AsyncTag tag);
  std::size_t cancel_all();

  // Takes the oldest completions, as many as fit; returns how many.
  std::size_t poll(std::span<AsyncCompletion> out);
  // As poll(), and waits for the first. 0: nothing is outstanding, or the time is over.
  std::size_t wait(std::span<AsyncCompletion> out, std::chrono::nanoseconds timeout);
  // Accepted, and not polled yet.
  std::size_t outstanding() const;

  // Readable while completions wait: for poll(2) and epoll(7), not to be read from. Lives
  // as long as this object. The first call turns it on.
  int completion_fd();

 private:
  friend class internal::AsyncInjection;
  class State;

  explicit AsyncDma(std::unique_ptr<State> state);
  static absl::StatusOr<std::unique_ptr<AsyncDma>> create(
      AsyncDmaOptions options, std::unique_ptr<internal::FileCalls> calls);
  static DmaSpace for_any_thread(const DmaSpace& space);
  template <typename Fill>
  AsyncAdmission submit(std::span<const DmaSegment> list, Fill fill);

  std::unique_ptr<State> state_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_ASYNC_DMA_H_
