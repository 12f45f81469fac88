#include "tests/vm_mem/model_steps.h"

#include <algorithm>

namespace vm_mem {
namespace {

constexpr std::uint64_t kBase = 0x4'0000;
constexpr std::uint64_t kTop = ~std::uint64_t{0} - kTopPages * kPage + 1;

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

}  // namespace

void take_step(World& world, const Step& step) {
  if (step.what < kMapSteps) return change_map(world, step);
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

std::uint64_t page_address(std::uint64_t page) {
  return page < kPages ? kBase + page * kPage : kTop + (page - kPages) * kPage;
}

std::ostream& operator<<(std::ostream& out, const Step& step) {
  return out << "{" << step.what << " a=0x" << std::hex << step.a.address() << " b=0x"
             << step.b.address() << std::dec << " bytes=" << step.bytes << " value=" << step.value
             << "}";
}

}  // namespace vm_mem
