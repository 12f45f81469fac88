#include "vm_mem/memory_listener.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using vm_test::range;

class Recorder : public MemoryListener {
 public:
  explicit Recorder(MemoryManager& memory) : memory_(&memory) {}

  void begin() override { events_.push_back("begin"); }
  void region_added(const MapSection& section) override {
    events_.push_back("added " + std::to_string(section.range.begin().value));
    // The change is published already.
    EXPECT_EQ(memory_->map()->find(section.range.begin())->region, section.region);
  }
  void region_removed(const MapSection& section) override {
    events_.push_back("removed " + std::to_string(section.range.begin().value));
    EXPECT_EQ(memory_->map()->find(section.range.begin()), nullptr);
    if (section.host != nullptr) last_byte_ = section.host[0];
  }
  void commit() override { events_.push_back("commit"); }

  std::vector<std::string> take() { return std::exchange(events_, {}); }
  std::byte last_byte() const { return last_byte_; }

 private:
  MemoryManager* memory_;
  std::vector<std::string> events_;
  std::byte last_byte_{};
};

using Events = std::vector<std::string>;

TEST(MemoryListenerTest, IsToldWhatIsThereThenEveryChange) {
  const auto memory = MemoryManager::create({}).value();
  ASSERT_TRUE(memory->add_ram(range(0x2000, 0x1000)).ok());
  const RegionId low = memory->add_ram(range(0x1000, 0x1000)).value();
  Recorder recorder(*memory);
  memory->add_listener(&recorder);
  EXPECT_EQ(recorder.take(), (Events{"begin", "added 4096", "added 8192", "commit"}));
  ScriptedDevice device;
  ASSERT_TRUE(memory->add_mmio(range(0x4000, 0x1000), &device).ok());
  EXPECT_EQ(recorder.take(), (Events{"begin", "added 16384", "commit"}));
  ASSERT_TRUE(memory->remove_region(low, RemovePolicy::kRefuse).ok());
  EXPECT_EQ(recorder.take(), (Events{"begin", "removed 4096", "commit"}));
}

TEST(MemoryListenerTest, HearsNothingOfAChangeThatFails) {
  const auto memory = MemoryManager::create({}).value();
  Recorder recorder(*memory);
  memory->add_listener(&recorder);
  EXPECT_EQ(recorder.take(), (Events{"begin", "commit"}));
  EXPECT_FALSE(memory->add_ram(range(0x1001, 0x1000)).ok());
  EXPECT_FALSE(memory->remove_region(RegionId{5}, RemovePolicy::kWait).ok());
  EXPECT_EQ(recorder.take(), Events{});
}

TEST(MemoryListenerTest, HearsNothingOnceRemoved) {
  const auto memory = MemoryManager::create({}).value();
  Recorder recorder(*memory);
  memory->add_listener(&recorder);
  memory->remove_listener(&recorder);
  recorder.take();
  ASSERT_TRUE(memory->add_ram(range(0x1000, 0x1000)).ok());
  EXPECT_EQ(recorder.take(), Events{});
}

TEST(MemoryListenerTest, ARemovedRegionsMemoryIsStillThereDuringTheCall) {
  const auto memory = MemoryManager::create({}).value();
  const RegionId id = memory->add_ram(range(0x1000, 0x1000)).value();
  ASSERT_TRUE(memory->store(GuestAddress{0x1000}, std::uint8_t{0x5a}).ok());
  Recorder recorder(*memory);
  memory->add_listener(&recorder);
  ASSERT_TRUE(memory->remove_region(id, RemovePolicy::kWait).ok());
  EXPECT_EQ(recorder.last_byte(), std::byte{0x5a});
}

// A table of slots, as KVM wants it, asks about the regions that it hears of.
class Asker : public MemoryListener {
 public:
  explicit Asker(MemoryManager& memory) : memory_(&memory) {}
  void region_added(const MapSection& section) override {
    fd_ = memory_->region_fd(section.region).value();
    std::uint8_t byte = 0;
    EXPECT_TRUE(memory_->load(section.range.begin(), byte).ok());
  }
  void region_removed(const MapSection&) override {}
  int fd() const { return fd_; }

 private:
  MemoryManager* memory_;
  int fd_ = -1;
};

TEST(MemoryListenerTest, MayAskAboutRegionsAndAccessMemory) {
  const auto memory = MemoryManager::create({}).value();
  Asker asker(*memory);
  memory->add_listener(&asker);
  ASSERT_TRUE(memory->add_ram(range(0x1000, 0x1000), {.backing = Backing::kMemfd}).ok());
  EXPECT_GE(asker.fd(), 0);
}

}  // namespace
}  // namespace vm_mem
