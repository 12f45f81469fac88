#include "tests/vm_mem/model_world.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>

#include "vm_mem/internal/copy_order.h"

namespace vm_mem {
namespace {

std::vector<std::uint8_t> pattern(std::uint64_t bytes, std::uint64_t seed) {
  std::vector<std::uint8_t> pattern(bytes);
  for (std::uint8_t& byte : pattern) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<std::uint8_t>(seed >> 56);
  }
  return pattern;
}

std::string text_of(const AccessResult& result) {
  return std::string(access_fault_name(result.fault)) +
         (result.side == AccessSide::kSource ? " source" : " destination") +
         (result.from_end ? " from_end" : "") + " done " + std::to_string(result.done) + " at " +
         std::to_string(result.at.value);
}

const std::byte* bytes_of(const std::vector<std::uint8_t>& bytes) {
  return reinterpret_cast<const std::byte*>(bytes.data());
}
std::span<std::byte> span_of(std::vector<std::uint8_t>& bytes) {
  return std::as_writable_bytes(std::span(bytes));
}

GuestRange range(std::uint64_t begin, std::uint64_t bytes) {
  return GuestRange::make(GuestAddress{begin}, bytes).value();
}

int sign(int order) { return (order > 0) - (order < 0); }

// Calls `body` with a value of the unsigned type of that many bytes.
template <typename Body>
void with_word(unsigned bytes, std::uint64_t value, Body body) {
  switch (bytes) {
    case 1: return body(static_cast<std::uint8_t>(value));
    case 2: return body(static_cast<std::uint16_t>(value));
    case 4: return body(static_cast<std::uint32_t>(value));
    default: return body(value);
  }
}

template <typename Word>
std::vector<std::uint8_t> bytes_of_word(Word word) {
  std::vector<std::uint8_t> bytes(sizeof word);
  std::memcpy(bytes.data(), &word, sizeof word);
  return bytes;
}

template <typename Word>
Word word_of_bytes(const std::vector<std::uint8_t>& bytes) {
  Word word{};
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

}  // namespace

World::World() : manager_(MemoryManager::create({}).value()), reader_(*manager_) {}

std::map<std::string, std::uint64_t>& World::counts() {
  static std::map<std::string, std::uint64_t> counts;
  return counts;
}

void World::require(bool holds, int line) const {
  if (holds) return;
  throw std::logic_error("model_world.cc:" + std::to_string(line) + " does not hold after\n" +
                         trace_.str());
}

void World::expect_same(const char* what, const AccessResult& real, const AccessResult& model) {
  ++counts()["access"];
  ++counts()[std::string(what) + " " + std::string(access_fault_name(model.fault))];
  trace_ << what << ": " << text_of(real) << ", model: " << text_of(model) << "\n";
  require(real == model);
  expect_same_state();
}

void World::expect_same_state() {
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
  expect_same_state();
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
               {begin, bytes, RegionKind::kRom, backing, 0, nullptr}, absl::StatusCode::kOk, {});
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
  ModelRegion region{begin,        bytes, target.kind, target.backing, target.offset + offset,
                     target.device};
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
  expect_same_state();
}

void World::refuse(std::size_t device, std::uint64_t offset, AccessFault answer) {
  real_devices_[device].refuse(offset, answer);
  model_devices_[device].refuse(offset, answer);
}

void World::read(std::uint64_t from, std::uint64_t bytes, Through through) {
  std::vector<std::uint8_t> real(bytes, 0xee);
  std::vector<std::uint8_t> model(bytes, 0xee);
  const AccessResult result = through == Through::kReader
                                  ? reader_.read(GuestAddress{from}, span_of(real))
                                  : manager_->read(GuestAddress{from}, span_of(real));
  expect_same("read", result, model_.read(from, model));
  require(real == model);
}

void World::write(std::uint64_t to, std::uint64_t bytes, std::uint64_t seed, Through through) {
  const std::vector<std::uint8_t> data = pattern(bytes, seed);
  const std::span<const std::byte> source(bytes_of(data), data.size());
  const AccessResult result = through == Through::kReader
                                  ? reader_.write(GuestAddress{to}, source)
                                  : manager_->write(GuestAddress{to}, source);
  expect_same("write", result, model_.write(to, data));
}

void World::fill(std::uint64_t to, std::uint64_t bytes, std::uint8_t value, Through through) {
  const AccessResult result = through == Through::kReader
                                  ? reader_.fill_block(GuestAddress{to}, std::byte{value}, bytes)
                                  : manager_->fill_block(GuestAddress{to}, std::byte{value}, bytes);
  expect_same("fill", result, model_.fill(to, value, bytes));
}

void World::copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes, Through through) {
  const AccessResult result =
      through == Through::kReader
          ? reader_.copy_block(GuestAddress{to}, GuestAddress{from}, bytes)
          : manager_->copy_block(GuestAddress{to}, GuestAddress{from}, bytes);
  if (result.ok()) {
    const char* const orders[] = {"ascending", "descending", "buffered"};
    const auto order =
        internal::copy_order(*manager_->map(), {GuestAddress{to}, GuestAddress{from}, bytes});
    ++counts()[std::string("copy ") + orders[static_cast<int>(order)]];
  }
  expect_same("copy", result, model_.copy(to, from, bytes));
}

void World::compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes) {
  int real = 99;
  int model = 0;
  const AccessResult result =
      manager_->compare_block(GuestAddress{a}, GuestAddress{b}, bytes, real);
  expect_same("compare", result, model_.compare(a, b, bytes, model));
  require(sign(real) == model);
}

void World::load(std::uint64_t from, unsigned bytes, std::memory_order order) {
  with_word(bytes, 0xeeeeeeeeeeeeeeee, [&](auto real) {
    std::vector<std::uint8_t> model = bytes_of_word(real);
    const auto untouched = model;
    const AccessResult result = manager_->load(GuestAddress{from}, real, order);
    expect_same("load", result, model_.load(from, model));
    require(bytes_of_word(real) == (result.ok() ? model : untouched));
  });
}

void World::store(std::uint64_t to, unsigned bytes, std::uint64_t value, std::memory_order order) {
  with_word(bytes, value, [&](auto word) {
    const AccessResult result = manager_->store(GuestAddress{to}, word, order);
    expect_same("store", result, model_.store(to, bytes_of_word(word)));
  });
}

template <typename Word>
void World::modify_as(std::uint64_t at, unsigned operation, Word operand) {
  std::vector<std::uint8_t> bytes(sizeof(Word));
  const AccessResult wanted = model_.check_modify(at, sizeof(Word));
  if (wanted.ok()) require(model_.load(at, bytes).ok());
  const Word old = word_of_bytes<Word>(bytes);
  Word previous = 0;
  AccessResult result;
  Word next = 0;
  const GuestAddress address{at};
  switch (operation) {
    case 0: next = operand, result = manager_->exchange(address, operand, previous); break;
    case 1:
      next = static_cast<Word>(old + operand);
      result = manager_->fetch_add(address, operand, previous);
      break;
    case 2:
      next = static_cast<Word>(old | operand);
      result = manager_->fetch_or(address, operand, previous);
      break;
    case 3:
      next = static_cast<Word>(old & operand);
      result = manager_->fetch_and(address, operand, previous);
      break;
    default:
      next = static_cast<Word>(old ^ operand);
      result = manager_->fetch_xor(address, operand, previous);
  }
  if (wanted.ok()) require(model_.store(at, bytes_of_word(next)).ok());
  expect_same("modify", result, wanted);
  require(previous == (wanted.ok() ? old : Word{0}));
}

void World::modify(std::uint64_t at, unsigned bytes, unsigned operation, std::uint64_t operand) {
  with_word(bytes, operand, [&](auto word) { modify_as(at, operation, word); });
}

template <typename Word>
void World::compare_exchange_as(std::uint64_t at, Word expected, Word desired) {
  std::vector<std::uint8_t> bytes(sizeof(Word));
  const AccessResult wanted = model_.check_modify(at, sizeof(Word));
  if (wanted.ok()) require(model_.load(at, bytes).ok());
  const Word old = word_of_bytes<Word>(bytes);
  // Half of the time the right guess.
  Word guess = expected % 2 == 0 ? old : expected;
  const bool stores = guess == old;
  if (wanted.ok() && stores) require(model_.store(at, bytes_of_word(desired)).ok());
  const Word unchanged = guess;
  bool exchanged = false;
  const AccessResult result =
      manager_->compare_exchange(GuestAddress{at}, guess, desired, exchanged);
  expect_same("compare_exchange", result, wanted);
  require(exchanged == (wanted.ok() && stores));
  require(guess == (wanted.ok() ? old : unchanged));
}

void World::compare_exchange(std::uint64_t at, unsigned bytes, std::uint64_t expected,
                             std::uint64_t desired) {
  with_word(bytes, expected, [&](auto word) {
    compare_exchange_as(at, word, static_cast<decltype(word)>(desired));
  });
}

}  // namespace vm_mem
