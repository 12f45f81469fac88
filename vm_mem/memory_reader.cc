#include "vm_mem/memory_reader.h"

#include <algorithm>

#include "vm_mem/dirty_log.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/copy_path.h"
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/internal/word_access.h"

namespace vm_mem {
namespace {

void mark(const MapSlot& slot, std::uint64_t offset, std::uint64_t bytes, WriteCause cause) {
  if (slot.dirty_log != nullptr) slot.dirty_log->mark(slot.region_offset + offset, bytes, cause);
}

void add(std::atomic<std::uint64_t>& own, std::uint64_t amount) {
  own.store(own.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

// An access in progress walks the map that it began with, so a device that comes back
// to this reader from inside it is served from another one.
class MemoryReader::Access {
 public:
  explicit Access(MemoryReader& reader) : reader_(reader) { ++reader_.depth_; }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
  ~Access() {
    if (--reader_.depth_ > 0) return;
    reader_.nested_.reset();
    if (reader_.park_wanted_) reader_.park();
  }

 private:
  MemoryReader& reader_;
};

MemoryReader::MemoryReader(MemoryManager& manager, Route route)
    : manager_(&manager), route_(route) {
  internal::copy_state();  // for ready_copy_path()
  manager_->state_->readers().add(this);
}

MemoryReader::~MemoryReader() { manager_->state_->readers().remove(this); }

// The manager changes its generation, then takes the index away; this does the opposite,
// so one of the two sees the other. A map that is newer than the generation is taken
// away once more, for nothing.
void MemoryReader::renew() {
  changes_.fetch_add(1);
  recent_index_ = nullptr;
  do {
    map_ = manager_->map();
    index_.store(&map_->granules().index());
  } while (map_->generation() < manager_->generation_.load());
}

const MemoryMap& MemoryReader::map() {
  if (depth_ == 0) {
    if (index_.load(std::memory_order_acquire) == &GranuleTable::nowhere()) renew();
    return *map_;
  }
  if (nested_ == nullptr || nested_->generation() != manager_->generation()) {
    nested_ = manager_->map();
  }
  return *nested_;
}

void MemoryReader::park() {
  park_wanted_ = depth_ > 0;
  if (depth_ > 0) return;
  index_.store(&GranuleTable::nowhere(), std::memory_order_relaxed);
  changes_.fetch_add(1);
  map_.reset();
}

[[gnu::always_inline]] inline void MemoryReader::count(Counts& counts, std::uint64_t bytes) {
  Count& own = counts[static_cast<std::size_t>(internal::ready_copy_path(bytes))];
  add(own.operations, 1);
  add(own.bytes, bytes);
}

void MemoryReader::count_copy(std::uint64_t bytes) { count(counts_, bytes); }

template <typename Outermost, typename Nested>
AccessResult MemoryReader::access(Outermost outermost, Nested nested) {
  if (depth_ > 0) return nested();
  const MemoryMap& current = map();
  const Access access(*this);
  return outermost(current);
}

template <typename Outermost, typename Nested>
AccessResult MemoryReader::bulk(Outermost outermost, Nested nested) {
  const auto counted = [&](const MemoryMap& map) {
    const AccessResult result = outermost(map);
    count(counts_, result.done);
    return result;
  };
  return access(counted, nested);
}

void MemoryReader::mark_word(const MapSlot& slot, GuestAddress at, unsigned bytes) const {
  mark(slot, at.value - slot.begin, bytes, stores());
}

void MemoryReader::mark_block(const MapSlot& slot, std::uint64_t offset,
                              std::uint64_t bytes) const {
  mark(slot, offset, bytes, copies());
}

void MemoryReader::mark_recent(GuestAddress at, std::uint64_t bytes) const {
  const MapSlot& slot = recent_slot_at(at);
  mark_block(slot, at.value - slot.begin, bytes);
}

void MemoryReader::copy_out(std::byte* to, const std::byte* guest, std::size_t bytes,
                            Counts& counts) {
  if (bytes > kUncountedBytes) [[unlikely]]
    count(counts, bytes);
  copy_from_guest(to, guest, bytes);
}

void MemoryReader::copy_in(std::byte* guest, const std::byte* from, std::size_t bytes,
                           Counts& counts) {
  if (bytes > kUncountedBytes) [[unlikely]]
    count(counts, bytes);
  copy_to_guest(guest, from, bytes);
}

void MemoryReader::remember(const BlockIndex& index, GuestAddress at, const MapSlot& slot) {
  const bool same_map = recent_index_ == &index;
  if (same_map && recent_slot_at(at).begin == slot.begin) return;
  recent_[1] = same_map ? recent_[0] : RecentSlot{};
  recent_[0] = RecentSlot{slot};
  recent_index_ = &index;
}

bool MemoryReader::find_and_read(GuestAddress from, std::span<std::byte> to) {
  const BlockIndex& index = *index_.load(std::memory_order_acquire);
  const MapSlot& slot = index.slot_at(from.value);
  const std::uint64_t offset = from.value - slot.begin;
  if (!slot.loads(offset, to.size())) return false;
  remember(index, from, slot);
  copy_out(to.data(), slot.host + offset, to.size(), counts_);
  return true;
}

bool MemoryReader::find_and_write(GuestAddress to, std::span<const std::byte> from) {
  const BlockIndex& index = *index_.load(std::memory_order_acquire);
  const MapSlot& slot = index.slot_at(to.value);
  const std::uint64_t offset = to.value - slot.begin;
  if (from.empty() || !slot.stores(offset, from.size())) return false;
  remember(index, to, slot);
  copy_in(slot.host + offset, from.data(), from.size(), counts_);
  if (!slot.are_marked(offset, from.size() - 1)) mark_block(slot, offset, from.size());
  return true;
}

AccessResult MemoryReader::read_sections(GuestAddress from, std::span<std::byte> to) {
  return bulk([&](const MemoryMap& map) { return internal::read_memory(map, from, to); },
              [&] { return manager_->read(from, to, route_); });
}

AccessResult MemoryReader::write_sections(GuestAddress to, std::span<const std::byte> from) {
  return bulk([&](const MemoryMap& map) { return internal::write_memory(map, to, from, copies()); },
              [&] { return manager_->write(to, from, route_); });
}

AccessResult MemoryReader::copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes) {
  const MapSlot& source = slot_at(from);
  const MapSlot& destination = slot_at(to);
  const std::uint64_t source_offset = from.value - source.begin;
  const std::uint64_t offset = to.value - destination.begin;
  if (source.loads(source_offset, bytes) && destination.stores(offset, bytes)) [[likely]] {
    copy_within_guest(destination.host + offset, source.host + source_offset, bytes);
    mark_block(destination, offset, bytes);
    count(counts_, bytes);
    return {.done = bytes};
  }
  return bulk(
      [&](const MemoryMap& map) { return internal::copy_memory(map, to, from, bytes, copies()); },
      [&] { return manager_->copy_block(to, from, bytes, route_); });
}

AccessResult MemoryReader::fill_block(GuestAddress to, std::byte value, std::uint64_t bytes) {
  const MapSlot& slot = slot_at(to);
  const std::uint64_t offset = to.value - slot.begin;
  if (slot.stores(offset, bytes)) [[likely]] {
    fill_guest(slot.host + offset, value, bytes);
    mark_block(slot, offset, bytes);
    count(counts_, bytes);
    return {.done = bytes};
  }
  return bulk(
      [&](const MemoryMap& map) { return internal::fill_memory(map, to, value, bytes, copies()); },
      [&] { return manager_->fill_block(to, value, bytes, route_); });
}

AccessResult MemoryReader::compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes,
                                         int& order) {
  return bulk(
      [&](const MemoryMap& map) { return internal::compare_memory(map, a, b, bytes, order); },
      [&] { return manager_->compare_block(a, b, bytes, order, route_); });
}

AccessResult MemoryReader::load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                                     std::memory_order order) {
  return access(
      [&](const MemoryMap& map) { return internal::load_word(map, from, bytes, bits, order); },
      [&] { return manager_->load_bits(from, bytes, bits, order); });
}

AccessResult MemoryReader::store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                                      std::memory_order order) {
  return access(
      [&](const MemoryMap& map) {
        return internal::store_word(map, to, bytes, bits, order, stores());
      },
      [&] { return manager_->store_bits(to, bytes, bits, order); });
}

AccessResult MemoryReader::modify_bits(GuestAddress at, unsigned bytes, WordOperation operation,
                                       std::uint64_t operand, std::uint64_t& previous,
                                       std::memory_order order) {
  return access(
      [&](const MemoryMap& map) {
        return internal::modify_word(map, at, bytes, operation, operand, previous, stores());
      },
      [&] { return manager_->modify_bits(at, bytes, operation, operand, previous, order); });
}

AccessResult MemoryReader::compare_exchange_bits(GuestAddress at, unsigned bytes,
                                                 std::uint64_t& expected, std::uint64_t desired,
                                                 bool& exchanged, std::memory_order order) {
  return access(
      [&](const MemoryMap& map) {
        return internal::compare_exchange_word(map, at, bytes, expected, desired, exchanged,
                                               stores());
      },
      [&] {
        return manager_->compare_exchange_bits(at, bytes, expected, desired, exchanged, order);
      });
}

}  // namespace vm_mem
