// Random clients, regions, writes and harvests against a model that keeps, for each
// client and region, the set of pages that it has to be told of.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = kDirtyPageBytes;
constexpr std::uint64_t kSlotBytes = 0x100'0000;
constexpr std::uint64_t kMostPages = 700;
using Pages = std::set<std::uint64_t>;

std::uint64_t draw(std::uint64_t end) { return *rc::gen::inRange<std::uint64_t>(0, end); }

Pages pages_of(const DirtyPages& found) {
  Pages pages;
  std::uint64_t before = 0;
  for (const DirtyRun& run : found.runs()) {
    RC_ASSERT(run.first < run.end);
    RC_ASSERT(pages.empty() || run.first > before);
    for (std::uint64_t page = run.first; page < run.end; ++page) pages.insert(page);
    before = run.end;
  }
  for (std::uint64_t page = 0; page < 64 * found.words().size(); ++page) {
    RC_ASSERT(found.is_dirty(page) == pages.contains(page));
  }
  RC_ASSERT(found.page_count() == pages.size());
  return pages;
}

class World {
 public:
  void step() {
    switch (draw(10)) {
      case 0: return add_region();
      case 1: return remove_region();
      case 2: return add_client();
      case 3: return remove_client();
      case 4: return harvest_all();
      case 5: return merge();
      case 6:
      case 7: return harvest_one();
      default: return write();
    }
  }

 private:
  struct TrackedRegion {
    std::uint64_t slot = 0;
    std::uint64_t pages = 0;
  };
  struct ClientModel {
    std::map<RegionId, Pages> owed;
  };

  template <typename Key, typename Value>
  static Key pick(const std::map<Key, Value>& from) {
    return std::next(from.begin(), static_cast<std::ptrdiff_t>(draw(from.size())))->first;
  }

  void add_region() {
    const std::uint64_t slot = next_slot_++;
    const std::uint64_t pages = 1 + draw(kMostPages);
    const auto range = GuestRange::make(GuestAddress{slot * kSlotBytes}, pages * kPage).value();
    const auto id = memory_->add_ram(range, {.dirty_tracking = DirtyTracking::kOn});
    RC_ASSERT(id.ok());
    regions_[*id] = {slot, pages};
  }
  void remove_region() {
    if (regions_.empty()) return;
    const RegionId id = pick(regions_);
    RC_ASSERT(memory_->remove_region(id, RemovePolicy::kWait).ok());
    regions_.erase(id);
    for (auto& [client, model] : clients_) model.owed.erase(id);
  }
  void add_client() {
    const bool all = draw(3) == 0;
    const auto client = memory_->add_dirty_client(std::to_string(next_name_++),
                                                  all ? DirtyStart::kAllDirty : DirtyStart::kClean);
    RC_ASSERT(client.ok());
    ClientModel& model = clients_[*client];
    if (!all) return;
    for (const auto& [id, region] : regions_) {
      for (std::uint64_t page = 0; page < region.pages; ++page) model.owed[id].insert(page);
    }
  }
  void remove_client() {
    if (clients_.empty()) return;
    const DirtyClient client = pick(clients_);
    RC_ASSERT(memory_->remove_dirty_client(client).ok());
    clients_.erase(client);
  }

  void mark(RegionId id, std::uint64_t page) {
    for (auto& [client, model] : clients_) model.owed[id].insert(page);
  }
  void write() {
    if (regions_.empty()) return;
    const RegionId id = pick(regions_);
    const TrackedRegion& region = regions_[id];
    const std::uint64_t first = draw(region.pages);
    const std::uint64_t count = 1 + draw(region.pages - first);
    const GuestAddress at{region.slot * kSlotBytes + first * kPage + kPage / 2};
    RC_ASSERT(memory_->fill_block(at, std::byte{1}, (count - 1) * kPage + kPage / 2).ok());
    for (std::uint64_t page = first; page < first + count; ++page) mark(id, page);
  }
  void merge() {
    if (regions_.empty()) return;
    const RegionId id = pick(regions_);
    std::vector<std::uint64_t> words(1 + draw(12));
    for (std::uint64_t& word : words) word = *rc::gen::arbitrary<std::uint64_t>();
    const auto map = memory_->map();
    map->find(GuestAddress{regions_[id].slot * kSlotBytes})->dirty_log->merge_bitmap(words);
    for (std::uint64_t page = 0; page < regions_[id].pages && page < 64 * words.size(); ++page) {
      if ((words[page / 64] >> page % 64 & 1) != 0) mark(id, page);
    }
  }

  void harvest_one() {
    if (regions_.empty() || clients_.empty()) return;
    const DirtyClient client = pick(clients_);
    const RegionId id = pick(regions_);
    RC_ASSERT(memory_->harvest_dirty(client, id, found_).ok());
    RC_ASSERT(pages_of(found_) == clients_[client].owed[id]);
    clients_[client].owed[id].clear();
  }
  void harvest_all() {
    if (clients_.empty()) return;
    const DirtyClient client = pick(clients_);
    RC_ASSERT(memory_->harvest_dirty(client, all_found_).ok());
    RC_ASSERT(all_found_.size() == regions_.size());
    for (const DirtyRegion& region : all_found_) {
      RC_ASSERT(regions_.contains(region.region));
      RC_ASSERT(pages_of(region.pages) == clients_[client].owed[region.region]);
    }
    clients_[client].owed.clear();
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  std::map<RegionId, TrackedRegion> regions_;
  std::map<DirtyClient, ClientModel> clients_;
  std::uint64_t next_slot_ = 0;
  int next_name_ = 0;
  DirtyPages found_;
  std::vector<DirtyRegion> all_found_;
};

RC_GTEST_PROP(DirtyBookPropertyTest, EveryClientIsToldEveryPageOnce, ()) {
  World world;
  const std::uint64_t steps = draw(80);
  for (std::uint64_t i = 0; i < steps; ++i) world.step();
}

}  // namespace
}  // namespace vm_mem
