// Random maps and random operations, each held to the byte-exact model.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/vm_mem/model_steps.h"

namespace vm_mem {
namespace {

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
      take_step(world, step);
    }
    for (const Step& step : *rc::gen::container<std::vector<Step>>(4, any_step(24, 25))) {
      take_step(world, step);
    }
    for (const Step& step : *rc::gen::container<std::vector<Step>>(any_step(0, kAllSteps))) {
      take_step(world, step);
    }
  }));
}

}  // namespace
}  // namespace vm_mem
