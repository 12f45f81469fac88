#include "vm_mem/granule_table.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_map.h"

namespace vm_mem {
namespace {

constexpr unsigned kBlockShift = BlockIndex::kBlockShift;
constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << kBlockShift;

std::uint64_t block_of(std::uint64_t address) { return address >> kBlockShift; }

constexpr std::uint64_t kCoarsestShift = 63;  // two granules in a block

// For slots without a log.
constinit const std::atomic<std::uint8_t> kAlwaysMarked{kMarkedByte};
static_assert(kMarkedByte == kMarkDirty);

// What an index leads to where there is nothing: one block, of slots that every address
// is out of bounds of. Each structure is followed by its elements.
constexpr MapSlot kNoSlot{.marks = &kAlwaysMarked};
struct alignas(64) NoBlock {
  std::byte before[64]{};
  const MapSlot* slots[2] = {&kNoSlot, &kNoSlot};
};
constexpr NoBlock kNoBlock;
constexpr BlockSlots kNoSlots = &kNoBlock.before[kCoarsestShift];
struct NoIndex {
  BlockIndex index{0, 0};
  BlockSlots block = kNoSlots;
};
constexpr NoIndex kNoIndex;
static_assert(offsetof(NoBlock, slots) == kCoarsestShift + 1);
static_assert(offsetof(NoIndex, block) == sizeof(BlockIndex));

MapSlot::Limits limits(bool permitted, std::uint64_t bytes) {
  if (!permitted) return {};
  return {bytes, bytes / 2, bytes / 4, bytes / 8};
}

MapSlot slot_of(const MapSection& section) {
  const bool loads = !section.recoverable && section.protection != Protection::kNone;
  const bool stores = !section.recoverable && section.protection == Protection::kReadWrite &&
                      section.kind == RegionKind::kRam;
  MapSlot slot;
  slot.begin = section.range.begin().value;
  slot.host = section.host;
  slot.loadable = limits(loads, section.range.bytes());
  slot.storable = limits(stores, section.range.bytes());
  slot.marks = &kAlwaysMarked;
  if (section.dirty_log != nullptr) {
    slot.marks = section.dirty_log->bytes() + section.region_offset / kGuestPageBytes;
    slot.marks_mask = ~std::uint64_t{0};
  }
  slot.dirty_log = section.dirty_log;
  slot.region_offset = section.region_offset;
  return slot;
}

}  // namespace

// A section, as a block that has no other. What a load reads of it lies in one cache line,
// what a store reads in two.
struct alignas(64) GranuleTable::SectionSlot {
  explicit SectionSlot(const MapSection& section)
      : slot(slot_of(section)), bytes(section.range.bytes()) {}
  SectionSlot(const SectionSlot&) = delete;
  SectionSlot& operator=(const SectionSlot&) = delete;

  std::uint64_t last_byte() const { return slot.begin + bytes - 1; }
  bool operator==(const SectionSlot& other) const {
    return slot == other.slot && bytes == other.bytes;
  }

  // Needs:  this object's own alignment.
  BlockSlots block() const { return reinterpret_cast<BlockSlots>(slots) - 1; }

  const MapSlot* slots[2] = {&slot, &slot};
  MapSlot slot;
  std::uint64_t bytes;
};

struct GranuleTable::MixedBlock {
  using Sections = std::span<const std::shared_ptr<const SectionSlot>>;

  // `sections`: what lies in block `number`, in order of address.
  MixedBlock(std::uint64_t number, Sections sections);

  bool shows(std::uint64_t wanted, Sections wanted_sections) const {
    return number == wanted && std::equal(sections.begin(), sections.end(), wanted_sections.begin(),
                                          wanted_sections.end());
  }

  std::uint64_t number;
  std::vector<std::shared_ptr<const SectionSlot>> sections;
  std::vector<std::byte> memory;
  BlockSlots slots;  // in it
};

GranuleTable::MixedBlock::MixedBlock(std::uint64_t block_number, Sections in_order)
    : number(block_number), sections(in_order.begin(), in_order.end()) {
  // The finest boundary between neighbours: no granule may hold a byte of both.
  unsigned shift = kBlockShift - 1;
  for (std::size_t i = 1; i < sections.size(); ++i) {
    const std::uint64_t apart = sections[i - 1]->last_byte() ^ sections[i]->slot.begin;
    shift = std::min(shift, static_cast<unsigned>(std::bit_width(apart)) - 1);
  }
  const std::uint64_t count = std::uint64_t{1} << (kBlockShift - shift);
  memory.resize(64 + count * sizeof(const MapSlot*));
  const auto past = reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
  std::byte* const at = memory.data() + (64 - kBlockShift + shift - past) % 64;
  slots = at;
  const auto fill = [at](std::uint64_t first, std::uint64_t end, const MapSlot* slot) {
    for (std::uint64_t i = first; i < end; ++i) {
      std::memcpy(at + 1 + i * sizeof slot, &slot, sizeof slot);
    }
  };
  fill(0, count, &kNoSlot);
  const std::uint64_t begin = number << kBlockShift;
  for (const auto& section : sections) {
    const std::uint64_t from = std::max(section->slot.begin, begin) - begin;
    const std::uint64_t last = std::min(section->last_byte() - begin, kBlockBytes - 1);
    fill(from >> shift, (last >> shift) + 1, &section->slot);
  }
}

// Of one table. Sections of devices take no part: nothing of theirs is accessed in place.
class GranuleTable::Builder {
 public:
  Builder(GranuleTable& table, const GranuleTable& previous) : table_(table), previous_(previous) {}

  void add_sections(std::span<const MapSection> sections);
  void add_blocks();
  void make_index();

 private:
  struct Block {
    std::uint64_t number;
    BlockSlots slots;
  };
  using Sections = std::span<const std::shared_ptr<const SectionSlot>>;
  enum class OnCollision { kGiveUp, kLeaveOut };

  void add_block(std::uint64_t number, Sections sections);
  std::shared_ptr<const MixedBlock> mixed_block(std::uint64_t number, Sections sections);
  bool try_hash(std::uint64_t multiplier, unsigned bits, OnCollision on_collision);

  GranuleTable& table_;
  const GranuleTable& previous_;
  std::size_t previous_mixed_ = 0;  // how far previous_.mixed_ has been walked
  std::vector<Block> blocks_;       // in order of address
};

// Both lists are in order of address, so one walk finds what the previous map had.
void GranuleTable::Builder::add_sections(std::span<const MapSection> sections) {
  const auto& before = previous_.sections_;
  auto old = before.begin();
  for (const MapSection& section : sections) {
    if (section.host == nullptr) continue;
    const SectionSlot slot(section);
    while (old != before.end() && (*old)->slot.begin < slot.slot.begin) ++old;
    const bool same = old != before.end() && **old == slot;
    table_.sections_.push_back(same ? *old : std::make_shared<const SectionSlot>(section));
  }
}

void GranuleTable::Builder::add_blocks() {
  const Sections sections = table_.sections_;
  std::uint64_t number = 0;
  for (std::size_t first = 0; first < sections.size(); ++number) {
    number = std::max(number, block_of(sections[first]->slot.begin));
    std::size_t after = first + 1;
    while (after < sections.size() && block_of(sections[after]->slot.begin) == number) ++after;
    add_block(number, sections.subspan(first, after - first));
    const bool goes_on = block_of(sections[after - 1]->last_byte()) > number;
    first = goes_on ? after - 1 : after;
  }
}

void GranuleTable::Builder::add_block(std::uint64_t number, Sections sections) {
  if (sections.size() == 1) {
    blocks_.push_back({number, sections.front()->block()});
  } else {
    table_.mixed_.push_back(mixed_block(number, sections));
    blocks_.push_back({number, table_.mixed_.back()->slots});
  }
}

std::shared_ptr<const GranuleTable::MixedBlock> GranuleTable::Builder::mixed_block(
    std::uint64_t number, Sections sections) {
  const auto& before = previous_.mixed_;
  std::size_t& old = previous_mixed_;
  while (old < before.size() && before[old]->number < number) ++old;
  if (old < before.size() && before[old]->shows(number, sections)) return before[old];
  return std::make_shared<const MixedBlock>(number, sections);
}

// The first multiplier takes the low bits of a block's number: blocks in a row, which
// are what most maps have, never collide in it.
void GranuleTable::Builder::make_index() {
  constexpr std::uint64_t kGoldenRatio = 0x9e37'79b9'7f4a'7c15;
  constexpr unsigned kTries = 16;
  constexpr unsigned kMostExtraBits = 8;
  const auto least = std::max(1u, static_cast<unsigned>(std::bit_width(blocks_.size())));
  for (unsigned bits = least; bits < least + kMostExtraBits; ++bits) {
    std::uint64_t multiplier = std::uint64_t{1} << (64 - bits);
    for (unsigned i = 0; i < kTries; ++i) {
      if (try_hash(multiplier, bits, OnCollision::kGiveUp)) return;
      multiplier = (i == 0 ? 1 : multiplier) * kGoldenRatio;
    }
  }
  try_hash(kGoldenRatio, least + kMostExtraBits, OnCollision::kLeaveOut);
}

bool GranuleTable::Builder::try_hash(std::uint64_t multiplier, unsigned bits,
                                     OnCollision on_collision) {
  const std::size_t places = std::size_t{1} << bits;
  std::unique_ptr<BlockIndex, FreeIndex> index(::new (::operator new(
      sizeof(BlockIndex) + places * sizeof(BlockSlots))) BlockIndex{multiplier, 64 - bits});
  auto* const slots = reinterpret_cast<BlockSlots*>(index.get() + 1);
  std::uninitialized_fill_n(slots, places, kNoSlots);
  for (const Block& block : blocks_) {
    BlockSlots& place = slots[(block.number * multiplier) >> (64 - bits)];
    if (place == kNoSlots) {
      place = block.slots;
    } else if (on_collision == OnCollision::kGiveUp) {
      return false;
    }
  }
  table_.index_ = std::move(index);
  return true;
}

void GranuleTable::FreeIndex::operator()(BlockIndex* index) const { ::operator delete(index); }

GranuleTable::GranuleTable() = default;
GranuleTable::GranuleTable(GranuleTable&&) noexcept = default;
GranuleTable& GranuleTable::operator=(GranuleTable&&) noexcept = default;
GranuleTable::~GranuleTable() = default;

GranuleTable::GranuleTable(std::span<const MapSection> sections, const GranuleTable* previous) {
  const GranuleTable nothing;
  Builder builder(*this, previous == nullptr ? nothing : *previous);
  builder.add_sections(sections);
  builder.add_blocks();
  builder.make_index();
}

const BlockIndex& GranuleTable::nowhere() { return kNoIndex.index; }

}  // namespace vm_mem
