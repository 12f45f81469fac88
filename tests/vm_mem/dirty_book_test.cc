// Clients of dirty pages, through the manager and, where the host must be short of
// something, through the book itself.
#include "vm_mem/internal/dirty_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/vm_mem/tracked_region.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

using testing::HasSubstr;
using vm_test::range;

constexpr std::uint64_t kPage = kDirtyPageBytes;
constexpr std::uint64_t kPages = 300;
using Pages = std::set<std::uint64_t>;

// What both views say, which must be the same.
Pages pages_of(const DirtyPages& found) {
  Pages by_runs;
  for (const DirtyRun& run : found.runs()) {
    for (std::uint64_t page = run.first; page < run.end; ++page) by_runs.insert(page);
  }
  Pages by_bits;
  for (std::uint64_t page = 0; page < 64 * found.words().size(); ++page) {
    if (found.is_dirty(page)) by_bits.insert(page);
  }
  EXPECT_EQ(by_runs, by_bits);
  EXPECT_EQ(by_runs.size(), found.page_count());
  return by_runs;
}

class DirtyClientsTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  RegionId add_ram(std::uint64_t begin, DirtyTracking tracking = DirtyTracking::kOn) {
    return mm().add_ram(range(begin, kPages * kPage), {.dirty_tracking = tracking}).value();
  }
  DirtyClient add(std::string_view name, DirtyStart start = DirtyStart::kClean) {
    return mm().add_dirty_client(name, start).value();
  }
  void touch(std::uint64_t page, std::uint64_t begin = 0) {
    EXPECT_TRUE(mm().store(GuestAddress{begin + page * kPage + 8}, std::uint64_t{1}).ok());
  }
  Pages harvest(DirtyClient client, RegionId region) {
    EXPECT_EQ(mm().harvest_dirty(client, region, pages_), absl::OkStatus());
    return pages_of(pages_);
  }
  absl::Status refused(DirtyClient client, RegionId region) {
    const absl::Status status = mm().harvest_dirty(client, region, pages_);
    EXPECT_EQ(pages_.page_count(), 0u);
    EXPECT_TRUE(pages_.runs().empty());
    EXPECT_TRUE(pages_.words().empty());
    return status;
  }

  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  RegionId ram_ = add_ram(0);
  DirtyPages pages_;
};

TEST_F(DirtyClientsTest, IsToldWhatWasWrittenSinceTheLastTime) {
  const DirtyClient client = add("snapshot");
  touch(3);
  touch(4);
  touch(299);
  EXPECT_EQ(harvest(client, ram_), (Pages{3, 4, 299}));
  EXPECT_EQ(harvest(client, ram_), Pages{});
  touch(4);
  EXPECT_EQ(harvest(client, ram_), (Pages{4}));
}

TEST_F(DirtyClientsTest, RunsAreMaximal) {
  const DirtyClient client = add("snapshot");
  const std::vector<std::byte> bytes(100 * kPage);
  ASSERT_TRUE(mm().write(GuestAddress{30 * kPage}, bytes).ok());
  touch(200);
  harvest(client, ram_);
  EXPECT_THAT(pages_.runs(), testing::ElementsAre(DirtyRun{30, 130}, DirtyRun{200, 201}));
}

TEST_F(DirtyClientsTest, BeginsCleanWhateverWasWritten) {
  touch(5);
  EXPECT_EQ(mm().dirty_page_count(ram_).value(), 1u);
  const DirtyClient client = add("late");
  EXPECT_EQ(mm().dirty_page_count(ram_).value(), 0u);
  EXPECT_EQ(harvest(client, ram_), Pages{});
}

TEST_F(DirtyClientsTest, MayBeginWithEverythingDirty) {
  const DirtyClient client = add("migration", DirtyStart::kAllDirty);
  EXPECT_EQ(harvest(client, ram_).size(), kPages);
  EXPECT_THAT(pages_.runs(), testing::ElementsAre(DirtyRun{0, kPages}));
  EXPECT_EQ(harvest(client, ram_), Pages{});
}

TEST_F(DirtyClientsTest, KeepEachTheirOwnTime) {
  const DirtyClient fast = add("display");
  const DirtyClient slow = add("snapshot");
  touch(1);
  EXPECT_EQ(harvest(fast, ram_), (Pages{1}));
  touch(2);
  EXPECT_EQ(harvest(fast, ram_), (Pages{2}));
  touch(3);
  EXPECT_EQ(harvest(slow, ram_), (Pages{1, 2, 3}));
  EXPECT_EQ(harvest(fast, ram_), (Pages{3}));
  EXPECT_EQ(harvest(slow, ram_), Pages{});
}

TEST_F(DirtyClientsTest, ANewOneTakesNothingFromTheOthers) {
  const DirtyClient first = add("first");
  touch(7);
  const DirtyClient second = add("second");
  EXPECT_EQ(harvest(second, ram_), Pages{});
  EXPECT_EQ(harvest(first, ram_), (Pages{7}));
}

TEST_F(DirtyClientsTest, ALeavingOneTakesNothingFromTheOthers) {
  const DirtyClient first = add("first");
  const DirtyClient second = add("second");
  touch(7);
  EXPECT_EQ(harvest(first, ram_), (Pages{7}));
  ASSERT_EQ(mm().remove_dirty_client(first), absl::OkStatus());
  touch(8);
  EXPECT_EQ(harvest(second, ram_), (Pages{7, 8}));
}

TEST_F(DirtyClientsTest, CoverRegionsThatComeLater) {
  const DirtyClient client = add("snapshot");
  const RegionId later = add_ram(0x1000'0000);
  EXPECT_EQ(harvest(client, later), Pages{});
  touch(9, 0x1000'0000);
  EXPECT_EQ(harvest(client, later), (Pages{9}));
}

TEST_F(DirtyClientsTest, AliasesMarkTheRegionThatTheyShow) {
  const DirtyClient client = add("snapshot");
  const RegionId alias = mm().add_alias(range(0x2000'0000, 4 * kPage), ram_, 10 * kPage).value();
  touch(2, 0x2000'0000);
  EXPECT_EQ(harvest(client, ram_), (Pages{12}));
  const absl::Status status = refused(client, alias);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("region 0x2 is an alias"));
}

TEST_F(DirtyClientsTest, HarvestAllRegionsAtOnce) {
  const DirtyClient client = add("snapshot");
  const RegionId second = add_ram(0x1000'0000);
  add_ram(0x2000'0000, DirtyTracking::kOff);
  touch(1);
  touch(2, 0x1000'0000);
  std::vector<DirtyRegion> regions;
  ASSERT_EQ(mm().harvest_dirty(client, regions), absl::OkStatus());
  ASSERT_EQ(regions.size(), 2u);
  EXPECT_EQ(regions[0].region, ram_);
  EXPECT_EQ(pages_of(regions[0].pages), (Pages{1}));
  EXPECT_EQ(regions[1].region, second);
  EXPECT_EQ(pages_of(regions[1].pages), (Pages{2}));
}

TEST_F(DirtyClientsTest, HarvestsOfAllForgetRegionsThatAreGone) {
  const DirtyClient fast = add("fast");
  const DirtyClient slow = add("slow");
  const RegionId second = add_ram(0x1000'0000);
  touch(2, 0x1000'0000);
  EXPECT_EQ(harvest(fast, second), (Pages{2}));
  ASSERT_TRUE(mm().remove_region(second, RemovePolicy::kWait).ok());
  std::vector<DirtyRegion> regions;
  ASSERT_EQ(mm().harvest_dirty(slow, regions), absl::OkStatus());
  ASSERT_EQ(regions.size(), 1u);
  EXPECT_EQ(regions[0].region, ram_);
  EXPECT_EQ(refused(slow, second).code(), absl::StatusCode::kNotFound);
}

TEST_F(DirtyClientsTest, TheEpochAdvancesWhereMarksWereCleared) {
  const DirtyClient client = add("snapshot");
  const std::uint64_t before = mm().dirty_epoch();
  harvest(client, ram_);
  EXPECT_EQ(mm().dirty_epoch(), before);
  touch(1);
  harvest(client, ram_);
  EXPECT_EQ(mm().dirty_epoch(), before + 1);
}

TEST_F(DirtyClientsTest, RefusesABadName) {
  add("snapshot");
  EXPECT_EQ(mm().add_dirty_client("").status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status twice = mm().add_dirty_client("snapshot").status();
  EXPECT_EQ(twice.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(twice.message()),
              HasSubstr("client 0x1 of dirty pages is named snapshot"));
}

TEST_F(DirtyClientsTest, ANameIsFreeAgainAfterItsClientHasLeft) {
  const DirtyClient first = add("snapshot");
  ASSERT_TRUE(mm().remove_dirty_client(first).ok());
  EXPECT_NE(add("snapshot"), first);
}

TEST_F(DirtyClientsTest, RefusesTooManyClients) {
  for (std::size_t i = 0; i < internal::DirtyBook::kMaxClients; ++i) add(std::to_string(i));
  const absl::Status status = mm().add_dirty_client("one more").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("limit of 64 clients"));
}

TEST_F(DirtyClientsTest, RefusesWhomItDoesNotKnow) {
  const DirtyClient client = add("snapshot");
  touch(1);
  EXPECT_EQ(refused(DirtyClient{99}, ram_).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(refused(client, RegionId{99}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(mm().remove_dirty_client(DirtyClient{99}).code(), absl::StatusCode::kNotFound);
  std::vector<DirtyRegion> regions(3);
  EXPECT_EQ(mm().harvest_dirty(DirtyClient{99}, regions).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(regions.empty());
  EXPECT_EQ(harvest(client, ram_), (Pages{1}));
}

TEST_F(DirtyClientsTest, RefusesARegionThatIsNotTracked) {
  const DirtyClient client = add("snapshot");
  const RegionId plain = add_ram(0x1000'0000, DirtyTracking::kOff);
  const absl::Status status = refused(client, plain);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("region 0x2 are not tracked"));
}

TEST_F(DirtyClientsTest, NobodyHearsOfPagesThatWereCutOff) {
  const DirtyClient other = add("other");
  const DirtyClient mine = add("mine");
  touch(kPages - 1);
  touch(70);
  EXPECT_EQ(harvest(other, ram_), (Pages{70, kPages - 1}));
  touch(kPages - 2);
  touch(71);
  ASSERT_TRUE(mm().resize_region(ram_, 71 * kPage).ok());
  EXPECT_EQ(mm().dirty_page_count(ram_).value(), 0u);
  EXPECT_EQ(harvest(mine, ram_), Pages{70});
  EXPECT_EQ(harvest(other, ram_), Pages{});
}

TEST_F(DirtyClientsTest, EverybodyHearsOfPagesThatWereAdded) {
  const DirtyClient other = add("other");
  const DirtyClient mine = add("mine");
  ASSERT_TRUE(mm().resize_region(ram_, 71 * kPage).ok());
  EXPECT_EQ(harvest(mine, ram_), Pages{});
  ASSERT_TRUE(mm().change([&]() -> absl::Status {
                    const absl::Status grown = mm().resize_region(ram_, 73 * kPage);
                    EXPECT_EQ(harvest(mine, ram_), Pages{});  // nobody sees them yet
                    return grown;
                  })
                  .ok());
  EXPECT_EQ(mm().dirty_page_count(ram_).value(), 2u);
  EXPECT_EQ(harvest(mine, ram_), (Pages{71, 72}));
  EXPECT_EQ(harvest(other, ram_), (Pages{71, 72}));
}

class DirtyBookTest : public testing::Test {
 protected:
  DirtyBookTest() { vm_test::publish_tracked_region(table_, kPages * kPage); }
  DirtyLog& log() { return **table_.find_dirty_log(kRegion); }

  static constexpr RegionId kRegion = vm_test::kTrackedRegion;
  internal::RegionTable table_{1};
};

TEST_F(DirtyBookTest, HasNoClientsWithoutABarrier) {
  internal::DirtyBook book(table_, {});
  log().mark_page(1);
  EXPECT_EQ(book.add("snapshot", DirtyStart::kClean).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(log().dirty_page_count(), 1u);
}

TEST_F(DirtyBookTest, WorksWithEveryBarrierOfThisHost) {
  for (const internal::BarrierForm form : internal::kBarrierForms) {
    const std::array allowed = {form};
    internal::DirtyBook book(table_, allowed);
    const auto client = book.add("snapshot", DirtyStart::kClean);
    if (!client.ok()) continue;
    log().mark_page(1);
    DirtyPages pages;
    ASSERT_EQ(book.harvest(*client, kRegion, pages), absl::OkStatus());
    EXPECT_EQ(pages_of(pages), (Pages{1}));
  }
}

TEST_F(DirtyBookTest, RefusesARegionWhosePagesRunsCannotCount) {
  internal::DirtyBook book(table_);
  const DirtyClient client = book.add("snapshot", DirtyStart::kClean).value();
  vm_test::publish_tracked_region(table_, std::uint64_t{16} << 40);
  DirtyPages pages;
  EXPECT_EQ(book.harvest(client, kRegion, pages).code(), absl::StatusCode::kOutOfRange);
  std::vector<DirtyRegion> regions;
  EXPECT_EQ(book.harvest_all(client, regions).code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace vm_mem
