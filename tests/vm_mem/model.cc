#include "tests/vm_mem/model.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace vm_mem {
namespace {

AccessResult finished(std::uint64_t done) { return {.done = done}; }

AccessResult stopped(AccessFault fault, AccessSide side, std::uint64_t done, std::uint64_t start) {
  return {fault, side, false, done, GuestAddress{start + done}};
}

AccessResult result_of(AccessFault fault, AccessSide side, std::uint64_t done,
                       std::uint64_t start) {
  return fault == AccessFault::kNone ? finished(done) : stopped(fault, side, done, start);
}

int order_of(const std::uint8_t* a, const std::uint8_t* b, std::uint64_t bytes) {
  const int order = std::memcmp(a, b, bytes);
  return (order > 0) - (order < 0);
}

unsigned element(std::uint64_t address, std::uint64_t left) {
  for (const unsigned size : {8u, 4u, 2u}) {
    if (address % size == 0 && size <= left) return size;
  }
  return 1;
}

}  // namespace

bool Model::is_free(std::uint64_t begin, std::uint64_t bytes) const {
  return std::none_of(regions_.begin(), regions_.end(), [=](const auto& entry) {
    return begin <= entry.second.last() && entry.second.begin <= begin + (bytes - 1);
  });
}

const ModelRegion* Model::at(std::uint64_t address) const {
  const auto holds = [address](const ModelRegion& region) {
    return address >= region.begin && address <= region.last();
  };
  if (found_ != nullptr && holds(*found_)) return found_;
  for (const auto& [key, region] : regions_) {
    if (holds(region)) return found_ = &region;
  }
  return nullptr;
}

bool Model::is_lost(std::uint64_t address) const {
  const ModelRegion& region = *at(address);
  if (region.backing == nullptr) return false;
  return region.backing->lost_pages.contains((region.offset + (address - region.begin)) / 4096);
}

bool Model::meets_lost(std::uint64_t at, std::uint64_t bytes) const {
  for (std::uint64_t i = 0; i < bytes; i += run_at(at + i, bytes - i)) {
    if (is_lost(at + i)) return true;
  }
  return false;
}

std::uint64_t Model::run_at(std::uint64_t address, std::uint64_t left) const {
  const ModelRegion& region = *at(address);
  const std::uint64_t offset = region.offset + (address - region.begin);
  return std::min({left, region.last() - address + 1, 4096 - offset % 4096});
}

Model::Prefix Model::permitted(std::uint64_t address, std::uint64_t bytes, Use use) const {
  for (std::uint64_t i = 0; i < bytes; i += run_at(address + i, bytes - i)) {
    const ModelRegion* region = address + i < address ? nullptr : at(address + i);
    if (region == nullptr) return {i, AccessFault::kUnmapped};
    if (region->protection == Protection::kNone) return {i, AccessFault::kProtected};
    if (use == Use::kWrite && region->protection == Protection::kRead) {
      return {i, AccessFault::kReadOnly};
    }
  }
  return {bytes, AccessFault::kNone};
}

std::uint8_t* Model::memory(std::uint64_t address) const {
  const ModelRegion& region = *at(address);
  return &region.backing->bytes[region.offset + (address - region.begin)];
}

// Within one run.
void Model::store_bytes(std::uint64_t to, const std::uint8_t* from, std::uint64_t bytes) {
  const ModelRegion& region = *at(to);
  std::copy_n(from, bytes, memory(to));
  region.backing->dirty_pages.insert((region.offset + (to - region.begin)) / 4096);
}

// A device's value is little-endian in memory, as the hosts that run this are.
AccessFault Model::read_element(std::uint64_t from, unsigned size, std::uint8_t* to) {
  const ModelRegion& region = *at(from);
  std::uint64_t value = 0;
  const AccessFault fault =
      region.device->mmio_read(region.offset + (from - region.begin), size, value);
  if (fault == AccessFault::kNone) std::memcpy(to, &value, size);
  return fault;
}

AccessFault Model::write_element(std::uint64_t to, unsigned size, const std::uint8_t* from) {
  const ModelRegion& region = *at(to);
  std::uint64_t value = 0;
  std::memcpy(&value, from, size);
  return region.device->mmio_write(region.offset + (to - region.begin), size, value);
}

AccessResult Model::read(std::uint64_t from, std::vector<std::uint8_t>& to) {
  const Prefix prefix = permitted(from, to.size(), Use::kRead);
  for (std::uint64_t i = 0; i < prefix.bytes;) {
    if (!is_device(from + i)) {
      if (is_lost(from + i)) return stopped(AccessFault::kHostFault, AccessSide::kSource, i, from);
      const std::uint64_t run = run_at(from + i, prefix.bytes - i);
      std::copy_n(memory(from + i), run, &to[i]);
      i += run;
      continue;
    }
    const unsigned size = element(from + i, prefix.bytes - i);
    const AccessFault fault = read_element(from + i, size, &to[i]);
    if (fault != AccessFault::kNone) return stopped(fault, AccessSide::kSource, i, from);
    i += size;
  }
  return result_of(prefix.fault, AccessSide::kSource, prefix.bytes, from);
}

AccessResult Model::write(std::uint64_t to, const std::vector<std::uint8_t>& from) {
  const Prefix prefix = permitted(to, from.size(), Use::kWrite);
  for (std::uint64_t i = 0; i < prefix.bytes;) {
    if (!is_device(to + i)) {
      if (is_lost(to + i)) return stopped(AccessFault::kHostFault, AccessSide::kDestination, i, to);
      const std::uint64_t run = run_at(to + i, prefix.bytes - i);
      store_bytes(to + i, &from[i], run);
      i += run;
      continue;
    }
    const unsigned size = element(to + i, prefix.bytes - i);
    const AccessFault fault = write_element(to + i, size, &from[i]);
    if (fault != AccessFault::kNone) return stopped(fault, AccessSide::kDestination, i, to);
    i += size;
  }
  return result_of(prefix.fault, AccessSide::kDestination, prefix.bytes, to);
}

AccessResult Model::fill(std::uint64_t to, std::uint8_t value, std::uint64_t bytes) {
  return write(to, std::vector<std::uint8_t>(bytes, value));
}

unsigned Model::shared_element(std::uint64_t to, std::uint64_t from, std::uint64_t left) const {
  for (const unsigned size : {8u, 4u, 2u}) {
    if (size > left) continue;
    if (is_device(to) && to % size != 0) continue;
    if (is_device(from) && from % size != 0) continue;
    bool uniform = true;
    for (unsigned i = 0; i < size; ++i) {
      uniform =
          uniform && is_device(to + i) == is_device(to) && is_device(from + i) == is_device(from);
    }
    const bool in_bytes = !is_device(to) && !is_device(from) && uniform &&
                          (meets_lost(to, size) || meets_lost(from, size));
    if (uniform && !in_bytes) return size;
  }
  return 1;
}

bool Model::overwrites_own_source(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) const {
  std::set<const std::uint8_t*> written;
  for (std::uint64_t i = 0; i < bytes; ++i) {
    if (!is_device(from + i) && written.contains(memory(from + i))) return true;
    if (!is_device(to + i)) written.insert(memory(to + i));
  }
  return false;
}

// From the last byte down: as if all had been read before, and written in order of address.
bool Model::descends_well(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) const {
  std::set<const std::uint8_t*> written;
  for (std::uint64_t i = bytes; i-- > 0;) {
    if (written.contains(memory(from + i)) || written.contains(memory(to + i))) return false;
    written.insert(memory(to + i));
  }
  return true;
}

bool Model::meets_device(std::uint64_t at, std::uint64_t bytes) const {
  for (std::uint64_t i = 0; i < bytes; i += run_at(at + i, bytes - i)) {
    if (is_device(at + i)) return true;
  }
  return false;
}

AccessResult Model::copy_elements(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
  for (std::uint64_t i = 0; i < bytes;) {
    const unsigned size = shared_element(to + i, from + i, bytes - i);
    std::vector<std::uint8_t> element(size);
    const AccessResult in = load(from + i, element);
    if (!in.ok()) return stopped(in.fault, AccessSide::kSource, i, from);
    const AccessResult out = store(to + i, element);
    if (!out.ok()) return stopped(out.fault, AccessSide::kDestination, i + out.done, to);
    i += size;
  }
  return finished(bytes);
}

AccessResult Model::copy_descending(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
  for (std::uint64_t i = bytes; i-- > 0;) {
    const bool source = is_lost(from + i);
    if (source || is_lost(to + i)) {
      return {AccessFault::kHostFault, source ? AccessSide::kSource : AccessSide::kDestination,
              true, bytes - 1 - i, GuestAddress{(source ? from : to) + i}};
    }
    const std::uint8_t byte = *memory(from + i);
    store_bytes(to + i, &byte, 1);
  }
  return finished(bytes);
}

AccessResult Model::copy_buffered(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
  std::vector<std::uint8_t> buffer(bytes);
  const AccessResult in = read(from, buffer);
  buffer.resize(in.done);
  const AccessResult out = write(to, buffer);
  return out.ok() ? result_of(in.fault, AccessSide::kSource, in.done, from) : out;
}

// Of `bytes`, those that the map permits. In which order matters only where they meet a
// device, or pages that are lost.
AccessResult Model::copy_permitted(std::uint64_t to, std::uint64_t from, std::uint64_t prefix,
                                   std::uint64_t bytes) {
  const bool devices = meets_device(to, prefix) || meets_device(from, prefix);
  if (!devices && !meets_lost(to, prefix) && !meets_lost(from, prefix)) {
    return copy_buffered(to, from, prefix);
  }
  if (!overwrites_own_source(to, from, prefix)) return copy_elements(to, from, prefix);
  if (devices || prefix < bytes || !descends_well(to, from, prefix)) {
    return copy_buffered(to, from, prefix);
  }
  return copy_descending(to, from, prefix);
}

AccessResult Model::copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes) {
  const Prefix source = permitted(from, bytes, Use::kRead);
  const Prefix destination = permitted(to, bytes, Use::kWrite);
  const std::uint64_t prefix = std::min(source.bytes, destination.bytes);
  const AccessResult moved = copy_permitted(to, from, prefix, bytes);
  if (!moved.ok()) return moved;
  if (destination.bytes < source.bytes) {
    return stopped(destination.fault, AccessSide::kDestination, prefix, to);
  }
  return result_of(source.fault, AccessSide::kSource, prefix, from);
}

AccessResult Model::compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes, int& order) {
  const Prefix of_a = permitted(a, bytes, Use::kRead);
  const Prefix of_b = permitted(b, bytes, Use::kRead);
  const std::uint64_t prefix = std::min(of_a.bytes, of_b.bytes);
  order = 0;
  for (std::uint64_t i = 0; i < prefix;) {
    if (!is_device(a + i) && !is_device(b + i)) {
      const std::uint64_t run = run_at(b + i, run_at(a + i, prefix - i));
      if (order == 0 && (is_lost(a + i) || is_lost(b + i))) {
        return is_lost(b + i) ? stopped(AccessFault::kHostFault, AccessSide::kSource, i, b)
                              : stopped(AccessFault::kHostFault, AccessSide::kDestination, i, a);
      }
      if (order == 0) order = order_of(memory(a + i), memory(b + i), run);
      i += run;
      continue;
    }
    const unsigned size = shared_element(a + i, b + i, prefix - i);
    std::vector<std::uint8_t> left(size);
    std::vector<std::uint8_t> right(size);
    const AccessResult from_a = load(a + i, left);
    if (!from_a.ok()) return stopped(from_a.fault, AccessSide::kDestination, i, a);
    const AccessResult from_b = load(b + i, right);
    if (!from_b.ok()) return stopped(from_b.fault, AccessSide::kSource, i, b);
    if (order == 0 && left != right) order = left < right ? -1 : 1;
    i += size;
  }
  if (of_a.bytes < of_b.bytes) return stopped(of_a.fault, AccessSide::kDestination, prefix, a);
  return result_of(of_b.fault, AccessSide::kSource, prefix, b);
}

AccessResult Model::load(std::uint64_t from, std::vector<std::uint8_t>& word) {
  const Prefix prefix = permitted(from, word.size(), Use::kRead);
  if (prefix.fault == AccessFault::kNone) return read(from, word);
  return {prefix.fault, AccessSide::kSource, false, 0, GuestAddress{from + prefix.bytes}};
}

AccessResult Model::store(std::uint64_t to, const std::vector<std::uint8_t>& word) {
  const Prefix prefix = permitted(to, word.size(), Use::kWrite);
  if (prefix.fault == AccessFault::kNone) return write(to, word);
  return {prefix.fault, AccessSide::kDestination, false, 0, GuestAddress{to + prefix.bytes}};
}

AccessResult Model::check_modify(std::uint64_t at, unsigned bytes) const {
  if (at % bytes != 0) return stopped(AccessFault::kMisaligned, AccessSide::kDestination, 0, at);
  const Prefix prefix = permitted(at, bytes, Use::kWrite);
  if (prefix.fault != AccessFault::kNone) {
    return stopped(prefix.fault, AccessSide::kDestination, 0, at);
  }
  if (is_device(at)) return stopped(AccessFault::kProtected, AccessSide::kDestination, 0, at);
  if (is_lost(at)) return stopped(AccessFault::kHostFault, AccessSide::kDestination, 0, at);
  return finished(bytes);
}

}  // namespace vm_mem
