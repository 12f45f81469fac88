// What a split queue notes of the requests that it has, in memory that outlives its process, so
// that the next back end finds those that were not given back.
//
// Source:  the vhost-user protocol, "Inflight I/O tracking".
#ifndef VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_
#define VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_

#include <cstdint>
#include <vector>

#include "vm_device/internal/journal_region.h"

namespace vm_device::internal {

class RequestJournal {
 public:
  static std::uint64_t bytes_for(std::uint32_t size);

  // Needs:  bytes_for(size) from `begin` on; `bytes` outlives this object.
  RequestJournal(ForeignBytes& bytes, std::uint64_t begin, std::uint16_t size)
      : region_(bytes, begin), size_(size) {}

  // Begins, or goes on: the heads of requests that were taken and not given back, in their
  // order. `used` is the index that the driver sees.
  std::vector<std::uint16_t> open(std::uint16_t used);

  void take(std::uint16_t head);
  // Given back, once publish() says that the driver sees it.
  void stage(std::uint16_t head);
  void publish(std::uint16_t used);
  // Whether that was done since the journal was made.
  bool has_given_back() const { return has_given_back_; }

 private:
  std::uint64_t entry(std::uint16_t head) const;
  void begin_at(std::uint16_t used);
  void finish_batch(std::uint16_t used);

  JournalRegion region_;
  std::uint16_t size_;
  std::uint64_t next_count_ = 0;
  bool has_given_back_ = false;
  std::vector<std::uint16_t> batch_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_
