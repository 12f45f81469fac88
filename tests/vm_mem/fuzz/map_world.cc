#include "tests/vm_mem/fuzz/map_world.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string>

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLowPages = 44;
constexpr std::uint64_t kHighPages = 10;
constexpr std::uint64_t kHigh = (std::uint64_t{1} << 52) - 5 * kPage;

std::optional<GuestRange> range(std::uint64_t begin, std::uint64_t bytes) {
  return GuestRange::make(GuestAddress{begin}, bytes);
}

AccessFault wanted_fault(const std::optional<Seen>& seen, Protection needed) {
  if (!seen) return AccessFault::kUnmapped;
  if (seen->protection == Protection::kNone) return AccessFault::kProtected;
  return seen->protection < needed ? AccessFault::kReadOnly : AccessFault::kNone;
}

}  // namespace

std::uint64_t MapWorld::page_address(std::uint64_t page) {
  if (page < kLowPages) return page * kPage;
  if (page < kLowPages + kHighPages) return kHigh + (page - kLowPages) * kPage;
  return std::uint64_t{0} - (kPages - page) * kPage;
}

MapWorld::MapWorld() : manager_(MemoryManager::create({}).value()), reader_(*manager_) {
  manager_->add_listener(&listener_);
}

MapWorld::~MapWorld() { manager_->remove_listener(&listener_); }

void MapWorld::require(bool holds, const char* what) const {
  if (!holds) throw std::logic_error(std::string(what) + " after\n" + trace_.str());
}

std::uint64_t MapWorld::pick_key(std::uint64_t pick) const {
  return std::next(ids_.begin(), static_cast<std::ptrdiff_t>(pick % ids_.size()))->first;
}

// Mostly a container, now and then something else or nothing at all.
std::uint64_t MapWorld::pick_container(std::uint64_t pick) const {
  if (pick % 4 != 0 || ids_.empty()) return 0;
  return pick_key(pick / 4);
}

RegionId MapWorld::id_of(std::uint64_t key) const {
  return key == 0 ? kRootContainer : ids_.at(key);
}

RegionKind MapWorld::kind_of(const MapNode& node) const {
  if (node.type == RegionType::kRam) return RegionKind::kRam;
  return node.type == RegionType::kRom ? RegionKind::kRom : RegionKind::kMmio;
}

std::uint64_t MapWorld::lease_count(std::uint64_t key) const {
  const auto leases = std::count_if(leases_.begin(), leases_.end(),
                                    [key](const Lease& lease) { return lease.keys.contains(key); });
  return static_cast<std::uint64_t>(leases);
}

void MapWorld::settle(const char* what, const absl::Status& answer, const Codes& codes) {
  trace_ << what << ": " << answer << "\n";
  require(codes.empty() ? answer.ok() : codes.contains(answer.code()), "another status");
}

void MapWorld::added(const char* what, const absl::StatusOr<RegionId>& answer, const Codes& codes,
                     const MapNode& node) {
  trace_ << "key " << next_key_ << " at 0x" << std::hex << node.begin << " bytes 0x" << node.bytes
         << std::dec << " in " << node.container << " priority " << node.priority << " target "
         << node.target << "+0x" << std::hex << node.offset << std::dec << " ";
  settle(what, answer.status(), codes);
  if (answer.ok()) {
    ids_[next_key_] = *answer;
    model_.nodes()[next_key_++] = node;
  }
  compare();
}

void MapWorld::add(RegionType type, std::uint64_t begin, std::uint64_t bytes, int priority,
                   std::uint64_t container_pick, std::uint64_t most_bytes) {
  const auto at = range(begin, bytes);
  if (!at) return;
  MapNode node{.type = type, .begin = begin, .bytes = bytes, .priority = priority};
  node.container = pick_container(container_pick);
  const Placement placement{priority, id_of(node.container)};
  const Codes codes = model_.refuse_add(node);
  if (type == RegionType::kContainer) {
    return added("add_container", manager_->add_container(*at, placement), codes, node);
  }
  if (type == RegionType::kMmio) {
    return added("add_mmio", manager_->add_mmio(*at, &device_, placement), codes, node);
  }
  node.capacity = bytes;
  if (type == RegionType::kRom) {
    node.protection = Protection::kRead;
    node.words[0] = next_key_;
    const std::array<std::uint64_t, 1> content{next_key_};
    return added("add_rom", manager_->add_rom(*at, std::as_bytes(std::span(content)), placement),
                 codes, node);
  }
  node.capacity = std::max(bytes, most_bytes);
  RamOptions options{.priority = priority, .container = placement.container};
  options.max_bytes = node.capacity;
  if (begin / kPage % 2 == 0) options.backing = Backing::kMemfd;
  added("add_ram", manager_->add_ram(*at, options), codes, node);
}

void MapWorld::add_alias(std::uint64_t begin, std::uint64_t bytes, int priority,
                         std::uint64_t container_pick, std::uint64_t pick, std::uint64_t offset) {
  const auto at = range(begin, bytes);
  if (!at || ids_.empty()) return;
  MapNode node{.type = RegionType::kAlias, .begin = begin, .bytes = bytes, .priority = priority};
  node.container = pick_container(container_pick);
  node.target = pick_key(pick);
  node.offset = offset;
  const RegionId target = id_of(node.target);
  const Codes codes = model_.refuse_alias(node);
  added("add_alias", manager_->add_alias(*at, target, offset, {priority, id_of(node.container)}),
        codes, node);
}

void MapWorld::remove(std::uint64_t pick, RemovePolicy policy) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  Codes codes = model_.refuse_remove(key);
  if (lease_count(key) > 0)
    policy = RemovePolicy::kRefuse, codes.insert(absl::StatusCode::kUnavailable);
  reader_.park();
  trace_ << "key " << key << " ";
  settle("remove", manager_->remove_region(ids_.at(key), policy), codes);
  if (codes.empty()) {
    model_.nodes().erase(key);
    ids_.erase(key);
  }
  compare();
}

void MapWorld::set_enabled(std::uint64_t pick, Enabled enabled) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const Codes codes = model_.refuse_enable(key, enabled);
  trace_ << "key " << key << (enabled == Enabled::kYes ? " yes " : " no ");
  settle("set_enabled", manager_->set_enabled(ids_.at(key), enabled), codes);
  if (codes.empty()) model_.nodes().at(key).enabled = enabled;
  compare();
}

void MapWorld::set_protection(std::uint64_t pick, Protection protection) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const Codes codes = model_.refuse_protection(key, protection);
  trace_ << "key " << key << " to " << static_cast<int>(protection) << " ";
  settle("set_protection", manager_->set_protection(ids_.at(key), protection), codes);
  if (codes.empty()) model_.nodes().at(key).protection = protection;
  compare();
}

void MapWorld::move(std::uint64_t pick, std::uint64_t begin) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const Codes codes = model_.refuse_move(key, begin);
  trace_ << "key " << key << " to 0x" << std::hex << begin << std::dec << " ";
  settle("move", manager_->move_region(ids_.at(key), GuestAddress{begin}), codes);
  if (codes.empty()) model_.nodes().at(key).begin = begin;
  compare();
}

void MapWorld::resize(std::uint64_t pick, std::uint64_t bytes) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  MapNode& node = model_.nodes().at(key);
  Codes codes = model_.refuse_resize(key, bytes);
  if (bytes < node.bytes && lease_count(key) > 0) codes.insert(absl::StatusCode::kUnavailable);
  trace_ << "key " << key << " to 0x" << std::hex << bytes << std::dec << " ";
  settle("resize", manager_->resize_region(ids_.at(key), bytes), codes);
  if (codes.empty()) {
    node.bytes = bytes;
    // What is cut off is lost.
    std::erase_if(node.words, [bytes](const auto& word) { return word.first >= bytes / kPage; });
  }
  compare();
}

void MapWorld::store(std::uint64_t page, std::uint64_t value) {
  if (changing_) return;
  const std::uint64_t address = page_address(page);
  const std::optional<Seen> seen = model_.see(address);
  const AccessResult stored = value % 2 == 0 ? manager_->store(GuestAddress{address}, value)
                                             : reader_.store(GuestAddress{address}, value);
  trace_ << "store at 0x" << std::hex << address << std::dec << ": "
         << access_fault_name(stored.fault) << "\n";
  require(stored.fault == wanted_fault(seen, Protection::kReadWrite), "another fault of a store");
  if (stored.ok()) model_.nodes().at(seen->key).words[seen->offset / kPage] = value;
  compare();
}

void MapWorld::lease(std::uint64_t page, std::uint64_t pages) {
  if (changing_) return;
  const std::uint64_t address = page_address(page);
  const auto window = range(address, pages * kPage);
  if (!window) return;
  absl::StatusOr<MemoryLease> lease = manager_->lease(*window, LeaseAccess::kRead);
  trace_ << "lease at 0x" << std::hex << address << std::dec << " pages " << pages << ": "
         << lease.status() << "\n";
  const std::set<std::uint64_t> keys = leasable(address, pages);
  require(lease.ok() == !keys.empty(), "a lease that should not be, or none that should");
  if (lease.ok()) leases_.push_back({*std::move(lease), keys});
  compare();
}

// The regions under the window and the aliases that show them there, where all of it is readable memory that lies together in
// the host too; else none.
std::set<std::uint64_t> MapWorld::leasable(std::uint64_t address, std::uint64_t pages) const {
  std::set<std::uint64_t> keys;
  const std::shared_ptr<const MemoryMap> map = manager_->map();
  const std::byte* host = nullptr;
  for (std::uint64_t at = address; at < address + pages * kPage; at += kPage) {
    const std::optional<Seen> seen = model_.see(at);
    if (!seen || seen->protection == Protection::kNone) return {};
    if (model_.node(seen->key).type == RegionType::kMmio) return {};
    const MapSection& section = *map->find(GuestAddress{at});
    const std::byte* here = section.host + (at - section.range.begin().value);
    if (host != nullptr && here != host + kPage) return {};
    host = here;
    keys.insert({seen->key, seen->window});
  }
  return keys;
}

void MapWorld::end_lease(std::uint64_t pick) {
  if (changing_ || leases_.empty()) return;
  leases_.erase(leases_.begin() + static_cast<std::ptrdiff_t>(pick % leases_.size()));
  compare();
}

void MapWorld::change(const std::function<void()>& edits, Enabled kept) {
  if (changing_) return edits();
  const MapModel before = model_;
  const auto ids = ids_;
  changing_ = true;
  trace_ << "change {\n";
  const absl::Status status = manager_->change([&] {
    edits();
    return kept == Enabled::kYes ? absl::OkStatus() : absl::CancelledError();
  });
  trace_ << "} " << status << "\n";
  changing_ = false;
  require(status.ok() == (kept == Enabled::kYes), "another status of a change");
  if (kept == Enabled::kNo) model_ = before, ids_ = ids;
  compare();
}

void MapWorld::compare() {
  if (changing_) return;
  const std::shared_ptr<const MemoryMap> map = manager_->map();
  require(map->generation() == manager_->generation(), "another generation");
  require(map->generation() >= generation_, "a generation that falls");
  generation_ = map->generation();
  compare_map(*map);
  for (std::uint64_t page = 0; page < kPages; ++page) compare_page(*map, page_address(page));
  compare_leases();
}

// Sorted, apart, and what the listener was told.
void MapWorld::compare_map(const MemoryMap& map) const {
  std::uint64_t end = 0;
  for (const MapSection& section : map.sections()) {
    require(section.range.begin().value >= end && section.range.bytes() != 0,
            "sections in disorder");
    end = section.range.end().value;
    const auto told = listener_.sections().find(section.range.begin().value);
    require(
        told != listener_.sections().end() && told->second == MirrorListener::picture_of(section),
        "the listener has another section");
  }
  require(listener_.sections().size() == map.sections().size(), "the listener has more sections");
}

void MapWorld::compare_page(const MemoryMap& map, std::uint64_t address) {
  const std::optional<Seen> seen = model_.see(address);
  const MapSection* section = map.find(GuestAddress{address});
  require((section != nullptr) == seen.has_value(), "a page that is mapped on one side");
  if (section != nullptr) {
    const MapNode& node = model_.node(seen->key);
    require(section->region == ids_.at(seen->window), "another window");
    require(section->shown == ids_.at(seen->key), "another region");
    require(section->kind == kind_of(node), "another kind");
    require(section->protection == seen->protection, "another protection");
    require(section->region_offset + (address - section->range.begin().value) == seen->offset,
            "another offset");
  }
  compare_word(address, seen);
}

void MapWorld::compare_word(std::uint64_t address, const std::optional<Seen>& seen) {
  std::uint64_t by_manager = 0;
  std::uint64_t by_reader = 0;
  const AccessResult managed = manager_->load(GuestAddress{address}, by_manager);
  const AccessResult read = reader_.load(GuestAddress{address}, by_reader);
  const AccessFault wanted = wanted_fault(seen, Protection::kRead);
  require(managed.fault == wanted && read.fault == wanted, "another fault of a load");
  if (!managed.ok()) return;
  const MapNode& node = model_.node(seen->key);
  const auto word = node.words.find(seen->offset / kPage);
  const std::uint64_t value = node.type == RegionType::kMmio ? seen->offset + 1
                              : word == node.words.end()     ? 0
                                                             : word->second;
  require(by_manager == value && by_reader == value, "another word");
}

void MapWorld::compare_leases() {
  for (const auto& [key, id] : ids_) {
    const absl::StatusOr<RegionInfo> told = manager_->region_info(id);
    require(told.ok() && told->leases == lease_count(key), "another count of leases");
    require(told->range == range(model_.node(key).begin, model_.node(key).bytes),
            "a region that is told to lie elsewhere");
  }
}

}  // namespace vm_mem
