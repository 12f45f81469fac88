#include "vm_mem/memory_map.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace vm_mem {
namespace {

bool shows_memory_twice(const std::vector<MapSection>& sections) {
  std::vector<std::pair<const std::byte*, const std::byte*>> windows;
  for (const MapSection& section : sections) {
    if (section.host == nullptr) continue;
    windows.emplace_back(section.host, section.host + section.range.bytes());
  }
  std::sort(windows.begin(), windows.end());
  const auto overlap = std::adjacent_find(
      windows.begin(), windows.end(),
      [](const auto& left, const auto& right) { return right.first < left.second; });
  return overlap != windows.end();
}

}  // namespace

MemoryMap::MemoryMap(std::vector<MapSection> sections, std::uint64_t generation,
                     const MemoryMap* previous)
    : sections_(std::move(sections)),
      granules_(sections_, previous == nullptr ? nullptr : &previous->granules_),
      generation_(generation),
      has_aliases_(shows_memory_twice(sections_)) {}

const MapSection* MemoryMap::find(GuestAddress address) const {
  auto after = std::upper_bound(
      sections_.begin(), sections_.end(), address,
      [](GuestAddress at, const MapSection& section) { return at < section.range.begin(); });
  if (after == sections_.begin()) return nullptr;
  const MapSection& candidate = *std::prev(after);
  return candidate.range.contains(address) ? &candidate : nullptr;
}

const MapSection* MemoryMap::next(const MapSection& section) const {
  const MapSection* following = &section + 1;
  if (following == sections_.data() + sections_.size()) return nullptr;
  return following->range.begin() == section.range.end() ? following : nullptr;
}

}  // namespace vm_mem
