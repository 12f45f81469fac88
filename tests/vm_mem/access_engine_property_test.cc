// Random maps and random operations, each held to the byte-exact model.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <iostream>
#include <ostream>

#include "tests/vm_mem/model_world.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kPages = 24;    // in the middle of the address space
constexpr std::uint64_t kTopPages = 4;  // at its end; the last one cannot be mapped
constexpr std::uint64_t kBase = 0x4'0000;
constexpr std::uint64_t kTop = ~std::uint64_t{0} - kTopPages * kPage + 1;

std::uint64_t page_address(std::uint64_t page) {
  return page < kPages ? kBase + page * kPage : kTop + (page - kPages) * kPage;
}

// An address as a page and the distance from its beginning.
struct Place {
  std::uint64_t page = 0;
  std::int64_t delta = 0;

  std::uint64_t address() const { return page_address(page) + static_cast<std::uint64_t>(delta); }
};

struct Step {
  unsigned what = 0;
  Place a;
  Place b;
  std::uint64_t bytes = 0;
  std::uint64_t value = 0;
};

std::ostream& operator<<(std::ostream& out, const Step& step) {
  return out << "{" << step.what << " a=0x" << std::hex << step.a.address() << " b=0x"
             << step.b.address() << std::dec << " bytes=" << step.bytes << " value=" << step.value
             << "}";
}

// Over the whole range in every case: inRange() alone grows with the size of the case.
template <typename Number>
rc::Gen<Number> any_of(Number first, Number last) {
  return rc::gen::resize(rc::kNominalSize, rc::gen::inRange(first, last));
}

rc::Gen<Place> any_place() {
  const auto delta = rc::gen::weightedOneOf<std::int64_t>(
      {{2, rc::gen::just<std::int64_t>(0)},
       {5, any_of<std::int64_t>(-24, 25)},
       {2, rc::gen::map(any_of<std::int64_t>(0, 512), [](auto n) { return n * 8; })},
       {1, any_of<std::int64_t>(0, 4096)}});
  return rc::gen::build<Place>(
      rc::gen::set(&Place::page, any_of<std::uint64_t>(0, kPages + kTopPages)),
      rc::gen::set(&Place::delta, delta));
}

rc::Gen<std::uint64_t> any_length() {
  return rc::gen::weightedOneOf<std::uint64_t>({{5, any_of<std::uint64_t>(0, 20)},
                                                {4, any_of<std::uint64_t>(0, 300)},
                                                {2, any_of<std::uint64_t>(3000, 13000)}});
}

rc::Gen<Step> any_step(unsigned first, unsigned last) {
  return rc::gen::build<Step>(
      rc::gen::set(&Step::what, any_of(first, last)), rc::gen::set(&Step::a, any_place()),
      rc::gen::set(&Step::b, any_place()), rc::gen::set(&Step::bytes, any_length()),
      rc::gen::set(&Step::value, rc::gen::arbitrary<std::uint64_t>()));
}

constexpr unsigned kMapSteps = 8;
constexpr unsigned kAllSteps = 26;

void change_map(World& world, const Step& step) {
  const std::uint64_t begin = page_address(step.a.page);
  const std::uint64_t last_page = step.a.page < kPages ? kPages : kPages + kTopPages - 1;
  const std::uint64_t room = step.a.page < last_page ? last_page - step.a.page : 0;
  if (room == 0) return;
  const std::uint64_t bytes = (1 + step.value % std::min<std::uint64_t>(room, 4)) * kPage;
  switch (step.what) {
    case 0:
    case 1: return world.add_ram(begin, bytes, {.dirty_tracking = DirtyTracking::kOn});
    case 2: return world.add_ram(begin, bytes, {.backing = Backing::kMemfd});
    case 3: return world.add_rom(begin, bytes, step.value);
    case 4: return world.add_mmio(begin, bytes, step.value % World::kDeviceCount);
    default: return world.add_alias(begin, bytes, step.value / 4, step.b.page % 3 * kPage);
  }
}

void take_step(World& world, const Step& step) {
  const std::uint64_t a = step.a.address();
  const std::uint64_t b = step.b.address();
  const Through through = step.value % 2 == 0 ? Through::kManager : Through::kReader;
  const unsigned width = 1u << (step.bytes % 4);
  const auto order = static_cast<std::memory_order>(step.value % 6);
  constexpr AccessFault kAnswers[] = {AccessFault::kDevice, AccessFault::kBusy,
                                      AccessFault::kReadOnly, AccessFault::kProtected};
  // Copies are often between places that are near each other.
  const std::uint64_t near = a + static_cast<std::uint64_t>(step.b.delta);
  switch (step.what) {
    case 8: return world.read(a, step.bytes, through);
    case 9: return world.write(a, step.bytes, step.value, through);
    case 10: return world.fill(a, step.bytes, static_cast<std::uint8_t>(step.value), through);
    case 11:
    case 12: return world.copy(a, near, step.bytes, through);
    case 13: return world.copy(near + kPage, a, step.bytes, through);
    case 14:
    case 15: return world.copy(a, b, step.bytes, through);
    case 16:
      // Whole pages at once: chains and cycles of aliases.
      return world.copy(page_address(step.a.page), page_address(step.b.page),
                        (1 + step.bytes % 6) * kPage, through);
    case 17: return world.compare(a, b, step.bytes);
    case 18: return world.load(a, width, order);
    case 19: return world.store(a, width, step.value, order);
    case 20: return world.modify(a, width, static_cast<unsigned>(step.value % 5), step.value);
    case 21: return world.compare_exchange(a, width, step.value, step.value >> 7);
    case 22: return world.compare(a, near, step.bytes);
    case 23:
      return world.remove(step.value,
                          step.bytes % 2 == 0 ? RemovePolicy::kRefuse : RemovePolicy::kWait);
    case 24:
      return world.refuse(step.value % World::kDeviceCount,
                          step.a.page % 2 * kPage + static_cast<std::uint64_t>(step.b.delta),
                          kAnswers[step.bytes % 4]);
    default: return world.copy(near, a, step.bytes, through);
  }
}

class AccessEnginePropertyTest : public testing::Test {
 public:
  static void SetUpTestSuite() { ::setenv("RC_PARAMS", "max_success=2500 max_size=100", 0); }
  static void TearDownTestSuite() {
    for (const auto& [what, count] : World::counts()) {
      std::cout << "  " << what << ": " << count << "\n";
    }
  }
};

// Two RAM regions, then windows on them and a few devices, without a hole: copies
// whose ends show the same memory in another order.
void show_memory_again_and_again(World& world) {
  world.add_ram(page_address(0), 3 * kPage, {.dirty_tracking = DirtyTracking::kOn});
  world.add_ram(page_address(3), 2 * kPage, {.dirty_tracking = DirtyTracking::kOn});
  for (std::uint64_t page = 5; page < kPages; ++page) {
    if (*any_of(0, 12) == 0) {
      world.add_mmio(page_address(page), kPage, 0);
    } else {
      world.add_alias(page_address(page), kPage, *any_of<std::uint64_t>(0, 2),
                      *any_of<std::uint64_t>(0, 3) * kPage);
    }
  }
  for (int i = *any_of(0, 3); i > 0; --i) {
    world.refuse(0, *any_of<std::uint64_t>(0, kPage), AccessFault::kDevice);
  }
}

TEST_F(AccessEnginePropertyTest, CopiesThroughAliasesAreMemmove) {
  EXPECT_TRUE(rc::check([] {
    ++World::counts()["aliased case"];
    World world;
    show_memory_again_and_again(world);
    const auto steps = rc::gen::container<std::vector<Step>>(any_step(11, 17));
    for (const Step& step : *rc::gen::scale(0.08, steps)) {
      take_step(world, step);
    }
  }));
}

TEST_F(AccessEnginePropertyTest, EveryResultAndEveryByteIsTheModels) {
  EXPECT_TRUE(rc::check([] {
    ++World::counts()["case"];
    World world;
    for (const Step& step : *rc::gen::container<std::vector<Step>>(14, any_step(0, kMapSteps))) {
      change_map(world, step);
    }
    for (const Step& step : *rc::gen::container<std::vector<Step>>(4, any_step(24, 25))) {
      take_step(world, step);
    }
    for (const Step& step : *rc::gen::container<std::vector<Step>>(any_step(0, kAllSteps))) {
      step.what < kMapSteps ? change_map(world, step) : take_step(world, step);
    }
  }));
}

}  // namespace
}  // namespace vm_mem
