// Random trees of regions, flattened and looked at page by page.
#include "vm_mem/internal/flatten.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kPages = 48;  // most of what happens is below

GuestRange pages(std::uint64_t first, std::uint64_t count) {
  return GuestRange::make(GuestAddress{first * kPage}, count * kPage).value();
}

// What is seen at a page: region, page in it, alias, protection.
using Seen = std::optional<std::tuple<RegionId, std::uint64_t, RegionId, Protection>>;

// The rules as they are documented, for one page at a time.
class PageModel {
 public:
  explicit PageModel(const RegionTree& tree) : tree_(tree) {}

  Seen at(std::uint64_t page) const {
    return in_container(kRootContainer, page, RegionId{}, Protection::kReadWrite);
  }

 private:
  Seen in_container(RegionId container, std::uint64_t page, RegionId window,
                    Protection protection) const {
    std::vector<const RegionNode*> there;
    for (const RegionNode& node : tree_.nodes()) {
      if (node.placement.container == container && node.enabled == Enabled::kYes &&
          node.range.contains(GuestAddress{page * kPage})) {
        there.push_back(&node);
      }
    }
    std::sort(there.begin(), there.end(), [](const RegionNode* left, const RegionNode* right) {
      return left->placement.priority > right->placement.priority;
    });
    for (const RegionNode* node : there) {
      const std::uint64_t inside = page - node->range.begin().value / kPage;
      if (const Seen seen = of(*node, inside, window, protection)) return seen;
    }
    return std::nullopt;
  }

  Seen of(const RegionNode& node, std::uint64_t page, RegionId window,
          Protection protection) const {
    const Protection permitted = std::min(protection, node.protection);
    if (node.type == RegionType::kAlias) {
      return of(**tree_.find(node.target), page + node.target_offset / kPage,
                window == RegionId{} ? node.id : window, permitted);
    }
    if (page >= node.range.bytes() / kPage) return std::nullopt;
    if (node.type == RegionType::kContainer) {
      return in_container(node.id, page, window, permitted);
    }
    return std::tuple(node.id, page, window == RegionId{} ? node.id : window, permitted);
  }

  const RegionTree& tree_;
};

class RandomTree {
 public:
  explicit RandomTree(unsigned seed) : random_(seed) {}

  // One edit, which may be refused.
  void edit() {
    switch (below(8)) {
      case 0:
      case 1: return add(RegionType::kRam);
      case 2: return add(RegionType::kContainer);
      case 3: return add_alias();
      case 4: return erase();
      case 5: return edited(tree_.set_enabled(any(), below(2) == 0 ? Enabled::kNo : Enabled::kYes));
      case 6: return edited(tree_.set_protection(any(), static_cast<Protection>(below(3))));
      default:
        return edited(below(2) == 0 ? tree_.move(any(), GuestAddress{below(kPages) * kPage})
                                    : tree_.resize(any(), below(12) * kPage));
    }
  }

  const RegionTree& tree() const { return tree_; }
  int edits() const { return edits_; }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  RegionId any() { return RegionId{below(tree_.nodes().size() + 2)}; }
  Placement any_placement() {
    Placement placement{.priority = static_cast<int>(below(4)) - 1};
    const RegionId container = any();
    const auto found = tree_.find(container);
    if (found.ok() && (*found)->type == RegionType::kContainer) placement.container = container;
    return placement;
  }
  void edited(const absl::Status& status) { edits_ += status.ok() ? 1 : 0; }

  void insert(RegionNode node, GuestRange range, Placement placement) {
    if (!tree_.check_new(range, placement).ok()) return;
    node.range = range;
    node.placement = placement;
    node.region = std::make_shared<Region>();
    node.region->capacity = UINT64_MAX;
    node.id = node.region->id = RegionId{++last_id_};
    tree_.insert(node);
    ++edits_;
  }
  void add(RegionType type) {
    RegionNode node;
    node.type = type;
    const std::uint64_t longest = type == RegionType::kContainer ? 24 : 6;
    const GuestRange range = pages(below(kPages), 1 + below(longest));
    insert(node, range, any_placement());
  }
  void add_alias() {
    const GuestRange range = pages(below(kPages), 1 + below(6));
    const Placement placement = any_placement();
    const auto alias = tree_.alias_node(range, any(), below(8) * kPage, placement);
    if (alias.ok()) insert(*alias, range, placement);
  }
  void erase() {
    const RegionId id = any();
    const auto found = tree_.find(id);
    if (!found.ok() || !tree_.check_unshown(**found).ok()) return;
    tree_.erase(id);
    ++edits_;
  }

  std::mt19937 random_;
  RegionTree tree_{64};
  std::uint64_t last_id_ = 0;
  int edits_ = 0;
};

Seen seen_in(const std::vector<MapSection>& sections, std::uint64_t page) {
  for (const MapSection& section : sections) {
    if (!section.range.contains(GuestAddress{page * kPage})) continue;
    const std::uint64_t inside =
        section.region_offset / kPage + page - section.range.begin().value / kPage;
    return std::tuple(section.shown, inside, section.region, section.protection);
  }
  return std::nullopt;
}

// Sorted, apart, and no two that could be one.
void expect_tidy(const std::vector<MapSection>& sections) {
  for (std::size_t i = 1; i < sections.size(); ++i) {
    const MapSection& before = sections[i - 1];
    const MapSection& after = sections[i];
    ASSERT_LE(before.range.end(), after.range.begin());
    EXPECT_FALSE(before.range.end() == after.range.begin() && before.region == after.region &&
                 before.shown == after.shown && before.protection == after.protection &&
                 before.region_offset + before.range.bytes() == after.region_offset);
  }
}

TEST(FlattenTest, ShowsWhatAPageByPageModelShows) {
  int edits = 0;
  std::size_t most = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    RandomTree random(seed);
    for (int step = 0; step < 150; ++step) {
      random.edit();
      if (step % 3 != 0) continue;
      const auto sections = flatten(random.tree(), 10000);
      ASSERT_TRUE(sections.ok()) << sections.status();
      expect_tidy(*sections);
      const PageModel model(random.tree());
      for (std::uint64_t page = 0; page < kPages + 24; ++page) {
        ASSERT_EQ(seen_in(*sections, page), model.at(page))
            << "seed " << seed << " step " << step << " page " << page;
      }
      most = std::max(most, sections->size());
    }
    edits += random.edits();
  }
  // The trees are worth the name.
  EXPECT_GT(edits, 5000);
  EXPECT_GT(most, 15u);
}

// A tree of `levels` containers, each of which shows the one below it `width` times.
RegionTree doubling(int levels, std::uint64_t width) {
  RegionTree tree(1000);
  std::uint64_t id = 0;
  const auto insert = [&](RegionNode node, GuestRange range, RegionId container) {
    node.range = range;
    node.placement.container = container;
    node.region = std::make_shared<Region>();
    node.id = RegionId{++id};
    tree.insert(std::move(node));
    return RegionId{id};
  };
  RegionNode holder;
  holder.type = RegionType::kContainer;
  RegionId below = insert(holder, pages(0, 2), kRootContainer);
  insert(RegionNode{}, pages(0, 1), below);
  std::uint64_t count = 2;
  for (int level = 0; level < levels; ++level) {
    const RegionId next = insert(holder, pages(count * width * 2, count * width), kRootContainer);
    for (std::uint64_t i = 0; i < width; ++i) {
      insert(tree.alias_node(pages(i * count, count), below, 0, {.container = next}).value(),
             pages(i * count, count), next);
    }
    below = next;
    count *= width;
  }
  return tree;
}

TEST(FlattenTest, AliasesThatMultiplyEndAtTheLimit) {
  EXPECT_EQ(flatten(doubling(6, 2), 1000)->size(), 127u);
  const absl::Status refused = flatten(doubling(40, 2), 1000).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.message(), "the regions would show as more than 0x3e8 sections");
  EXPECT_EQ(flatten(doubling(6, 2), 126).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(flatten(doubling(6, 2), 127)->size(), 127u);
}

TEST(FlattenTest, NestingEndsAtTheLimit) {
  RegionTree tree(1000);
  RegionId container = kRootContainer;
  const auto deeper = [&](RegionType type) {
    RegionNode node;
    node.type = type;
    node.range = pages(0, 1);
    node.placement = {.priority = static_cast<int>(tree.nodes().size()), .container = container};
    node.region = std::make_shared<Region>();
    node.id = RegionId{tree.nodes().size() + 1};
    tree.insert(node);
    return node.id;
  };
  for (int depth = 0; depth < kMaxRegionDepth; ++depth) container = deeper(RegionType::kContainer);
  deeper(RegionType::kRam);
  EXPECT_EQ(flatten(tree, 1000)->size(), 1u);
  container = deeper(RegionType::kContainer);
  deeper(RegionType::kRam);
  const absl::Status refused = flatten(tree, 1000).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.message(), "containers and aliases lie more than 0x40 deep");
}

TEST(FlattenTest, ManyPrioritiesAreFine) {
  RegionTree tree(5000);
  for (std::uint64_t i = 0; i < 4096; ++i) {
    RegionNode node;
    node.range = pages(2 * (i * 1237 % 4096), 3);
    node.placement.priority = static_cast<int>(i);
    node.region = std::make_shared<Region>();
    node.id = RegionId{i + 1};
    tree.insert(node);
  }
  const auto sections = flatten(tree, 10000);
  ASSERT_TRUE(sections.ok()) << sections.status();
  EXPECT_EQ(sections->size(), 4096u);
}

}  // namespace
}  // namespace vm_mem::internal
