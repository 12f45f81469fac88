#include "tests/vm_mem/fuzz/map_model.h"

#include <algorithm>

namespace vm_mem {
namespace {

using absl::StatusCode;

// Names for what StatusCode calls the causes.
constexpr StatusCode kBadNumbers = StatusCode::kInvalidArgument;
constexpr StatusCode kOverlap = StatusCode::kAlreadyExists;
constexpr StatusCode kInUse = StatusCode::kFailedPrecondition;

bool is_page_multiple(std::uint64_t bytes) { return bytes % 4096 == 0; }

}  // namespace

std::optional<Seen> MapModel::see(std::uint64_t container, std::uint64_t address) const {
  std::optional<Seen> best;
  int best_priority = 0;
  for (const auto& [key, node] : nodes_) {
    if (node.container != container || node.enabled == Enabled::kNo) continue;
    if (address < node.begin || address >= node.end()) continue;
    if (best && node.priority < best_priority) continue;
    const std::optional<Seen> seen = see_in(key, address - node.begin);
    if (!seen) continue;
    best = seen;
    best_priority = node.priority;
  }
  return best;
}

std::optional<Seen> MapModel::see_in(std::uint64_t key, std::uint64_t offset) const {
  const MapNode& node = nodes_.at(key);
  std::optional<Seen> seen = Seen{key, offset, node.protection, key};
  if (node.type == RegionType::kAlias) {
    seen = see_in(node.target, node.offset + offset);
    if (seen) seen->window = key;
  }
  if (node.type == RegionType::kContainer) seen = see(key, offset);
  if (seen) seen->protection = std::min(seen->protection, node.protection);
  return seen;
}

// By holding, or by showing.
bool MapModel::reaches(std::uint64_t from, std::uint64_t to) const {
  if (from == to) return true;
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
    const auto& [key, node] = entry;
    return node.container == from &&
           reaches(node.type == RegionType::kAlias ? node.target : key, to);
  });
}

bool MapModel::meets_a_peer(std::uint64_t key, const MapNode& node) const {
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
    const MapNode& peer = entry.second;
    return entry.first != key && peer.enabled == Enabled::kYes &&
           peer.container == node.container && peer.priority == node.priority &&
           peer.begin < node.end() && node.begin < peer.end();
  });
}

Codes MapModel::refuse_add(const MapNode& node) const {
  Codes codes;
  if (node.bytes == 0 || !is_page_multiple(node.begin) || !is_page_multiple(node.bytes)) {
    codes.insert(kBadNumbers);
  }
  const auto container = nodes_.find(node.container);
  if (node.container != 0 && container == nodes_.end()) codes.insert(StatusCode::kNotFound);
  if (container != nodes_.end() && container->second.type != RegionType::kContainer) {
    codes.insert(kBadNumbers);
  }
  if (meets_a_peer(0, node)) codes.insert(kOverlap);
  return codes;
}

Codes MapModel::refuse_alias(MapNode& alias) const {
  Codes codes = refuse_add(alias);
  if (alias.target == 0) return codes.insert(kBadNumbers), codes;
  const auto named = nodes_.find(alias.target);
  if (named == nodes_.end()) return codes.insert(StatusCode::kNotFound), codes;
  if (!is_page_multiple(alias.offset) || alias.offset + alias.bytes > named->second.bytes) {
    codes.insert(kBadNumbers);
  }
  if (named->second.type == RegionType::kAlias) {
    alias.target = named->second.target;
    alias.offset += named->second.offset;
  }
  if (reaches(alias.target, alias.container)) codes.insert(kBadNumbers);
  return codes;
}

Codes MapModel::refuse_remove(std::uint64_t key) const {
  const bool used = std::any_of(nodes_.begin(), nodes_.end(), [key](const auto& entry) {
    return entry.second.container == key || entry.second.target == key;
  });
  return used ? Codes{kInUse} : Codes{};
}

Codes MapModel::refuse_enable(std::uint64_t key, Enabled enabled) const {
  const bool meets = enabled == Enabled::kYes && meets_a_peer(key, nodes_.at(key));
  return meets ? Codes{kOverlap} : Codes{};
}

Codes MapModel::refuse_protection(std::uint64_t key, Protection protection) const {
  const bool opens_rom =
      nodes_.at(key).type == RegionType::kRom && protection == Protection::kReadWrite;
  return opens_rom ? Codes{kBadNumbers} : Codes{};
}

Codes MapModel::refuse_move(std::uint64_t key, std::uint64_t begin) const {
  MapNode moved = nodes_.at(key);
  if (begin > UINT64_MAX - moved.bytes || !is_page_multiple(begin)) return {kBadNumbers};
  moved.begin = begin;
  const bool meets = moved.enabled == Enabled::kYes && meets_a_peer(key, moved);
  return meets ? Codes{kOverlap} : Codes{};
}

Codes MapModel::refuse_resize(std::uint64_t key, std::uint64_t bytes) const {
  MapNode sized = nodes_.at(key);
  Codes codes;
  if (sized.begin > UINT64_MAX - bytes) return {kBadNumbers};
  sized.bytes = bytes;
  if (bytes == 0 || !is_page_multiple(bytes)) codes.insert(kBadNumbers);
  if (sized.capacity != 0 && bytes > sized.capacity) codes.insert(kBadNumbers);
  if (sized.type == RegionType::kAlias && sized.offset + bytes > nodes_.at(sized.target).bytes) {
    codes.insert(kBadNumbers);
  }
  for (const auto& [other, node] : nodes_) {
    if (node.type == RegionType::kAlias && node.target == key && node.offset + node.bytes > bytes) {
      codes.insert(kInUse);
    }
  }
  if (sized.enabled == Enabled::kYes && meets_a_peer(key, sized)) codes.insert(kOverlap);
  return codes;
}

}  // namespace vm_mem
