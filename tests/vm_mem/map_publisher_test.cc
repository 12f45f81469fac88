#include "vm_mem/internal/map_publisher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "vm_mem/memory_manager.h"

namespace vm_mem::internal {
namespace {

using Pin = MapPublisher::Pin;

std::shared_ptr<const MemoryMap> map_of(std::uint64_t generation) {
  return std::make_shared<const MemoryMap>(std::vector<MapSection>{}, generation);
}

TEST(MapPublisherTest, BeginsWithAnEmptyMap) {
  MapPublisher maps;
  EXPECT_EQ(Pin(maps).map().generation(), 0u);
  EXPECT_TRUE(maps.current()->sections().empty());
}

TEST(MapPublisherTest, APinSeesTheMapThatWasPublishedLast) {
  MapPublisher maps;
  maps.publish(map_of(1));
  maps.publish(map_of(2));
  EXPECT_EQ(Pin(maps).map().generation(), 2u);
  EXPECT_EQ(maps.current()->generation(), 2u);
}

TEST(MapPublisherTest, AnUnpinnedMapGoesWhenItIsReplaced) {
  MapPublisher maps;
  auto map = map_of(1);
  const std::weak_ptr<const MemoryMap> watched = map;
  maps.publish(std::move(map));
  EXPECT_FALSE(watched.expired());
  maps.publish(map_of(2));
  EXPECT_TRUE(watched.expired());
}

TEST(MapPublisherTest, APinnedMapGoesWithItsLastPin) {
  MapPublisher maps;
  auto map = map_of(1);
  const std::weak_ptr<const MemoryMap> watched = map;
  maps.publish(std::move(map));
  {
    const Pin outer(maps);
    {
      const Pin inner(maps);
      maps.publish(map_of(2));
      EXPECT_EQ(inner.map().generation(), 1u);
      EXPECT_EQ(Pin(maps).map().generation(), 2u);
    }
    EXPECT_FALSE(watched.expired());
    EXPECT_EQ(outer.map().generation(), 1u);
  }
  EXPECT_TRUE(watched.expired());
}

TEST(MapPublisherTest, MorePinsThanSlotsHoldTheirMapsToo) {
  MapPublisher maps;
  auto map = map_of(1);
  const std::weak_ptr<const MemoryMap> watched = map;
  maps.publish(std::move(map));
  std::vector<std::unique_ptr<Pin>> pins;
  for (std::size_t i = 0; i < 2 * MapPublisher::kSlotCount; ++i) {
    pins.push_back(std::make_unique<Pin>(maps));
  }
  maps.publish(map_of(2));
  for (const auto& pin : pins) EXPECT_EQ(pin->map().generation(), 1u);
  pins.erase(pins.begin(), pins.end() - 1);  // one that has no slot
  EXPECT_FALSE(watched.expired());
  pins.clear();
  EXPECT_TRUE(watched.expired());
}

TEST(MapPublisherTest, PinsNeverSeeAFreedMap) {
  MapPublisher maps;
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      while (!stop.load(std::memory_order_relaxed)) {
        const Pin outer(maps);
        const Pin inner(maps);
        EXPECT_GE(outer.map().generation(), last);
        EXPECT_GE(inner.map().generation(), outer.map().generation());
        last = outer.map().generation();
      }
    });
  }
  std::vector<std::weak_ptr<const MemoryMap>> published;
  for (std::uint64_t generation = 1; generation <= 3000; ++generation) {
    auto map = map_of(generation);
    published.emplace_back(map);
    maps.publish(std::move(map));
  }
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& reader : readers) reader.join();
  published.pop_back();
  for (const auto& map : published) EXPECT_TRUE(map.expired());
}

// What a device does when it is written to.
class ActingDevice : public MmioHandler {
 public:
  std::function<void()> action;

  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    value = 0;
    return mmio_write(0, 0, 0);
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    action();
    return AccessFault::kNone;
  }
};

class RemovalTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  RegionId add_ram(std::uint64_t begin) { return mm().add_ram(page(begin)).value(); }
  std::weak_ptr<const void> memory_at(std::uint64_t address) {
    return mm().map()->find(GuestAddress{address})->owner;
  }
  static GuestRange page(std::uint64_t begin) {
    return GuestRange::make(GuestAddress{begin}, 0x1000).value();
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
};

TEST_F(RemovalTest, MemoryGoesAtOnceWhereNobodyReads) {
  const RegionId id = add_ram(0x1000);
  const auto memory = memory_at(0x1000);
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
  EXPECT_TRUE(memory.expired());
}

TEST_F(RemovalTest, RefuseDoesNotWaitForAMapThatIsHeld) {
  const RegionId id = add_ram(0x1000);
  auto held = mm().map();
  const auto memory = memory_at(0x1000);
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kRefuse).ok());
  EXPECT_EQ(mm().store(GuestAddress{0x1000}, std::uint8_t{1}).fault, AccessFault::kUnmapped);
  EXPECT_FALSE(memory.expired());
  held->sections()[0].host[0] = std::byte{1};
  held.reset();
  EXPECT_TRUE(memory.expired());
}

TEST_F(RemovalTest, WaitReturnsOnceTheMemoryIsGone) {
  const RegionId id = add_ram(0x1000);
  auto held = mm().map();
  const auto memory = memory_at(0x1000);
  std::atomic<bool> removed{false};
  std::thread remover([&] {
    EXPECT_TRUE(mm().remove_region(id, RemovePolicy::kWait).ok());
    EXPECT_TRUE(memory.expired());
    removed.store(true);
  });
  while (mm().map()->find(GuestAddress{0x1000}) != nullptr) std::this_thread::yield();
  EXPECT_FALSE(removed.load());
  held.reset();
  remover.join();
}

TEST_F(RemovalTest, ADeviceMayRemoveWhatItsOwnAccessUses) {
  const RegionId ram = add_ram(0x1000);
  ActingDevice device;
  const RegionId mmio = mm().add_mmio(page(0x2000), &device).value();
  const auto memory = memory_at(0x1000);
  bool acted = false;
  device.action = [&] {
    if (std::exchange(acted, true)) return;
    ASSERT_TRUE(mm().remove_region(ram, RemovePolicy::kRefuse).ok());
    ASSERT_TRUE(mm().remove_region(mmio, RemovePolicy::kRefuse).ok());
    add_ram(0x2000);
    EXPECT_FALSE(memory.expired());
  };
  // The copy goes on, on the map that it began with.
  EXPECT_TRUE(mm().copy_block(GuestAddress{0x2000}, GuestAddress{0x1000}, 0x1000).ok());
  EXPECT_TRUE(memory.expired());
  EXPECT_EQ(mm().map()->sections().size(), 1u);
}

TEST_F(RemovalTest, AnAccessOfAnotherThreadKeepsTheMemoryUntilItEnds) {
  const RegionId ram = add_ram(0x1000);
  ActingDevice device;
  ASSERT_TRUE(mm().add_mmio(page(0x2000), &device).ok());
  std::atomic<bool> inside{false};
  std::atomic<bool> go_on{false};
  device.action = [&] {
    inside.store(true);
    while (!go_on.load()) std::this_thread::yield();
  };
  const auto memory = memory_at(0x1000);
  std::thread access(
      [&] { EXPECT_TRUE(mm().copy_block(GuestAddress{0x2000}, GuestAddress{0x1000}, 8).ok()); });
  while (!inside.load()) std::this_thread::yield();
  ASSERT_TRUE(mm().remove_region(ram, RemovePolicy::kRefuse).ok());
  EXPECT_FALSE(memory.expired());
  go_on.store(true);
  access.join();
  EXPECT_TRUE(memory.expired());
}

TEST_F(RemovalTest, AccessesNestAsDeepAsDevicesCallEachOther) {
  ActingDevice device;
  ASSERT_TRUE(mm().add_mmio(page(0x2000), &device).ok());
  int depth = 0;
  device.action = [&] {
    if (++depth == 200) return;
    std::uint8_t byte = 0;
    EXPECT_TRUE(mm().load(GuestAddress{0x2000}, byte).ok());
  };
  EXPECT_TRUE(mm().store(GuestAddress{0x2000}, std::uint8_t{1}).ok());
  EXPECT_EQ(depth, 200);
}

}  // namespace
}  // namespace vm_mem::internal
