#include "vm_mem/internal/flatten.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/region_text.h"

namespace vm_mem::internal {
namespace {

using Child = RegionTree::Child;

// Guest addresses that nothing has been found for yet.
struct Gap {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
using Gaps = std::vector<Gap>;

// How a region is reached: `base` is the guest address of its first byte. Modulo 2^64 it
// may lie before 0, where a window shows only what comes later: so addresses are compared
// inside a region, never outside.
struct View {
  std::uint64_t base = 0;
  const RegionNode* window = nullptr;  // the outermost alias
  Protection protection = Protection::kReadWrite;
  int depth = 0;

  View of(std::uint64_t offset, const RegionNode& node) const {
    return {base + offset, window, std::min(protection, node.protection), depth + 1};
  }
};

struct Piece {
  Gap at;
  const RegionNode* node = nullptr;
  View view;

  std::uint64_t offset() const { return at.begin - view.base; }
  bool continued_by(const Piece& next) const {
    return at.end == next.at.begin && node == next.node && view.base == next.view.base &&
           view.window == next.view.window && view.protection == next.view.protection;
  }
};

class Flattener {
 public:
  Flattener(const RegionTree& tree, std::size_t max_sections)
      : tree_(tree),
        max_sections_(max_sections),
        visits_left_(4 * (max_sections + tree.nodes().size()) + 64) {}

  absl::StatusOr<std::vector<MapSection>> run();

 private:
  Gaps show_container(RegionId container, const View& view, Gaps gaps);
  void show_level(std::span<const Child> level, const View& view, Gaps& gaps);
  Gaps show_level_in(std::span<const Child> level, const View& view, std::span<const Gap> gaps);
  void show(const RegionNode& node, const View& view, Gap gap, Gaps& left);
  void show_alias(const RegionNode& alias, const View& view, Gap gap, Gaps& left);
  bool visit(const View& view);
  void merge();
  MapSection section_of(const Piece& piece);
  std::shared_ptr<const SectionOwner> owner_of(const Piece& piece);

  const RegionTree& tree_;
  std::size_t max_sections_;
  std::size_t visits_left_;
  bool too_many_ = false;
  bool too_deep_ = false;
  std::vector<Piece> pieces_;
};

// Keeps both regions of a section that an alias shows.
struct WindowOwner : SectionOwner {
  explicit WindowOwner(const Piece& piece)
      : SectionOwner{piece.node->region.get(), piece.view.window->region.get()},
        shown_region(piece.node->region),
        window_region(piece.view.window->region) {}
  std::shared_ptr<Region> shown_region;
  std::shared_ptr<Region> window_region;
};

RegionKind kind_of(RegionType type) {
  if (type == RegionType::kRam) return RegionKind::kRam;
  return type == RegionType::kRom ? RegionKind::kRom : RegionKind::kMmio;
}

// The part of `level` that begins with the first child that ends above `begin`.
std::span<const Child> above(std::span<const Child> level, std::uint64_t begin) {
  const auto first = std::partition_point(
      level.begin(), level.end(), [begin](const Child& child) { return child.end <= begin; });
  return {first, level.end()};
}

bool Flattener::visit(const View& view) {
  too_deep_ = too_deep_ || view.depth > kMaxRegionDepth;
  too_many_ = too_many_ || visits_left_ == 0;
  if (too_deep_ || too_many_) return false;
  --visits_left_;
  return true;
}

Gaps Flattener::show_container(RegionId container, const View& view, Gaps gaps) {
  std::span<const Child> rest = tree_.children(container);
  while (!rest.empty() && !gaps.empty() && visit(view)) {
    const int priority = rest.front().priority;
    const auto end = std::partition_point(rest.begin(), rest.end(), [priority](const Child& child) {
      return child.priority == priority;
    });
    show_level({rest.begin(), end}, view, gaps);
    rest = {end, rest.end()};
  }
  return gaps;
}

// Only the gaps that the level reaches are touched: many levels stay cheap.
void Flattener::show_level(std::span<const Child> level, const View& view, Gaps& gaps) {
  const std::uint64_t begin = level.front().begin;
  const std::uint64_t end = level.back().end;
  const auto first = std::partition_point(
      gaps.begin(), gaps.end(), [&](const Gap& gap) { return gap.end - view.base <= begin; });
  const auto last = std::partition_point(
      first, gaps.end(), [&](const Gap& gap) { return gap.begin - view.base < end; });
  if (first == last) return;
  const Gaps left = show_level_in(level, view, {first, last});
  const auto kept = std::min(left.size(), static_cast<std::size_t>(last - first));
  const auto middle = static_cast<std::ptrdiff_t>(kept);
  std::copy_n(left.begin(), kept, first);
  const auto tail = gaps.erase(first + middle, last);
  gaps.insert(tail, left.begin() + middle, left.end());
}

Gaps Flattener::show_level_in(std::span<const Child> level, const View& view,
                              std::span<const Gap> gaps) {
  Gaps left;
  for (const Gap& gap : gaps) {
    std::uint64_t reached = gap.begin;
    level = above(level, gap.begin - view.base);
    for (const Child& child : level) {
      if (child.begin >= gap.end - view.base || !visit(view)) break;
      const Gap part{std::max(reached - view.base, child.begin) + view.base,
                     std::min(gap.end - view.base, child.end) + view.base};
      if (reached < part.begin) left.push_back({reached, part.begin});
      const RegionNode& node = tree_.node(child);
      show(node, view.of(child.begin, node), part, left);
      reached = part.end;
    }
    if (reached < gap.end) left.push_back({reached, gap.end});
  }
  return left;
}

void Flattener::show(const RegionNode& node, const View& view, Gap gap, Gaps& left) {
  switch (node.type) {
    case RegionType::kAlias: return show_alias(node, view, gap, left);
    case RegionType::kContainer: {
      const Gaps seen_through = show_container(node.id, view, {gap});
      left.insert(left.end(), seen_through.begin(), seen_through.end());
      return;
    }
    default: pieces_.push_back({gap, &node, view});
  }
}

void Flattener::show_alias(const RegionNode& alias, const View& view, Gap gap, Gaps& left) {
  const RegionNode& target = **tree_.find(alias.target);
  View through = view.of(std::uint64_t{0} - alias.target_offset, target);
  if (through.window == nullptr) through.window = &alias;
  show(target, through, gap, left);
}

void Flattener::merge() {
  const auto by_address = [](const Piece& left, const Piece& right) {
    return left.at.begin < right.at.begin;
  };
  if (!std::is_sorted(pieces_.begin(), pieces_.end(), by_address)) {
    std::sort(pieces_.begin(), pieces_.end(), by_address);
  }
  std::size_t kept = 0;
  for (std::size_t i = 1; i < pieces_.size(); ++i) {
    if (pieces_[kept].continued_by(pieces_[i])) {
      pieces_[kept].at.end = pieces_[i].at.end;
    } else {
      pieces_[++kept] = pieces_[i];
    }
  }
  if (!pieces_.empty()) pieces_.resize(kept + 1);
}

std::shared_ptr<const SectionOwner> Flattener::owner_of(const Piece& piece) {
  if (piece.view.window == nullptr) return piece.node->region;
  return std::make_shared<const WindowOwner>(piece);
}

MapSection Flattener::section_of(const Piece& piece) {
  const Region& region = *piece.node->region;
  MapSection section;
  section.range = *GuestRange::make(GuestAddress{piece.at.begin}, piece.at.end - piece.at.begin);
  section.region = piece.view.window == nullptr ? piece.node->id : piece.view.window->id;
  section.shown = piece.node->id;
  section.kind = kind_of(piece.node->type);
  section.protection = piece.view.protection;
  section.recoverable = region.recoverable;
  section.region_offset = piece.offset();
  if (region.mapping) section.host = region.mapping->bytes().data() + piece.offset();
  section.handler = region.handler;
  section.dirty_tracked = piece.node->dirty_tracking == DirtyTracking::kOn;
  if (section.dirty_tracked || region.write_watch.load() != nullptr) {
    section.dirty_log = region.dirty_log.load();
  }
  section.owner = owner_of(piece);
  return section;
}

absl::StatusOr<std::vector<MapSection>> Flattener::run() {
  pieces_.reserve(tree_.nodes().size());
  show_container(kRootContainer, View{}, {Gap{0, UINT64_MAX}});
  if (too_deep_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("containers and aliases lie more than 0x%x deep", kMaxRegionDepth));
  }
  merge();
  if (too_many_ || pieces_.size() > max_sections_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the regions would show as more than 0x%x sections", max_sections_));
  }
  std::vector<MapSection> sections;
  sections.reserve(pieces_.size());
  for (const Piece& piece : pieces_) sections.push_back(section_of(piece));
  return sections;
}

}  // namespace

absl::StatusOr<std::vector<MapSection>> flatten(const RegionTree& tree, std::size_t max_sections) {
  return Flattener(tree, max_sections).run();
}

}  // namespace vm_mem::internal
