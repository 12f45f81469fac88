#include "tests/vm_mem/model_world.h"

#include <algorithm>
#include <cstring>

namespace vm_mem {
namespace {

const std::byte* bytes_of(const std::vector<std::uint8_t>& bytes) {
  return reinterpret_cast<const std::byte*>(bytes.data());
}
GuestRange range(std::uint64_t begin, std::uint64_t bytes) {
  return GuestRange::make(GuestAddress{begin}, bytes).value();
}

}  // namespace

void World::compare_state() {
  const auto map = manager_->map();
  require(map->sections().size() == model_.regions().size());
  for (auto& [key, region] : model_.regions()) {
    const MapSection* section = map->find(GuestAddress{region.begin});
    require(section != nullptr);
    require(section->range == range(region.begin, region.bytes));
    require(section->kind == region.kind);
    if (region.backing == nullptr) continue;
    const std::uint8_t* bytes = region.backing->bytes.data() + region.offset;
    require(std::memcmp(section->host, bytes, region.bytes) == 0);
    if (!entries_.at(key).tracked) continue;
    require(manager_->dirty_page_count(entries_.at(key).id).value() ==
            region.backing->dirty_pages.size());
  }
  for (std::size_t i = 0; i < kDeviceCount; ++i) {
    require(real_devices_[i].log() == model_devices_[i].log());
    counts()["device element"] += real_devices_[i].log().size();
    real_devices_[i].clear_log();
    model_devices_[i].clear_log();
  }
}

void World::expect_added(const char* what, const absl::StatusOr<RegionId>& added,
                         const ModelRegion& region, absl::StatusCode otherwise, Entry entry) {
  const absl::StatusCode wanted =
      model_.is_free(region.begin, region.bytes) ? otherwise : absl::StatusCode::kAlreadyExists;
  ++counts()[std::string(what) + " " + absl::StatusCodeToString(wanted)];
  trace_ << what << ": " << added.status() << "\n";
  require(added.status().code() == wanted);
  if (added.ok()) {
    entry.id = *added;
    if (entry.shows == 0) entry.shows = next_key_;
    entries_[next_key_] = entry;
    model_.regions()[next_key_++] = region;
  }
  compare_state();
}

void World::add_ram(std::uint64_t begin, std::uint64_t bytes, RamOptions options) {
  auto backing = std::make_shared<ModelBacking>();
  backing->bytes.resize(bytes);
  const bool tracked = options.dirty_tracking == DirtyTracking::kOn;
  expect_added("add_ram", manager_->add_ram(range(begin, bytes), options),
               {begin, bytes, RegionKind::kRam, backing, 0, nullptr}, absl::StatusCode::kOk,
               {.tracked = tracked});
  // Memory that is all zero would hide what went wrong.
  if (entries_.contains(next_key_ - 1) && model_.regions().at(next_key_ - 1).begin == begin) {
    write(begin, bytes, begin + next_key_, Through::kManager);
  }
}

void World::add_rom(std::uint64_t begin, std::uint64_t bytes, std::uint64_t seed) {
  const std::vector<std::uint8_t> content = pattern(bytes - seed % bytes, seed);
  auto backing = std::make_shared<ModelBacking>();
  backing->bytes.assign(bytes, 0);
  std::copy(content.begin(), content.end(), backing->bytes.begin());
  expect_added("add_rom",
               manager_->add_rom(range(begin, bytes), {bytes_of(content), content.size()}),
               {begin, bytes, RegionKind::kRom, backing, 0, nullptr, Protection::kRead},
               absl::StatusCode::kOk, {});
}

void World::add_mmio(std::uint64_t begin, std::uint64_t bytes, std::size_t device) {
  expect_added("add_mmio", manager_->add_mmio(range(begin, bytes), &real_devices_[device]),
               {begin, bytes, RegionKind::kMmio, nullptr, 0, &model_devices_[device]},
               absl::StatusCode::kOk, {});
}

std::uint64_t World::pick_key(std::uint64_t pick) const {
  return std::next(entries_.begin(), static_cast<std::ptrdiff_t>(pick % entries_.size()))->first;
}

void World::add_alias(std::uint64_t begin, std::uint64_t bytes, std::uint64_t pick,
                      std::uint64_t offset) {
  if (entries_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const ModelRegion& target = model_.regions().at(key);
  const bool fits = offset + bytes <= target.bytes;
  ModelRegion region{begin,
                     bytes,
                     target.kind,
                     target.backing,
                     target.offset + offset,
                     target.device,
                     target.protection};
  expect_added("add_alias", manager_->add_alias(range(begin, bytes), entries_.at(key).id, offset),
               region, fits ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument,
               {.shows = entries_.at(key).shows});
}

void World::remove(std::uint64_t pick, RemovePolicy policy) {
  if (entries_.empty()) return;
  const std::uint64_t key = pick_key(pick);
  const bool shown = std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.first != key && entry.second.shows == key;
  });
  reader_.park();
  const absl::Status removed = manager_->remove_region(entries_.at(key).id, policy);
  const absl::StatusCode wanted =
      shown ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kOk;
  ++counts()["remove " + absl::StatusCodeToString(wanted)];
  trace_ << "remove: " << removed << "\n";
  require(removed.code() == wanted);
  if (removed.ok()) {
    require(manager_->remove_region(entries_.at(key).id, policy).code() ==
            absl::StatusCode::kNotFound);
    entries_.erase(key);
    model_.regions().erase(key);
  }
  compare_state();
}

void World::refuse(std::size_t device, std::uint64_t offset, AccessFault answer) {
  real_devices_[device].refuse(offset, answer);
  model_devices_[device].refuse(offset, answer);
}

}  // namespace vm_mem
