#include "tests/vm_mem/fuzz/map_steps.h"

#include <atomic>
#include <cstdint>

namespace vm_mem {
namespace {

constexpr unsigned kOperations = 26;

// Mostly whole pages: what is not is refused at once.
std::uint64_t bytes_of(ByteSource& bytes) {
  const std::uint64_t pages = bytes.below(64);
  return pages == 63 ? 4095 : pages % 9 * 4096;
}

// Half of them where many regions meet.
std::uint64_t page_of(std::uint64_t byte) {
  return MapWorld::page_address(byte < 128 ? byte % 16 : byte % MapWorld::kPages);
}

std::uint64_t address_of(ByteSource& bytes) {
  const std::uint64_t byte = bytes.take(1);
  return page_of(byte) + (byte == 255 ? 8 : 0);
}

int priority_of(ByteSource& bytes) { return static_cast<int>(bytes.below(4)) - 1; }

void take_several(MapWorld& world, ByteSource& bytes) {
  const std::uint64_t steps = bytes.below(6);
  const Enabled kept = steps % 2 == 0 ? Enabled::kYes : Enabled::kNo;
  world.change(
      [&] {
        for (std::uint64_t i = 0; i < steps; ++i) take_map_step(world, bytes);
      },
      kept);
}

void add_one(MapWorld& world, ByteSource& bytes, RegionType type) {
  const std::uint64_t begin = address_of(bytes);
  const std::uint64_t size = bytes_of(bytes);
  const int priority = priority_of(bytes);
  const std::uint64_t container = bytes.take(1);
  world.add(type, begin, size, priority, container, container % 5 * 4096);
}

void add_losable(MapWorld& world, ByteSource& bytes) {
  const std::uint64_t begin = address_of(bytes);
  const std::uint64_t size = bytes_of(bytes);
  const int priority = priority_of(bytes);
  const std::uint64_t container = bytes.take(1);
  world.add_losable(begin / 4096 % 2 == 0 ? Loss::kTruncation : Loss::kProtection, begin, size,
                    priority, container);
}

void add_alias(MapWorld& world, ByteSource& bytes) {
  const std::uint64_t begin = address_of(bytes);
  const std::uint64_t size = bytes_of(bytes);
  const int priority = priority_of(bytes);
  const std::uint64_t container = bytes.take(1);
  const std::uint64_t pick = bytes.take(1);
  world.add_alias(begin, size, priority, container, pick, bytes.below(8) * 4096);
}

// Near a page's edge, or anywhere in it.
std::uint64_t place_of(ByteSource& bytes) {
  const std::uint64_t page = page_of(bytes.take(1));
  const std::uint64_t delta = bytes.take(1);
  return delta < 192 ? page + delta / 4 - 24 : page + delta % 64 * 61;
}

std::uint64_t length_of(ByteSource& bytes) {
  const std::uint64_t length = bytes.take(1);
  return length < 128 ? length : (length - 127) * 101;
}

void take_access(MapWorld& world, ByteSource& bytes, unsigned what) {
  const std::uint64_t a = place_of(bytes);
  const std::uint64_t choice = bytes.take(1);
  const Through through = choice % 2 == 0 ? Through::kManager : Through::kReader;
  const unsigned width = 1u << (choice / 2 % 4);
  const auto order = static_cast<std::memory_order>(choice / 8 % 6);
  // Copies are often between places that are near each other.
  const std::uint64_t near = a + choice / 2 % 64 - 32;
  if (world.changing()) return;
  switch (what) {
    case 16: return world.read(a, length_of(bytes), through);
    case 17: return world.write(a, length_of(bytes), choice, through);
    case 18: return world.fill(a, length_of(bytes), static_cast<std::uint8_t>(choice), through);
    case 19: return world.copy(a, near, length_of(bytes), through);
    case 20: return world.copy(a, place_of(bytes), length_of(bytes), through);
    case 21: return world.compare(a, place_of(bytes), length_of(bytes));
    case 22: return world.load(a, width, order);
    case 23: return world.store(a, width, choice * 0x0101'0101'0101'0101, order);
    case 24:
      return world.modify(a, width, static_cast<unsigned>(choice / 8 % 5),
                          choice * 0x0103'0507'090b'0d0f);
    default: return world.compare_exchange(a, width, choice / 8, choice);
  }
}

}  // namespace

void take_map_step(MapWorld& world, ByteSource& bytes) {
  const unsigned what = static_cast<unsigned>(bytes.below(kOperations));
  if (what >= 16) return take_access(world, bytes, what);
  switch (what) {
    case 0: return add_one(world, bytes, RegionType::kRam);
    case 1: return add_one(world, bytes, RegionType::kRom);
    case 2: return add_one(world, bytes, RegionType::kMmio);
    case 3: return add_one(world, bytes, RegionType::kContainer);
    case 4: return add_losable(world, bytes);
    case 5:
    case 6: return add_alias(world, bytes);
    default: break;
  }
  const std::uint64_t pick = bytes.take(1);
  switch (what) {
    case 7: return world.remove(pick, pick % 2 == 0 ? RemovePolicy::kRefuse : RemovePolicy::kWait);
    case 8: return world.set_enabled(pick / 2, pick % 2 == 0 ? Enabled::kNo : Enabled::kYes);
    case 9: return world.set_protection(pick, static_cast<Protection>(bytes.below(3)));
    case 10: return world.move(pick, address_of(bytes));
    case 11: return world.resize(pick, bytes_of(bytes));
    case 12:
      return pick % 2 == 0 ? world.lose(pick / 2, bytes.take(1)) : world.bring_back(pick / 2);
    case 13: return world.lease(pick % MapWorld::kPages, 1 + bytes.below(3));
    case 14: return world.end_lease(pick);
    default: return take_several(world, bytes);
  }
}

}  // namespace vm_mem
