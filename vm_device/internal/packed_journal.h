// What a packed queue notes of the requests that it has, with their descriptors: the driver
// finds those overwritten in the ring as soon as other requests are used.
//
// Source:  the vhost-user protocol, "Inflight I/O tracking".
#ifndef VM_DEVICE_INTERNAL_PACKED_JOURNAL_H_
#define VM_DEVICE_INTERNAL_PACKED_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "vm_device/internal/journal_region.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device::internal {

// Shared bytes are read by open() alone, and all of them judged; afterwards what counts is a
// copy of them, so that nothing that is written there reaches the ring.
class PackedJournal {
 public:
  // What the journal is held against. Positions have their wrap counter as bit 15.
  struct Ring {
    std::uint16_t size;
    std::uint16_t used;     // where it stands, as the front end says
    bool has_stopped_here;  // and knows: it did not learn that before a back end's end
    // What lies in the ring. Nothing: it cannot be reached.
    std::function<std::optional<Descriptor>(std::uint16_t position)> descriptor;
  };

  static std::uint64_t bytes_for(std::uint32_t size);

  // Needs:  bytes_for(size) from `begin` on; `bytes` outlives this object.
  PackedJournal(ForeignBytes& bytes, std::uint64_t begin, std::uint16_t size)
      : region_(bytes, begin), size_(size) {}

  // Begins, or goes on. Where the driver has seen the device last. Nothing: what is noted cannot
  // be, and is left as it is.
  //
  // Needs:  a ring of at most the journal's size.
  std::optional<std::uint16_t> open(const Ring& ring);
  // Whether open() has begun for all that was noted: it cannot be this ring's.
  bool has_forgotten() const { return has_forgotten_; }

  // The next request to be taken again, in the order in which they were: false where there is
  // none. Then its descriptors, one after the other. It is the next one until take().
  bool has_again() const { return next_again_ != again_.size(); }
  bool begin_again();
  bool next_again(Descriptor& descriptor);

  // A request that is taken: begin(), its descriptors, and once they are known to be one
  // take(), which gives it a name. What is taken again has its descriptors and its name.
  void begin();
  void add(const Descriptor& descriptor);
  std::uint16_t take();

  // Around the store by which the driver sees the request used, and the device at `used`.
  void giving_back(std::uint16_t entry, std::uint16_t used);
  void given_back(std::uint16_t entry);
  // Whether there was one since the journal was made.
  bool has_given_back() const { return has_given_back_; }

 private:
  struct Entry {
    std::uint16_t next;
    std::uint16_t last;   // of a request's first entry
    std::uint16_t count;  // of its entries; 0: it is none
  };
  struct Again {
    std::uint64_t taken;
    std::uint16_t entry;
    std::uint32_t begin;  // of its descriptors
    std::uint32_t end;
  };
  class Copy;

  static std::uint64_t entry(std::uint32_t index);
  std::uint16_t begin_at(std::uint16_t used);
  bool is_of_a_later(const Ring& ring) const;
  bool is_of_another_beginning(const Ring& ring) const;
  std::optional<std::uint16_t> settle(const Ring& ring);
  bool find_free(const Copy& copy, std::vector<bool>& known);
  bool find_requests(const Copy& copy, std::uint32_t room, std::vector<bool>& known);
  bool find_request(const Copy& copy, std::uint16_t head, std::vector<bool>& known);
  void find_lost(const std::vector<bool>& known);
  void set_free(std::uint16_t head, std::uint16_t old);
  void set_used(std::uint16_t used, std::uint16_t old);
  bool is_request(std::uint16_t head) const;

  JournalRegion region_;
  std::uint16_t size_;
  std::uint16_t free_ = 0;  // the first free entry; size_: none
  std::uint16_t used_ = 0;  // where the driver sees the device, or is about to
  std::uint64_t next_count_ = 0;
  std::vector<Entry> entries_;
  std::vector<Descriptor> taking_;
  std::vector<Again> again_;
  std::vector<Descriptor> again_descriptors_;
  std::size_t next_again_ = 0;
  std::uint32_t at_again_ = 0;
  bool has_given_back_ = false;
  bool has_forgotten_ = false;
  bool is_again_ = false;  // what is taken, is taken again
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_PACKED_JOURNAL_H_
