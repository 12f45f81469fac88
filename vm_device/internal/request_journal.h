// What a split queue notes of the requests that it has, in memory that outlives its process, so
// that the next back end finds those that were not given back.
//
// Source:  the vhost-user protocol, "Inflight I/O tracking".
#ifndef VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_
#define VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "vm_device/internal/journal_region.h"

namespace vm_device::internal {

class RequestJournal {
 public:
  static std::uint64_t bytes_for(std::uint32_t size);

  // Needs:  bytes_for(size) from `begin` on; `bytes` outlives this object.
  RequestJournal(ForeignBytes& bytes, std::uint64_t begin, std::uint16_t size)
      : region_(bytes, begin), size_(size) {}

  // What the journal is held against: the indices that the driver sees, and has written.
  struct Ring {
    std::uint16_t size;
    std::uint16_t used;
    std::uint16_t available;
  };
  // Begins, or goes on: the heads of requests that were taken and not given back, in their
  // order. Nothing: what is noted cannot be read, and is left as it is.
  //
  // Needs:  a ring of at most the journal's size.
  std::optional<std::vector<std::uint16_t>> open(const Ring& ring);
  // Whether open() has begun for all that was noted: it cannot be this ring's.
  bool has_forgotten() const { return has_forgotten_; }

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
  std::vector<std::uint16_t> find_requests();
  bool is_of(const Ring& ring) const;

  JournalRegion region_;
  std::uint16_t size_;
  std::uint64_t next_count_ = 0;
  bool has_given_back_ = false;
  bool has_forgotten_ = false;
  std::vector<std::uint16_t> batch_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_REQUEST_JOURNAL_H_
