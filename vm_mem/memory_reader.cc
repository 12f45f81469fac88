#include "vm_mem/memory_reader.h"

#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/word_access.h"

namespace vm_mem {

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
    : manager_(&manager), route_(route) {}

const MemoryMap& MemoryReader::map() {
  std::shared_ptr<const MemoryMap>& held = depth_ == 0 ? map_ : nested_;
  if (held == nullptr || held->generation() != manager_->generation()) held = manager_->map();
  return *held;
}

void MemoryReader::park() {
  park_wanted_ = depth_ > 0;
  if (depth_ == 0) map_.reset();
}

template <typename Outermost, typename Nested>
AccessResult MemoryReader::access(Outermost outermost, Nested nested) {
  if (depth_ > 0) return nested();
  const MemoryMap& current = map();
  const Access access(*this);
  return outermost(current);
}

template <typename Outermost, typename Nested>
AccessResult MemoryReader::bulk(Outermost outermost, Nested nested) {
  return access([&](const MemoryMap& map) { return manager_->counted(outermost(map), route_); },
                nested);
}

AccessResult MemoryReader::read(GuestAddress from, std::span<std::byte> to) {
  return bulk([&](const MemoryMap& map) { return internal::read_memory(map, from, to); },
              [&] { return manager_->read(from, to, route_); });
}

AccessResult MemoryReader::write(GuestAddress to, std::span<const std::byte> from) {
  return bulk([&](const MemoryMap& map) { return internal::write_memory(map, to, from); },
              [&] { return manager_->write(to, from, route_); });
}

AccessResult MemoryReader::copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes) {
  return bulk([&](const MemoryMap& map) { return internal::copy_memory(map, to, from, bytes); },
              [&] { return manager_->copy_block(to, from, bytes, route_); });
}

AccessResult MemoryReader::fill_block(GuestAddress to, std::byte value, std::uint64_t bytes) {
  return bulk([&](const MemoryMap& map) { return internal::fill_memory(map, to, value, bytes); },
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
      [&](const MemoryMap& map) { return internal::store_word(map, to, bytes, bits, order); },
      [&] { return manager_->store_bits(to, bytes, bits, order); });
}

}  // namespace vm_mem
