// A driver of a virtqueue in either form that keeps to the rules: what the device owes it can
// be checked against what it asked for. Memory is reached as a Guest's is.
#ifndef TESTS_VM_DEVICE_RING_DRIVER_H_
#define TESTS_VM_DEVICE_RING_DRIVER_H_

#include <cstdint>
#include <deque>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "tests/vm_device/driver_ring.h"
#include "vm_device/virtio_features.h"

namespace vm_device {

enum class Layout { kInRing, kInTable };

template <typename Memory>
class BasicRingDriver {
 public:
  static constexpr std::uint64_t kTables = 0x8000;  // indirect ones, from the base
  static constexpr std::uint64_t kTableBytes = 0x100;

  BasicRingDriver(Memory& guest, std::uint64_t base, std::uint16_t size, std::uint64_t features)
      : guest_(guest), base_(base), size_(size), features_(features) {
    clear();
  }

  VirtqueueConfig config() const {
    return {size_, base_, driver_area(), device_area(), features_, std::nullopt};
  }
  std::uint64_t driver_area() const { return base_ + 0x4000; }
  std::uint64_t device_area() const { return base_ + 0x6000; }
  bool is_packed() const { return has(kFeatureRingPacked); }
  std::size_t outstanding() const { return out_.size(); }
  std::uint16_t free_descriptors() const { return free_; }

  void clear() {
    guest_.put_bytes(base_, std::vector<std::byte>(0x8000));
    out_.clear();
    ids_.resize(size_);
    std::iota(ids_.begin(), ids_.end(), std::uint16_t{0});
    free_ = size_;
    available_ = used_ = kicked_ = 0;
  }

  // Needs:  room for the chain.
  // Returns its ID.
  std::uint16_t offer(std::vector<RawDescriptor> chain, Layout layout = Layout::kInRing) {
    const std::uint32_t writable = std::accumulate(
        chain.begin(), chain.end(), 0u, [](std::uint32_t sum, const RawDescriptor& it) {
          return (it.flags & kWrite) != 0 ? sum + it.bytes : sum;
        });
    std::vector<std::uint16_t> ids(ids_.begin(),
                                   ids_.begin() + (is_packed() ? 1 : places(chain, layout)));
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(ids.size()));
    if (layout == Layout::kInTable) chain = {write_table(ids[0], chain)};
    const auto count = static_cast<std::uint16_t>(chain.size());
    is_packed() ? offer_packed(chain, ids[0]) : offer_split(chain, ids);
    free_ = static_cast<std::uint16_t>(free_ - count);
    out_.push_back({ids[0], count, writable, ids});
    return ids[0];
  }

  // The next request that is used. Those that the device may skip in order are whole.
  std::optional<UsedEntry> take_used() {
    if (!has_used()) return std::nullopt;
    UsedEntry entry = skipping_to_ ? *skipping_to_ : read_used();
    if (!has(kFeatureInOrder)) return finish(find(entry.id), entry.written);
    const bool is_last = out_.front().id == entry.id;
    const std::uint32_t written = is_last ? entry.written : out_.front().writable;
    skipping_to_ = is_last ? std::nullopt : std::optional(entry);
    return finish(out_.begin(), written);
  }
  bool has_used() const {
    if (skipping_to_) return true;
    if (!is_packed())
      return guest_.template get<std::uint16_t>(device_area() + 2) != (used_ & 0xffff);
    const auto flags = guest_.template get<std::uint16_t>(descriptor(used_ % size_) + 14);
    const bool wrap = wrap_of(used_);
    return ((flags & 0x80) != 0) == wrap && ((flags & 0x8000) != 0) == wrap;
  }

  // Asks for an interrupt once `more` descriptors (packed) or requests (split) have been used
  // beyond those taken; without event indices at the first.
  void want_interrupt(std::uint16_t more = 1) {
    const std::uint32_t event = used_ + more - 1;
    if (!is_packed()) {
      guest_.put(driver_area(), std::uint16_t{0});
      guest_.put(driver_area() + 4 + 2 * std::uint64_t{size_}, static_cast<std::uint16_t>(event));
    } else if (has(kFeatureRingEventIdx)) {
      put_packed_event(event, 2);
    } else {
      put_packed_event(0, 0);
    }
  }
  // Without event indices.
  void want_no_interrupt() {
    is_packed() ? put_packed_event(0, 1) : guest_.put(driver_area(), std::uint16_t{1});
  }

  // Whether the device asked to be notified of what was offered since the last call.
  bool must_notify() {
    const std::uint32_t before = kicked_;
    kicked_ = available_;
    if (before == available_) return false;
    if (!is_packed()) {
      if (!has(kFeatureRingEventIdx)) return guest_.template get<std::uint16_t>(device_area()) == 0;
      const auto event =
          guest_.template get<std::uint16_t>(device_area() + 4 + 8 * std::uint64_t{size_});
      return static_cast<std::uint16_t>(available_ - event - 1) <
             static_cast<std::uint16_t>(available_ - before);
    }
    const auto flags = guest_.template get<std::uint16_t>(device_area() + 2);
    if (flags != 2) return flags == 0;
    const auto event = guest_.template get<std::uint16_t>(device_area());
    for (std::uint32_t at = before; at != available_; ++at) {
      if (at % size_ == (event & 0x7fff) && wrap_of(at) == (event >> 15 != 0)) return true;
    }
    return false;
  }

 private:
  struct Request {
    std::uint16_t id;
    std::uint16_t places;
    std::uint32_t writable;
    std::vector<std::uint16_t> ids;
  };

  bool has(std::uint64_t feature) const { return (features_ & feature) != 0; }
  std::uint64_t descriptor(std::uint64_t index) const { return base_ + 16 * index; }
  // Counted from the beginning, places of the ring; the wrap counter begins at 1.
  bool wrap_of(std::uint32_t place) const { return place / size_ % 2 == 0; }
  static std::ptrdiff_t places(const std::vector<RawDescriptor>& chain, Layout layout) {
    return layout == Layout::kInTable ? 1 : static_cast<std::ptrdiff_t>(chain.size());
  }
  void put_packed_event(std::uint32_t place, std::uint16_t flags) {
    const auto at = static_cast<std::uint16_t>(place % size_ | (wrap_of(place) ? 0x8000 : 0));
    guest_.put(driver_area(), static_cast<std::uint32_t>(flags) << 16 | at);
  }

  RawDescriptor write_table(std::uint16_t id, const std::vector<RawDescriptor>& chain) {
    const std::uint64_t table = base_ + kTables + id * kTableBytes;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const bool last = i + 1 == chain.size();
      const auto flags =
          static_cast<std::uint16_t>(chain[i].flags | (last || is_packed() ? 0 : kNext));
      put_split(table + 16 * i,
                {chain[i].address, chain[i].bytes, flags, static_cast<std::uint16_t>(i + 1)});
      if (is_packed()) {
        guest_.put(table + 16 * i + 12, std::uint16_t{0});
        guest_.put(table + 16 * i + 14, chain[i].flags);
      }
    }
    return {table, static_cast<std::uint32_t>(16 * chain.size()), kIndirect, 0};
  }
  void put_split(std::uint64_t at, const RawDescriptor& it) {
    guest_.put(at, it.address);
    guest_.put(at + 8, it.bytes);
    guest_.put(at + 12, it.flags);
    guest_.put(at + 14, it.next);
  }

  void offer_split(const std::vector<RawDescriptor>& chain, const std::vector<std::uint16_t>& ids) {
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const bool last = i + 1 == chain.size();
      put_split(descriptor(ids[i]),
                {chain[i].address, chain[i].bytes,
                 static_cast<std::uint16_t>(chain[i].flags | (last ? 0 : kNext)),
                 last ? std::uint16_t{0} : ids[i + 1]});
    }
    guest_.put(driver_area() + 4 + 2 * std::uint64_t{available_ % size_}, ids[0]);
    guest_.put(driver_area() + 2, static_cast<std::uint16_t>(++available_));
  }
  // The first descriptor is made available last.
  void offer_packed(const std::vector<RawDescriptor>& chain, std::uint16_t id) {
    for (std::size_t i = chain.size(); i-- > 0;) {
      const auto place = static_cast<std::uint32_t>(available_ + i);
      const std::uint64_t at = descriptor(place % size_);
      const bool last = i + 1 == chain.size();
      guest_.put(at, chain[i].address);
      guest_.put(at + 8, chain[i].bytes);
      guest_.put(at + 12, id);
      guest_.put(at + 14, static_cast<std::uint16_t>(chain[i].flags | (last ? 0 : kNext) |
                                                     (wrap_of(place) ? 0x80 : 0x8000)));
    }
    available_ += static_cast<std::uint32_t>(chain.size());
  }

  UsedEntry read_used() const {
    if (!is_packed()) {
      const std::uint64_t at = device_area() + 4 + 8 * std::uint64_t{used_ % size_};
      return {guest_.template get<std::uint32_t>(at), guest_.template get<std::uint32_t>(at + 4)};
    }
    const std::uint64_t at = descriptor(used_ % size_);
    return {guest_.template get<std::uint16_t>(at + 12),
            guest_.template get<std::uint32_t>(at + 8)};
  }
  typename std::deque<Request>::iterator find(std::uint32_t id) {
    auto it = out_.begin();
    while (it != out_.end() && it->id != id) ++it;
    return it;
  }
  std::optional<UsedEntry> finish(typename std::deque<Request>::iterator it,
                                  std::uint32_t written) {
    if (it == out_.end()) {
      ADD_FAILURE() << "a request is used that is not out";
      return std::nullopt;
    }
    const UsedEntry entry{it->id, written};
    used_ += is_packed() ? it->places : 1u;
    free_ = static_cast<std::uint16_t>(free_ + it->places);
    ids_.insert(ids_.end(), it->ids.begin(), it->ids.end());
    out_.erase(it);
    return entry;
  }

  Memory& guest_;
  std::uint64_t base_;
  std::uint16_t size_;
  std::uint64_t features_;
  std::deque<Request> out_;
  std::deque<std::uint16_t> ids_;  // free ones
  std::uint16_t free_ = 0;         // descriptors
  std::uint32_t available_ = 0;    // packed: descriptors, split: requests; offered
  std::uint32_t used_ = 0;         // the same, taken back
  std::uint32_t kicked_ = 0;       // available_ at the last must_notify()
  std::optional<UsedEntry> skipping_to_;
};

using RingDriver = BasicRingDriver<Guest>;

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_RING_DRIVER_H_
