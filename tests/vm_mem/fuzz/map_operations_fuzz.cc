// Reads bytes as changes of a map, one after the other or several at once.
#include <algorithm>
#include <cstdint>
#include <span>

#include "tests/vm_mem/fuzz/byte_source.h"
#include "tests/vm_mem/fuzz/fuzz_target.h"
#include "tests/vm_mem/fuzz/map_world.h"

namespace vm_mem {
namespace {

constexpr int kMostSteps = 40;
constexpr unsigned kOperations = 16;

// Mostly whole pages: what is not is refused at once.
std::uint64_t bytes_of(ByteSource& bytes) {
  const std::uint64_t pages = bytes.below(64);
  return pages == 63 ? 4095 : pages % 9 * 4096;
}

std::uint64_t address_of(ByteSource& bytes) {
  const std::uint64_t page = bytes.take(1);
  return MapWorld::page_address(page % MapWorld::kPages) + (page == 255 ? 8 : 0);
}

int priority_of(ByteSource& bytes) { return static_cast<int>(bytes.below(4)) - 1; }

void take_step(MapWorld& world, ByteSource& bytes);

void take_several(MapWorld& world, ByteSource& bytes) {
  const std::uint64_t steps = bytes.below(6);
  const Enabled kept = steps % 2 == 0 ? Enabled::kYes : Enabled::kNo;
  world.change(
      [&] {
        for (std::uint64_t i = 0; i < steps; ++i) take_step(world, bytes);
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

void add_alias(MapWorld& world, ByteSource& bytes) {
  const std::uint64_t begin = address_of(bytes);
  const std::uint64_t size = bytes_of(bytes);
  const int priority = priority_of(bytes);
  const std::uint64_t container = bytes.take(1);
  const std::uint64_t pick = bytes.take(1);
  world.add_alias(begin, size, priority, container, pick, bytes.below(8) * 4096);
}

void take_step(MapWorld& world, ByteSource& bytes) {
  const unsigned what = static_cast<unsigned>(bytes.below(kOperations));
  switch (what) {
    case 0: return add_one(world, bytes, RegionType::kRam);
    case 1: return add_one(world, bytes, RegionType::kRom);
    case 2: return add_one(world, bytes, RegionType::kMmio);
    case 3:
    case 4: return add_one(world, bytes, RegionType::kContainer);
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
    case 12: return world.store(pick % MapWorld::kPages, bytes.take(1) + 1);
    case 13: return world.lease(pick % MapWorld::kPages, 1 + bytes.below(3));
    case 14: return world.end_lease(pick);
    default: return take_several(world, bytes);
  }
}

}  // namespace
}  // namespace vm_mem

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  vm_mem::ByteSource source({data, bytes});
  vm_mem::MapWorld world;
  for (int i = 0; i < vm_mem::kMostSteps && !source.empty(); ++i) {
    vm_mem::take_step(world, source);
  }
  return 0;
}
