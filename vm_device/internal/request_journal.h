// What a split queue notes of the requests that it has, in memory that outlives its process, so
// that the next back end finds those that were not given back.
//
// Source:  the vhost-user protocol, "Inflight I/O tracking".
#ifndef VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_
#define VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vm_device/internal/foreign_bytes.h"

namespace vm_device::internal {

// A region of the shared bytes, whose other owner may write what he likes there: what is read is
// judged, and read once.
class RequestJournal {
 public:
  static std::uint64_t bytes_for(std::uint32_t size);

  // Needs:  bytes_for(size) from `begin` on; `bytes` outlives this object.
  RequestJournal(ForeignBytes& bytes, std::uint64_t begin, std::uint16_t size)
      : bytes_(&bytes), begin_(begin), size_(size) {}

  // Begins, or goes on: the heads of requests that were taken and not given back, in their
  // order. `used` is the index that the driver sees.
  std::vector<std::uint16_t> open(std::uint16_t used);
  // Nothing is taken any more.
  void clear();

  void take(std::uint16_t head);
  // Given back, once publish() says that the driver sees it.
  void stage(std::uint16_t head);
  void publish(std::uint16_t used);

 private:
  std::uint64_t entry(std::uint16_t head) const;
  template <typename T>
  T load(std::uint64_t at) const;
  template <typename T>
  void store(std::uint64_t at, T value);
  void finish_batch(std::uint16_t used);

  ForeignBytes* bytes_;
  std::uint64_t begin_;
  std::uint16_t size_;
  std::uint64_t next_count_ = 0;
  std::vector<std::uint16_t> batch_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_
