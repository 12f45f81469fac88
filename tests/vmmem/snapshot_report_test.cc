#include "tools/vmmem/snapshot_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot_series.h"

namespace vmmem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using vm_mem::GuestAddress;
using vm_mem::GuestRange;
using vm_mem::Snapshot;

GuestRange range(std::uint64_t begin, std::uint64_t bytes) {
  return *GuestRange::make(GuestAddress{begin}, bytes);
}

TEST(SnapshotReportTest, DensityIsByEqualPartsOfTheRegion) {
  const std::vector<GuestRange> ranges = {range(0x1000, 0x3000), range(0x7000, 0x3000)};
  EXPECT_THAT(density(range(0, 0x8000), ranges, 4), ElementsAre(0.5, 1, 0, 0.5));
  EXPECT_THAT(density(range(0x8000, 0x2000), ranges, 32), ElementsAre(1, 1));
  EXPECT_THAT(density(range(0x10000, 0x3000), ranges, 2), ElementsAre(0, 0));
}

// A chain of two, with states.
class SnapshotReportChainTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = *vm_mem::MemoryManager::create({});
    const vm_mem::RamOptions tracked{.dirty_tracking = vm_mem::DirtyTracking::kOn};
    ASSERT_TRUE(memory_->add_ram(range(0x10000, 0x8000), tracked).ok());
    auto series = vm_mem::SnapshotSeries::begin(*memory_, "snapshots");
    store(0x10000);
    const vm_mem::DeviceState cpu{.id = "cpu/0", .version = 3, .bytes = {std::byte{1}}};
    ASSERT_TRUE(series->save_full(folder_.file("a"), {.states = {cpu}}).ok());
    store(0x11000);
    const vm_mem::DeviceState odd{.id = "\x1b[2J"};
    ASSERT_TRUE(series
                    ->save_incremental(folder_.file("b"), {.states = {cpu, odd},
                                                           .working_set = {GuestAddress{0x11000}}})
                    .ok());
  }
  void store(std::uint64_t address) {
    ASSERT_TRUE(memory_->store(GuestAddress{address}, std::uint64_t{1}).ok());
  }

  const vm_test::TemporaryFolder folder_{vm_test::memory_folder()};
  std::unique_ptr<vm_mem::MemoryManager> memory_;
};

TEST_F(SnapshotReportChainTest, InspectHasTheChainAndNamesThatDoNotReachTheTerminal) {
  const Snapshot snapshot = *Snapshot::open(folder_.file("b"));
  const std::string text = inspect_text(snapshot, {});
  EXPECT_THAT(text, HasSubstr("parent       a, snapshot " + snapshot.info().parent.text()));
  EXPECT_THAT(text, HasSubstr(snapshot.chain()[1].id.text()));
  EXPECT_THAT(text, HasSubstr("working set  1 page (4.0 KiB)"));
  EXPECT_THAT(text, HasSubstr("cpu/0  version 3, 1 B"));
  EXPECT_THAT(text, HasSubstr("\\x1b[2J  version 0, 0 B"));
  EXPECT_THAT(text, HasSubstr("of which 8.0 KiB (25.0 %), 4.0 KiB in this file\n  [##      ]"));
  EXPECT_EQ(text.find('\x1b'), text.npos);
}

TEST_F(SnapshotReportChainTest, InspectWithoutTheParentSaysSo) {
  const Snapshot alone =
      *Snapshot::open(folder_.file("b"), {.parents = vm_mem::SnapshotParents::kIgnore});
  const absl::Status missing = absl::NotFoundError("a: not there");
  const std::string text = inspect_text(alone, missing);
  EXPECT_THAT(text, HasSubstr("1 parent below, which cannot be read:\n             a: not there"));
  EXPECT_THAT(text, HasSubstr("by this file alone"));
  EXPECT_THAT(text, HasSubstr("[ #      ]"));
  const std::string json = inspect_json(alone, missing);
  EXPECT_THAT(json, HasSubstr("\"parents_error\": \"a: not there\""));
  EXPECT_THAT(json, HasSubstr("\"name\": \"a\""));
}

TEST_F(SnapshotReportChainTest, ADiffNamesStatesAndRanges) {
  const Snapshot first = *Snapshot::open(folder_.file("a"));
  const Snapshot second = *Snapshot::open(folder_.file("b"));
  const auto diff = vm_mem::diff_snapshots(first, second);
  ASSERT_TRUE(diff.ok());
  const DiffReport report{.first = first, .second = second, .diff = *diff};
  EXPECT_FALSE(report.is_same());
  EXPECT_THAT(diff_text(report), HasSubstr("0x11000-0x11fff  1 page (4.0 KiB)\n"
                                           "state \\x1b[2J  only in " +
                                           folder_.file("b")));
  EXPECT_THAT(diff_json(report), HasSubstr("\"differing_pages\": 1, \"read_pages\": 0"));
}

}  // namespace
}  // namespace vmmem
