#include "tests/vm_mem/fuzz/map_world.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kPagesBeyond = 9;  // a window: as far as regions and accesses reach
constexpr std::uint64_t kLowPages = 44;
constexpr std::uint64_t kMiddlePages = 8;
constexpr std::uint64_t kMiddle = (std::uint64_t{1} << 40) - 4 * kPage;
constexpr std::uint64_t kHighPages = 10;
constexpr std::uint64_t kHigh = (std::uint64_t{1} << 52) - 5 * kPage;

std::optional<GuestRange> range(std::uint64_t begin, std::uint64_t bytes) {
  return GuestRange::make(GuestAddress{begin}, bytes);
}

}  // namespace

std::uint64_t MapWorld::page_address(std::uint64_t page) {
  if (page < kLowPages) return page * kPage;
  page -= kLowPages;
  if (page < kMiddlePages) return kMiddle + page * kPage;
  page -= kMiddlePages;
  if (page < kHighPages) return kHigh + page * kPage;
  page += kLowPages + kMiddlePages;
  return std::uint64_t{0} - (kPages - page) * kPage;
}

MapWorld::MapWorld() { manager_->add_listener(&listener_); }
MapWorld::~MapWorld() { manager_->remove_listener(&listener_); }

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
  require(codes.empty() ? answer.ok() : codes.contains(answer.code()));
}

void MapWorld::added(const char* what, const absl::StatusOr<RegionId>& answer, const Codes& codes,
                     const MapNode& node) {
  trace_ << "key " << next_key_ << " at 0x" << std::hex << node.begin << " bytes 0x" << node.bytes
         << std::dec << " in " << node.container << " priority " << node.priority << " target "
         << node.target << "+0x" << std::hex << node.offset << std::dec << " ";
  settle(what, answer.status(), codes);
  if (answer.ok()) {
    ids_[next_key_] = *answer;
    map_model_.nodes()[next_key_++] = node;
  }
  compare_state();
}

// Every third region tracks its writes.
MapNode MapWorld::ram_node(std::uint64_t begin, std::uint64_t bytes, int priority,
                           std::uint64_t container_pick) {
  MapNode node{.type = RegionType::kRam, .begin = begin, .bytes = bytes, .priority = priority};
  node.container = pick_container(container_pick);
  node.capacity = bytes;
  node.tracked = next_key_ % 3 == 0;
  return node;
}

void MapWorld::add(RegionType type, std::uint64_t begin, std::uint64_t bytes, int priority,
                   std::uint64_t container_pick, std::uint64_t most_bytes) {
  const auto at = range(begin, bytes);
  if (!at) return;
  MapNode node = ram_node(begin, bytes, priority, container_pick);
  node.type = type;
  if (type == RegionType::kContainer || type == RegionType::kMmio) node.capacity = 0;
  const Placement placement{priority, id_of(node.container)};
  const Codes codes = map_model_.refuse_add(node);
  if (type == RegionType::kContainer) {
    return added("add_container", manager_->add_container(*at, placement), codes, node);
  }
  if (type == RegionType::kMmio) {
    return added("add_mmio", manager_->add_mmio(*at, &device_, placement), codes, node);
  }
  node.memory = std::make_shared<ModelBacking>();
  if (type == RegionType::kRom) {
    node.protection = Protection::kRead;
    node.owned = false;
    node.memory->bytes = pattern(bytes, next_key_);
    const auto content = std::as_bytes(std::span(node.memory->bytes));
    return added("add_rom", manager_->add_rom(*at, content, placement), codes, node);
  }
  node.capacity = std::max(bytes, most_bytes);
  node.memory->bytes.resize(node.capacity);
  RamOptions options{.priority = priority, .container = placement.container};
  options.max_bytes = node.capacity;
  if (node.tracked) options.dirty_tracking = DirtyTracking::kOn;
  if (begin / kPage % 2 == 0) options.backing = Backing::kMemfd;
  added("add_ram", manager_->add_ram(*at, options), codes, node);
  // Memory that is all zero would hide what went wrong.
  if (codes.empty() && node.container == 0 && !changing_) {
    write(begin, bytes, next_key_, Through::kManager);
  }
}

void MapWorld::add_losable(Loss loss, std::uint64_t begin, std::uint64_t bytes, int priority,
                           std::uint64_t container_pick) {
  const auto at = range(begin, bytes);
  if (!at || bytes == 0 || bytes % kPage != 0) return;
  MapNode node = ram_node(begin, bytes, priority, container_pick);
  node.owned = false;
  node.memory = std::make_shared<ModelBacking>();
  node.memory->bytes = pattern(bytes, next_key_);
  const auto memory = std::make_shared<LosableMemory>(loss, node.memory->bytes);
  RamOptions options{.priority = priority, .container = id_of(node.container)};
  if (node.tracked) options.dirty_tracking = DirtyTracking::kOn;
  memory->describe(options);
  const Codes codes = map_model_.refuse_add(node);
  removed_.push_back(memory);
  if (codes.empty()) losable_[next_key_] = memory;
  added("add_losable", manager_->add_ram(*at, options), codes, node);
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
  const Codes codes = map_model_.refuse_alias(node);
  added("add_alias", manager_->add_alias(*at, target, offset, {priority, id_of(node.container)}),
        codes, node);
}

void MapWorld::remove(std::uint64_t pick, RemovePolicy policy) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  Codes codes = map_model_.refuse_remove(key);
  if (lease_count(key) > 0)
    policy = RemovePolicy::kRefuse, codes.insert(absl::StatusCode::kUnavailable);
  reader_.park();
  trace_ << "key " << key << " ";
  settle("remove", manager_->remove_region(ids_.at(key), policy), codes);
  if (codes.empty()) {
    map_model_.nodes().erase(key);
    ids_.erase(key);
    losable_.erase(key);
  }
  compare_state();
}

void MapWorld::set_enabled(std::uint64_t pick, Enabled enabled) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const Codes codes = map_model_.refuse_enable(key, enabled);
  trace_ << "key " << key << (enabled == Enabled::kYes ? " yes " : " no ");
  settle("set_enabled", manager_->set_enabled(ids_.at(key), enabled), codes);
  if (codes.empty()) map_model_.nodes().at(key).enabled = enabled;
  compare_state();
}

void MapWorld::set_protection(std::uint64_t pick, Protection protection) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const Codes codes = map_model_.refuse_protection(key, protection);
  trace_ << "key " << key << " to " << static_cast<int>(protection) << " ";
  settle("set_protection", manager_->set_protection(ids_.at(key), protection), codes);
  if (codes.empty()) map_model_.nodes().at(key).protection = protection;
  compare_state();
}

void MapWorld::move(std::uint64_t pick, std::uint64_t begin) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const Codes codes = map_model_.refuse_move(key, begin);
  trace_ << "key " << key << " to 0x" << std::hex << begin << std::dec << " ";
  settle("move", manager_->move_region(ids_.at(key), GuestAddress{begin}), codes);
  if (codes.empty()) map_model_.nodes().at(key).begin = begin;
  compare_state();
}

void MapWorld::resize(std::uint64_t pick, std::uint64_t bytes) {
  if (ids_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  MapNode& node = map_model_.nodes().at(key);
  Codes codes = map_model_.refuse_resize(key, bytes);
  if (is_too_short(key, bytes)) codes.insert(absl::StatusCode::kInvalidArgument);
  if (bytes < node.bytes && lease_count(key) > 0) codes.insert(absl::StatusCode::kUnavailable);
  trace_ << "key " << key << " to 0x" << std::hex << bytes << std::dec << " ";
  settle("resize", manager_->resize_region(ids_.at(key), bytes), codes);
  if (codes.empty()) {
    const std::uint64_t old_bytes = std::exchange(node.bytes, bytes);
    if (!changing_) cut_off(node, old_bytes);
    node.tracked = node.tracked && bytes == old_bytes;
  }
  compare_state();
}

// Of a file that was truncated, for what a growth adds to the published size.
bool MapWorld::is_too_short(std::uint64_t key, std::uint64_t bytes) const {
  const auto losable = losable_.find(key);
  if (losable == losable_.end() || losable->second->loss() != Loss::kTruncation) return false;
  const MapNode& node = map_model_.node(key);
  const auto published = published_bytes_.find(key);
  const std::uint64_t there =
      published == published_bytes_.end() ? node.bytes : std::max(node.bytes, published->second);
  const std::set<std::uint64_t>& lost = node.memory->lost_pages;
  return bytes > there && !lost.empty() && *lost.begin() < bytes / kPage;
}

// What is cut off is lost.
void MapWorld::cut_off(MapNode& node, std::uint64_t old_bytes) {
  if (!node.owned || node.memory == nullptr || node.bytes >= old_bytes) return;
  std::fill(node.memory->bytes.begin() + static_cast<std::ptrdiff_t>(node.bytes),
            node.memory->bytes.end(), std::uint8_t{0});
}

void MapWorld::lose(std::uint64_t pick, std::uint64_t page) {
  if (changing_ || losable_.empty()) return;
  const auto chosen =
      std::next(losable_.begin(), static_cast<std::ptrdiff_t>(pick % losable_.size()));
  ModelBacking& memory = *map_model_.node(chosen->first).memory;
  chosen->second->lose(page % (memory.bytes.size() / kPage), memory);
  trace_ << "key " << chosen->first << " loses page " << page << "\n";
  compare_state();
}

void MapWorld::bring_back(std::uint64_t pick) {
  if (changing_ || losable_.empty()) return;
  const auto chosen =
      std::next(losable_.begin(), static_cast<std::ptrdiff_t>(pick % losable_.size()));
  chosen->second->bring_back(*map_model_.node(chosen->first).memory);
  trace_ << "key " << chosen->first << " has its pages again\n";
  compare_state();
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
  require(lease.ok() == !keys.empty());
  if (lease.ok()) leases_.push_back({*std::move(lease), keys});
  compare_state();
}

// The regions under the window and the aliases that show them there, where all of it is
// readable memory that lies together in the host too; else none.
std::set<std::uint64_t> MapWorld::leasable(std::uint64_t address, std::uint64_t pages) const {
  std::set<std::uint64_t> keys;
  const std::shared_ptr<const MemoryMap> map = manager_->map();
  const std::byte* host = nullptr;
  for (std::uint64_t at = address; at < address + pages * kPage; at += kPage) {
    const std::optional<Seen> seen = map_model_.see(at);
    if (!seen || seen->protection == Protection::kNone) return {};
    if (map_model_.node(seen->key).type == RegionType::kMmio) return {};
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
  compare_state();
}

void MapWorld::change(const std::function<void()>& edits, Enabled kept) {
  if (changing_) return edits();
  const MapModel before = map_model_;
  for (const auto& [key, node] : map_model_.nodes()) published_bytes_[key] = node.bytes;
  const auto ids = ids_;
  const auto losable = losable_;
  changing_ = true;
  trace_ << "change {\n";
  const absl::Status status = manager_->change([&] {
    edits();
    return kept == Enabled::kYes ? absl::OkStatus() : absl::CancelledError();
  });
  trace_ << "} " << status << "\n";
  changing_ = false;
  published_bytes_.clear();
  require(status.ok() == (kept == Enabled::kYes));
  if (kept == Enabled::kNo) map_model_ = before, ids_ = ids, losable_ = losable;
  // Cuts and growths in one change are one resize.
  for (auto& [key, node] : map_model_.nodes()) {
    if (before.has(key)) cut_off(node, before.node(key).bytes);
  }
  compare_state();
}

std::map<std::uint64_t, RegionSettings> MapWorld::settings() const {
  std::map<std::uint64_t, RegionSettings> settings;
  for (const auto& [key, id] : ids_) {
    const MapNode& node = map_model_.node(key);
    settings[key] = {node.begin, node.enabled, node.protection};
  }
  return settings;
}

// What differs is out of the way before anything takes its new place.
void MapWorld::set_all(const std::map<std::uint64_t, RegionSettings>& settings) {
  const auto before = this->settings();
  const absl::Status changed = manager_->change([&] {
    absl::Status status;
    for (const auto& [key, wanted] : settings) {
      if (before.at(key) == wanted) continue;
      status.Update(manager_->set_enabled(ids_.at(key), Enabled::kNo));
      status.Update(manager_->move_region(ids_.at(key), GuestAddress{wanted.begin}));
      status.Update(manager_->set_protection(ids_.at(key), wanted.protection));
    }
    for (const auto& [key, wanted] : settings) {
      if (before.at(key) == wanted) continue;
      status.Update(manager_->set_enabled(ids_.at(key), wanted.enabled));
    }
    return status;
  });
  trace_ << "set_all: " << changed << "\n";
  require(changed.ok());
  for (const auto& [key, wanted] : settings) {
    MapNode& node = map_model_.nodes().at(key);
    node.begin = wanted.begin;
    node.enabled = wanted.enabled;
    node.protection = wanted.protection;
  }
  compare_state();
}

AccessResult MapWorld::model_read(std::uint64_t from, std::vector<std::uint8_t>& to) {
  return model_.read(from, to);
}

void MapWorld::compare_state() {
  if (changing_) return;
  rebuild_model();
  const std::shared_ptr<const MemoryMap> map = manager_->map();
  require(map->generation() == manager_->generation());
  require(map->generation() >= generation_);
  generation_ = map->generation();
  compare_map(*map);
  for (std::uint64_t page = 0; page < kPages; ++page) compare_page(*map, page_address(page));
  compare_leases();
  compare_marks();
}

// A region of the Model for each page that is seen.
void MapWorld::rebuild_model() {
  auto& regions = model_.regions();
  regions.clear();
  for (std::uint64_t page = 0; page < kPages; ++page) {
    show_page(page_address(page));
    const bool last = page_address(page + 1) != page_address(page) + kPage;
    for (std::uint64_t next = 1; last && next <= kPagesBeyond; ++next) {
      show_page(page_address(page) + next * kPage);
    }
  }
}

void MapWorld::show_page(std::uint64_t begin) {
  const std::optional<Seen> seen = map_model_.see(begin);
  if (!seen) return;
  const MapNode& node = map_model_.node(seen->key);
  model_.regions()[begin] = {begin,        kPage,    kind_of(node),   node.memory,
                             seen->offset, &device_, seen->protection};
}

// Sorted, apart, and what the listener was told.
void MapWorld::compare_map(const MemoryMap& map) const {
  std::uint64_t end = 0;
  for (const MapSection& section : map.sections()) {
    require(section.range.begin().value >= end && section.range.bytes() != 0);
    end = section.range.end().value;
    const auto told = listener_.sections().find(section.range.begin().value);
    require(told != listener_.sections().end() &&
            told->second == MirrorListener::picture_of(section));
  }
  require(listener_.sections().size() == map.sections().size());
}

void MapWorld::compare_page(const MemoryMap& map, std::uint64_t address) {
  const std::optional<Seen> seen = map_model_.see(address);
  const MapSection* section = map.find(GuestAddress{address});
  require((section != nullptr) == seen.has_value());
  if (section != nullptr) {
    const MapNode& node = map_model_.node(seen->key);
    require(section->region == ids_.at(seen->window));
    require(section->shown == ids_.at(seen->key));
    require(section->kind == kind_of(node));
    require(section->protection == seen->protection);
    require(section->region_offset + (address - section->range.begin().value) == seen->offset);
  }
  compare_word(address);
  const bool readable = seen && seen->protection != Protection::kNone;
  if (!readable || section->kind == RegionKind::kMmio) return;
  const ModelBacking& memory = *map_model_.node(seen->key).memory;
  if (memory.lost_pages.contains(seen->offset / kPage)) return;
  const std::byte* const host = section->host + (address - section->range.begin().value);
  require(std::memcmp(host, &memory.bytes[seen->offset], kPage) == 0);
}

void MapWorld::compare_word(std::uint64_t address) {
  std::uint64_t by_manager = 0;
  std::uint64_t by_reader = 0;
  std::vector<std::uint8_t> bytes(sizeof by_manager);
  const AccessResult wanted = model_.load(address, bytes);
  const AccessResult managed = manager_->load(GuestAddress{address}, by_manager);
  const AccessResult read = reader_.load(GuestAddress{address}, by_reader);
  require(managed == wanted && read == wanted);
  if (!wanted.ok()) return;
  require(std::memcmp(&by_manager, bytes.data(), bytes.size()) == 0);
  require(std::memcmp(&by_reader, bytes.data(), bytes.size()) == 0);
}

void MapWorld::compare_marks() {
  for (const auto& [key, id] : ids_) {
    const MapNode& node = map_model_.node(key);
    if (node.type != RegionType::kRam || !node.tracked) continue;
    require(manager_->dirty_page_count(id).value() == node.memory->dirty_pages.size());
  }
}

void MapWorld::compare_leases() {
  for (const auto& [key, id] : ids_) {
    const absl::StatusOr<RegionInfo> told = manager_->region_info(id);
    require(told.ok() && told->leases == lease_count(key));
    require(told->range == range(map_model_.node(key).begin, map_model_.node(key).bytes));
  }
}

}  // namespace vm_mem
