#include "vm_device/internal/packed_journal.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace vm_device::internal {
namespace {

// After what all journals begin with: the head of the free entries, and what it was before the
// update under way (2 bytes each); then where the device stands, where it stood, and the wrap
// counters of both (1 byte each).
constexpr std::uint64_t kFree = 12;
constexpr std::uint64_t kUsed = 16;
constexpr std::uint64_t kEntries = 32;
constexpr std::uint64_t kEntryBytes = 32;

// An entry: a flag (1 byte), then these; from kDescriptor on a descriptor, its ID first.
constexpr std::uint64_t kNext = 2;
constexpr std::uint64_t kLast = 4;
constexpr std::uint64_t kLength = 6;
constexpr std::uint64_t kTaken = 8;
constexpr std::uint64_t kDescriptor = 16;

template <typename T>
void put(std::span<std::byte> to, std::uint64_t at, T value) {
  std::memcpy(&to[at], &value, sizeof value);
}

std::uint16_t counted(std::uint64_t position, std::uint64_t wrap) {
  return static_cast<std::uint16_t>((position & kPackedPosition) | (wrap != 0 ? kPackedWrap : 0));
}

bool is_new(const PackedJournal::Ring& ring) {
  unsigned first = 0;
  unsigned all = 0;
  for (std::uint16_t i = 0; i < ring.size; ++i) {
    const auto it = ring.descriptor(i);
    if (!it) return false;
    all |= it->packed_flags();
    if (i == 0) first = all;
  }
  const bool is_begun = (first & kPackedAvailable) != 0;
  return (all & kPackedUsed) == 0 && (is_begun || (all & kPackedAvailable) == 0);
}

}  // namespace

// The entries as they were once.
class PackedJournal::Copy {
 public:
  Copy(const JournalRegion& region, std::uint16_t size) : bytes_(size * kEntryBytes) {
    region.read(kEntries, bytes_);
  }
  template <typename T>
  T get(std::uint16_t index, std::uint64_t field) const {
    T value;
    std::memcpy(&value, &bytes_[index * kEntryBytes + field], sizeof value);
    return value;
  }
  Descriptor descriptor(std::uint16_t index) const {
    const auto flags = get<std::uint16_t>(index, kDescriptor + 2);
    return {.address = get<std::uint64_t>(index, kDescriptor + 8),
            .bytes = get<std::uint32_t>(index, kDescriptor + 4),
            .rest = get<std::uint16_t>(index, kDescriptor) | std::uint32_t{flags} << 16};
  }

 private:
  std::vector<std::byte> bytes_;
};

std::uint64_t PackedJournal::bytes_for(std::uint32_t size) {
  return JournalRegion::bytes_for(kEntries, size * kEntryBytes);
}

std::uint64_t PackedJournal::entry(std::uint32_t index) { return kEntries + index * kEntryBytes; }

// Each pair by one store: what is half done is none of it, or all.
void PackedJournal::set_free(std::uint16_t head, std::uint16_t old) {
  free_ = head;
  region_.store(kFree, head | std::uint32_t{old} << 16);
}

void PackedJournal::set_used(std::uint16_t used, std::uint16_t old) {
  used_ = used;
  const std::uint64_t positions =
      (used & kPackedPosition) | std::uint64_t{old & unsigned{kPackedPosition}} << 16;
  region_.store(kUsed, positions | std::uint64_t{used / unsigned{kPackedWrap}} << 32 |
                           std::uint64_t{old / unsigned{kPackedWrap}} << 40);
}

std::uint16_t PackedJournal::begin_at(std::uint16_t used) {
  region_.forget();
  entries_.assign(size_, {});
  for (std::uint16_t i = 0; i < size_; ++i) {
    entries_[i].next = static_cast<std::uint16_t>(i + 1);
    region_.store(entry(i), std::uint8_t{0});
    region_.store(entry(i) + kNext, entries_[i].next);
  }
  set_free(0, 0);
  set_used(used, used);
  region_.begin(size_);
  return used;
}

std::optional<std::uint16_t> PackedJournal::open(const Ring& ring) {
  again_.clear();
  again_descriptors_.clear();
  taking_.reserve(size_);
  next_again_ = 0;
  next_count_ = 0;
  is_again_ = has_forgotten_ = false;
  const JournalRegion::Found found = region_.find(size_);
  if (found == JournalRegion::Found::kAnother) return std::nullopt;
  if (found == JournalRegion::Found::kNothing) return begin_at(ring.used);
  has_forgotten_ = !ring.has_stopped_here && is_of_a_later(ring);
  if (has_forgotten_) return begin_at(ring.used);
  const auto used = settle(ring);
  if (!used) return std::nullopt;
  if (ring.has_stopped_here && *used != ring.used) return begin_at(ring.used);
  const Copy copy(region_, size_);
  std::vector<bool> known(size_);
  entries_.assign(size_, {});
  if (!find_free(copy, known) || !find_requests(copy, ring.size, known)) return std::nullopt;
  has_forgotten_ = !ring.has_stopped_here && is_of_another_beginning(ring);
  if (has_forgotten_) {
    again_.clear();
    return begin_at(ring.used);
  }
  find_lost(known);
  return used;
}

// Where something was used the ring shows it: by a USED flag, be it that of the lap after, or, late
// in a lap of the other sense, by what is left of the lap before while its first descriptor is
// used. A ring without either is a new one, as a driver's that has begun anew.
bool PackedJournal::is_of_a_later(const Ring& ring) const {
  const auto words = region_.load<std::uint64_t>(kUsed);
  const std::uint16_t used = counted(words, words >> 32 & 0xff);
  const std::uint16_t old = counted(words >> 16, words >> 40 & 0xff);
  return used != kPackedWrap && old != kPackedWrap && is_new(ring);
}

// After two laps a ring may look like a new one; what is noted of it then was not the first that
// was ever taken, but where the journal itself has begun in between.
bool PackedJournal::is_of_another_beginning(const Ring& ring) const {
  if (used_ != kPackedWrap || again_.empty() || !is_new(ring)) return false;
  const auto first = ring.descriptor(0);
  if (!first || (first->packed_flags() & kPackedAvailable) == 0) return true;
  for (std::size_t i = 0; i < again_.size(); ++i) {
    if (again_[i].taken != i) return false;
  }
  const Descriptor& noted = again_descriptors_[again_.front().begin];
  return noted.address != first->address || noted.bytes != first->bytes;
}

// A back end that ended while it gave a request back: whether the driver sees it used is in the
// ring. There may be a request of the next lap already, but what is left of the last one has the
// other flag.
std::optional<std::uint16_t> PackedJournal::settle(const Ring& ring) {
  const auto frees = region_.load<std::uint32_t>(kFree);
  const auto words = region_.load<std::uint64_t>(kUsed);
  const auto position = static_cast<std::uint16_t>(words);
  const auto old_position = static_cast<std::uint16_t>(words >> 16);
  if (std::max(position, old_position) >= ring.size) return std::nullopt;
  const std::uint16_t used = counted(position, words >> 32 & 0xff);
  const std::uint16_t old = counted(old_position, words >> 40 & 0xff);
  bool is_seen = false;
  if (used != old) {
    const auto seen = ring.descriptor(old_position);
    if (!seen) return std::nullopt;
    is_seen = ((seen->packed_flags() & kPackedUsed) != 0) == ((old & kPackedWrap) != 0);
  }
  const auto free = static_cast<std::uint16_t>(is_seen ? frees : frees >> 16);
  set_free(free, free);
  set_used(is_seen ? used : old, is_seen ? used : old);
  return used_;
}

// What is free is nobody's, whatever its flag says: taking it, or giving it back, was not
// complete.
bool PackedJournal::find_free(const Copy& copy, std::vector<bool>& known) {
  for (std::uint16_t i = free_; i < size_; i = entries_[i].next) {
    if (known[i]) return false;
    known[i] = true;
    entries_[i].next = copy.get<std::uint16_t>(i, kNext);
    if (copy.get<std::uint8_t>(i, 0) != 0) region_.store(entry(i), std::uint8_t{0});
  }
  return true;
}

bool PackedJournal::find_requests(const Copy& copy, std::uint32_t room, std::vector<bool>& known) {
  for (std::uint16_t head = 0; head < size_; ++head) {
    if (known[head] || copy.get<std::uint8_t>(head, 0) == 0) continue;
    if (!find_request(copy, head, known) || again_descriptors_.size() > room) return false;
  }
  std::sort(again_.begin(), again_.end(), [](const Again& a, const Again& b) {
    return a.taken != b.taken ? a.taken < b.taken : a.entry < b.entry;
  });
  if (!again_.empty()) next_count_ = again_.back().taken + 1;
  return true;
}

bool PackedJournal::find_request(const Copy& copy, std::uint16_t head, std::vector<bool>& known) {
  const auto count = copy.get<std::uint16_t>(head, kLength);
  const auto begin = static_cast<std::uint32_t>(again_descriptors_.size());
  std::uint16_t last = size_;
  for (std::uint16_t i = head; again_descriptors_.size() - begin < count;) {
    if (i >= size_ || known[i]) return false;
    known[i] = true;
    last = i;
    again_descriptors_.push_back(copy.descriptor(i));
    const bool ends = again_descriptors_.size() - begin == count;
    if (((again_descriptors_.back().packed_flags() & kDescriptorNext) == 0) != ends) return false;
    i = entries_[i].next = copy.get<std::uint16_t>(i, kNext);
  }
  if (count == 0 || last != copy.get<std::uint16_t>(head, kLast)) return false;
  entries_[head].last = last;
  entries_[head].count = count;
  again_.push_back({.taken = copy.get<std::uint64_t>(head, kTaken),
                    .entry = head,
                    .begin = begin,
                    .end = begin + count});
  return true;
}

// Of no request, and not free: another back end may have left such.
void PackedJournal::find_lost(const std::vector<bool>& known) {
  for (std::uint16_t i = 0; i < size_; ++i) {
    if (known[i]) continue;
    entries_[i].next = free_;
    region_.store(entry(i) + kNext, free_);
    set_free(i, i);
  }
}

bool PackedJournal::begin_again() {
  if (!has_again()) return false;
  at_again_ = again_[next_again_].begin;
  is_again_ = true;
  return true;
}

bool PackedJournal::next_again(Descriptor& descriptor) {
  if (at_again_ == again_[next_again_].end) return false;
  descriptor = again_descriptors_[at_again_++];
  return true;
}

void PackedJournal::begin() {
  is_again_ = false;
  taking_.clear();
}

void PackedJournal::add(const Descriptor& descriptor) { taking_.push_back(descriptor); }

// A ring has no more descriptors than the journal has entries, nor in requests more than all of
// them. One that is pushed twice by its device may leave too few; it is not noted then.
std::uint16_t PackedJournal::take() {
  if (is_again_) {
    is_again_ = false;
    return again_[next_again_++].entry;
  }
  const std::uint16_t head = free_;
  std::uint16_t last = head;
  std::uint16_t next = head;
  for (const Descriptor& it : taking_) {
    if (next >= size_) return size_;
    std::array<std::byte, kEntryBytes - kDescriptor> bytes{};
    put(bytes, 0, static_cast<std::uint16_t>(it.packed_id()));
    put(bytes, 2, static_cast<std::uint16_t>(it.packed_flags()));
    put(bytes, 4, it.bytes);
    put(bytes, 8, it.address);
    region_.write(entry(next) + kDescriptor, bytes);
    last = next;
    next = entries_[next].next;
  }
  entries_[head].last = last;
  entries_[head].count = static_cast<std::uint16_t>(taking_.size());
  std::array<std::byte, kDescriptor> about{};
  put(about, 0, std::uint8_t{1});
  put(about, kNext, entries_[head].next);
  put(about, kLast, last);
  put(about, kLength, entries_[head].count);
  put(about, kTaken, next_count_++);
  region_.write(entry(head), about);
  set_free(next, next);  // from now on it is taken
  return head;
}

void PackedJournal::giving_back(std::uint16_t head, std::uint16_t used) {
  const std::uint16_t old_used = used_;
  used_ = used;
  has_given_back_ = true;
  if (!is_request(head)) return;
  const std::uint16_t last = entries_[head].last;
  const std::uint16_t old_free = free_;
  entries_[last].next = old_free;
  region_.store(entry(last) + kNext, old_free);
  set_free(head, old_free);
  set_used(used, old_used);
}

void PackedJournal::given_back(std::uint16_t head) {
  if (!is_request(head)) return;
  entries_[head].count = 0;
  region_.store(entry(head), std::uint8_t{0});
  set_free(free_, free_);
  set_used(used_, used_);
}

bool PackedJournal::is_request(std::uint16_t head) const {
  return head < size_ && entries_[head].count != 0;
}

}  // namespace vm_device::internal
