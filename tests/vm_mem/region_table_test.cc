// Changes of the map: what each error says, and that it changes nothing.
#include "vm_mem/internal/region_table.h"

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

class RegionTableTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  RegionId ram() const { return ram_; }
  RegionId rom() const { return rom_; }

  // `status` is that error, and the map is the one before.
  void expect_refused(const absl::Status& status, absl::StatusCode code, const char* message) {
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(status.message(), message);
    EXPECT_EQ(mm().generation(), generation_);
    EXPECT_EQ(mm().map(), map_);
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({.max_regions = 4}).value();
  RegionId ram_ = memory_->add_ram(range(0x10000, 0x4000)).value();
  RegionId rom_ = memory_->add_rom(range(0x20000, 0x1000), {}).value();
  std::uint64_t generation_ = memory_->generation();
  std::shared_ptr<const MemoryMap> map_ = memory_->map();
};

TEST_F(RegionTableTest, RefusesAnEmptyRange) {
  expect_refused(mm().add_ram(range(0x3000, 0)).status(), absl::StatusCode::kInvalidArgument,
                 "empty range at 0x3000");
}

TEST_F(RegionTableTest, RefusesAMisalignedRange) {
  expect_refused(mm().add_ram(range(0x3001, 0x1000)).status(), absl::StatusCode::kInvalidArgument,
                 "range [0x3001, 0x4001) does not begin and end at multiples of 0x1000");
  expect_refused(mm().add_rom(range(0x3000, 0x1001), {}).status(),
                 absl::StatusCode::kInvalidArgument,
                 "range [0x3000, 0x4001) does not begin and end at multiples of 0x1000");
}

TEST_F(RegionTableTest, NamesBothRangesThatOverlap) {
  for (const auto& [begin, bytes] : {std::pair<std::uint64_t, std::uint64_t>{0xf000, 0x2000},
                                     {0x10000, 0x4000},
                                     {0x11000, 0x1000},
                                     {0x13000, 0x2000},
                                     {0x0, 0x14000}}) {
    const absl::Status status = mm().add_ram(range(begin, bytes)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_NE(std::string(status.message()).find("overlaps region 0x1 at [0x10000, 0x14000)"),
              std::string::npos)
        << status;
  }
  ScriptedDevice device;
  expect_refused(mm().add_mmio(range(0x1f000, 0x2000), &device).status(),
                 absl::StatusCode::kAlreadyExists,
                 "range [0x1f000, 0x21000) overlaps region 0x2 at [0x20000, 0x21000)");
}

TEST_F(RegionTableTest, RefusesADeviceWithoutAHandler) {
  expect_refused(mm().add_mmio(range(0x3000, 0x1000), nullptr).status(),
                 absl::StatusCode::kInvalidArgument, "no handler for the MMIO region at 0x3000");
}

TEST_F(RegionTableTest, RefusesContentThatIsLongerThanTheRom) {
  expect_refused(mm().add_rom(range(0x3000, 0x1000), std::vector<std::byte>(0x1001)).status(),
                 absl::StatusCode::kInvalidArgument, "content of 0x1001 bytes for a ROM of 0x1000");
}

TEST_F(RegionTableTest, RefusesAnAliasOfWhatIsNotThere) {
  expect_refused(mm().add_alias(range(0x3000, 0x1000), RegionId{99}, 0).status(),
                 absl::StatusCode::kNotFound, "no region 0x63");
}

TEST_F(RegionTableTest, RefusesAnAliasOutsideItsRegion) {
  for (const std::uint64_t offset :
       {std::uint64_t{0x3000}, std::uint64_t{0x5000}, UINT64_MAX - 0xfff}) {
    const absl::Status status = mm().add_alias(range(0x3000, 0x2000), ram(), offset).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  expect_refused(mm().add_alias(range(0x3000, 0x1000), ram(), 8).status(),
                 absl::StatusCode::kInvalidArgument,
                 "an alias of 0x1000 bytes at offset 0x8 of region 0x1, which has 0x4000 bytes, "
                 "must lie inside it, at a multiple of 0x1000");
}

TEST_F(RegionTableTest, RefusesMoreRegionsThanTheLimit) {
  ASSERT_TRUE(mm().add_ram(range(0x1000, 0x1000)).ok());
  ASSERT_TRUE(mm().add_alias(range(0x2000, 0x1000), ram(), 0).ok());
  const absl::Status status = mm().add_ram(range(0x3000, 0x1000)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the limit of 0x4 regions is reached");
  EXPECT_EQ(mm().map()->sections().size(), 4u);
}

TEST_F(RegionTableTest, TellsWhatTheHostRefused) {
  const absl::Status status = mm().add_ram(range(0x1000'0000, std::uint64_t{1} << 60)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(std::string(status.message())
                  .starts_with("mmap of 0x1000000000000000 bytes failed: errno 12"))
      << status;
}

TEST_F(RegionTableTest, RemovingWhatIsNotThereIsNotFound) {
  expect_refused(mm().remove_region(RegionId{77}, RemovePolicy::kRefuse),
                 absl::StatusCode::kNotFound, "no region 0x4d");
}

TEST_F(RegionTableTest, ARegionThatAnAliasShowsStays) {
  const RegionId alias = mm().add_alias(range(0x3000, 0x1000), ram(), 0x1000).value();
  const absl::Status status = mm().remove_region(ram(), RemovePolicy::kRefuse);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "region 0x1 is shown by alias 0x3 at [0x3000, 0x4000)");
  EXPECT_TRUE(mm().remove_region(alias, RemovePolicy::kWait).ok());
  EXPECT_TRUE(mm().remove_region(ram(), RemovePolicy::kRefuse).ok());
}

TEST_F(RegionTableTest, AnAliasOfAnAliasShowsTheRegionItself) {
  const RegionId first = mm().add_alias(range(0x3000, 0x2000), ram(), 0x1000).value();
  ASSERT_TRUE(mm().add_alias(range(0x6000, 0x1000), first, 0x1000).ok());
  ASSERT_TRUE(mm().remove_region(first, RemovePolicy::kWait).ok());
  ASSERT_TRUE(mm().store(GuestAddress{0x12000}, std::uint32_t{42}).ok());
  std::uint32_t word = 0;
  EXPECT_TRUE(mm().load(GuestAddress{0x6000}, word).ok());
  EXPECT_EQ(word, 42u);
}

TEST_F(RegionTableTest, AnAliasOfRomIsReadOnly) {
  ASSERT_TRUE(mm().add_alias(range(0x3000, 0x1000), rom(), 0).ok());
  EXPECT_EQ(mm().store(GuestAddress{0x3000}, std::uint8_t{1}).fault, AccessFault::kReadOnly);
}

TEST_F(RegionTableTest, OnlyAMemfdHasADescriptor) {
  const absl::Status anonymous = mm().region_fd(ram()).status();
  EXPECT_EQ(anonymous.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(anonymous.message(), "region 0x1 is not backed by a memfd");
  EXPECT_EQ(mm().region_fd(RegionId{9}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegionTableTest, OnlyTrackedRegionsCountDirtyPages) {
  const absl::Status untracked = mm().dirty_page_count(ram()).status();
  EXPECT_EQ(untracked.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(untracked.message(), "writes to region 0x1 are not tracked");
  EXPECT_EQ(mm().dirty_page_count(RegionId{9}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegionTableTest, IdsAreNotReused) {
  ASSERT_TRUE(mm().remove_region(ram(), RemovePolicy::kRefuse).ok());
  EXPECT_NE(mm().add_ram(range(0x10000, 0x4000)).value(), ram());
}

TEST_F(RegionTableTest, EveryChangeRaisesTheGeneration) {
  const std::uint64_t before = mm().generation();
  const RegionId id = mm().add_ram(range(0x1000, 0x1000)).value();
  EXPECT_EQ(mm().generation(), before + 1);
  EXPECT_EQ(mm().map()->generation(), before + 1);
  ASSERT_TRUE(mm().remove_region(id, RemovePolicy::kWait).ok());
  EXPECT_EQ(mm().generation(), before + 2);
}

}  // namespace
}  // namespace vm_mem
