#include "vm_device/iommu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "vm_device/internal/iommu_table.h"

namespace vm_device {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using vm_mem::GuestAddress;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMega2 = std::uint64_t{2} << 20;
constexpr std::uint64_t kGiga = std::uint64_t{1} << 30;
constexpr IommuDeviceId kDevice{0x10};

std::uint64_t nodes(const Iommu& iommu) {
  return iommu.table_bytes() / internal::IommuTable::kNodeBytes;
}

class IommuTest : public testing::Test {
 protected:
  IommuTest() : iommu(std::move(Iommu::create({}).value())), domain(*iommu->create_domain()) {
    EXPECT_TRUE(iommu->add_device(kDevice).ok());
    EXPECT_TRUE(iommu->attach(kDevice, domain).ok());
  }

  absl::Status map(std::uint64_t iova, std::uint64_t bytes, std::uint64_t to,
                   DmaAccess permitted = DmaAccess::kReadWrite) {
    return iommu->map(domain, {iova, bytes}, GuestAddress{to}, permitted);
  }
  absl::Status unmap(std::uint64_t iova, std::uint64_t bytes) {
    return iommu->unmap(domain, {iova, bytes});
  }
  // Where a byte goes, if anywhere.
  std::optional<std::uint64_t> at(std::uint64_t iova, DmaAccess access = DmaAccess::kRead) {
    std::array<GuestSegment, 1> out;
    const auto result = iommu->translate(kDevice, {iova, 1}, access, out);
    if (!result.ok()) return std::nullopt;
    return out[0].address.value;
  }
  std::vector<IommuFault> faults() {
    std::vector<IommuFault> out(1000);
    out.resize(iommu->poll_faults(out));
    return out;
  }

  std::unique_ptr<Iommu> iommu;
  IommuDomainId domain;
};

TEST_F(IommuTest, TranslatesEveryByteOfAMappedRange) {
  ASSERT_TRUE(map(0x10000, 4 * kPage, 0x8000'0000).ok());
  EXPECT_EQ(at(0x10000), 0x8000'0000u);
  EXPECT_EQ(at(0x13fff), 0x8000'3fffu);
  EXPECT_EQ(at(0xffff), std::nullopt);
  EXPECT_EQ(at(0x14000), std::nullopt);
}

TEST_F(IommuTest, UsesTheLargestPagesThatFit) {
  ASSERT_TRUE(map(kGiga, kGiga, 7 * kGiga).ok());
  EXPECT_EQ(nodes(*iommu), 4u);  // down to where 1 GiB is one entry
  ASSERT_TRUE(map(2 * kGiga, kMega2, 9 * kGiga).ok());
  EXPECT_EQ(nodes(*iommu), 5u);
  ASSERT_TRUE(map(3 * kGiga, kPage, 11 * kGiga).ok());
  EXPECT_EQ(nodes(*iommu), 7u);
}

TEST_F(IommuTest, ASmallOffsetBetweenTheSidesMeansSmallPages) {
  ASSERT_TRUE(map(kGiga, kMega2, kGiga + kPage).ok());
  EXPECT_EQ(at(kGiga + kMega2 - 1), kGiga + kMega2 + kPage - 1);
  EXPECT_EQ(nodes(*iommu), 6u);
}

TEST_F(IommuTest, AnUnmapInsideALargePageSplitsIt) {
  ASSERT_TRUE(map(0, kGiga, 4 * kGiga).ok());
  ASSERT_TRUE(unmap(kMega2 + 3 * kPage, 2 * kPage).ok());
  EXPECT_EQ(at(kMega2 + 3 * kPage - 1), 4 * kGiga + kMega2 + 3 * kPage - 1);
  EXPECT_EQ(at(kMega2 + 3 * kPage), std::nullopt);
  EXPECT_EQ(at(kMega2 + 5 * kPage - 1), std::nullopt);
  EXPECT_EQ(at(kMega2 + 5 * kPage), 4 * kGiga + kMega2 + 5 * kPage);
  EXPECT_EQ(at(kGiga - 1), 5 * kGiga - 1);
}

TEST_F(IommuTest, TheTablesOfWhatIsUnmappedAreGivenBack) {
  ASSERT_TRUE(map(0, kGiga, 4 * kGiga).ok());
  ASSERT_TRUE(unmap(kPage, kPage).ok());
  EXPECT_GT(nodes(*iommu), 4u);
  EXPECT_EQ(*iommu->unmap_within(domain, {0, 4 * kGiga}), kGiga - kPage);
  EXPECT_EQ(nodes(*iommu), 1u);  // the root stays
}

TEST_F(IommuTest, TheLastPageBelowTwoToTheSixtyFourIsAPage) {
  const std::uint64_t last = UINT64_MAX - (kPage - 1);
  ASSERT_TRUE(map(last, kPage, last).ok());
  EXPECT_EQ(at(UINT64_MAX), UINT64_MAX);
  ASSERT_TRUE(unmap(last, kPage).ok());
  EXPECT_EQ(at(UINT64_MAX), std::nullopt);
}

TEST_F(IommuTest, AllOfTheAddressSpaceTakesOneNode) {
  const std::uint64_t half = std::uint64_t{1} << 63;
  ASSERT_TRUE(map(0, half, 0).ok());
  ASSERT_TRUE(map(half, half, half).ok());
  EXPECT_EQ(nodes(*iommu), 1u);
  EXPECT_EQ(at(UINT64_MAX), UINT64_MAX);
  std::array<GuestSegment, 2> out;
  const auto result = iommu->translate(kDevice, {1, UINT64_MAX}, DmaAccess::kWrite, out);
  EXPECT_EQ(result.done, UINT64_MAX);
  EXPECT_EQ(result.segments, 1u);
}

TEST_F(IommuTest, ATranslationDoesNotWrap) {
  const std::uint64_t last = UINT64_MAX - (kPage - 1);
  ASSERT_TRUE(map(last, kPage, 0x5000).ok());
  ASSERT_TRUE(map(0, kPage, 0x7000).ok());
  std::array<GuestSegment, 4> out;
  const auto result = iommu->translate(kDevice, {last + 8, kPage}, DmaAccess::kRead, out);
  EXPECT_EQ(result.fault, DmaFault::kTranslation);
  EXPECT_EQ(result.done, kPage - 8);
  EXPECT_EQ(result.at, 0u);
}

TEST_F(IommuTest, GivesAListWhereTheGuestIsScatteredAndOneSegmentWhereItIsNot) {
  ASSERT_TRUE(map(0, kPage, 0x50000).ok());
  ASSERT_TRUE(map(kPage, kPage, 0x51000).ok());
  ASSERT_TRUE(map(2 * kPage, kPage, 0x40000).ok());
  std::array<GuestSegment, 4> out;
  const auto result = iommu->translate(kDevice, {0x10, 3 * kPage - 0x20}, DmaAccess::kRead, out);
  EXPECT_TRUE(result.ok());
  ASSERT_EQ(result.segments, 2u);
  EXPECT_EQ(out[0], (GuestSegment{GuestAddress{0x50010}, 2 * kPage - 0x10}));
  EXPECT_EQ(out[1], (GuestSegment{GuestAddress{0x40000}, kPage - 0x10}));
}

TEST_F(IommuTest, AFullListIsNoFault) {
  ASSERT_TRUE(map(0, kPage, 0x50000).ok());
  ASSERT_TRUE(map(kPage, kPage, 0x40000).ok());
  std::array<GuestSegment, 1> out;
  const auto result = iommu->translate(kDevice, {0, 2 * kPage}, DmaAccess::kRead, out);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.done, kPage);
  EXPECT_EQ(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, {}).done, 0u);
}

TEST_F(IommuTest, PermitsWhatTheMappingPermits) {
  ASSERT_TRUE(map(0x1000, kPage, 0x50000, DmaAccess::kRead).ok());
  ASSERT_TRUE(map(0x2000, kPage, 0x60000, DmaAccess::kWrite).ok());
  EXPECT_TRUE(at(0x1000, DmaAccess::kRead).has_value());
  EXPECT_FALSE(at(0x1000, DmaAccess::kWrite).has_value());
  EXPECT_FALSE(at(0x1000, DmaAccess::kReadWrite).has_value());
  EXPECT_TRUE(at(0x2000, DmaAccess::kWrite).has_value());
  EXPECT_FALSE(at(0x2000, DmaAccess::kRead).has_value());
}

TEST_F(IommuTest, RecordsWhoWasRefusedWhereAndWhy) {
  ASSERT_TRUE(map(0x1000, kPage, 0x50000, DmaAccess::kRead).ok());
  EXPECT_FALSE(at(0x1234, DmaAccess::kWrite).has_value());
  EXPECT_FALSE(at(0x3456, DmaAccess::kRead).has_value());
  ASSERT_TRUE(iommu->detach(kDevice).ok());
  EXPECT_FALSE(at(0x1000).has_value());
  std::array<GuestSegment, 1> out;
  EXPECT_FALSE(iommu->translate({0x99}, {8, 1}, DmaAccess::kRead, out).ok());
  EXPECT_EQ(faults(), (std::vector<IommuFault>{
                          {kDevice, 0x1234, DmaAccess::kWrite, IommuFaultReason::kForbidden},
                          {kDevice, 0x3456, DmaAccess::kRead, IommuFaultReason::kUnmapped},
                          {kDevice, 0x1000, DmaAccess::kRead, IommuFaultReason::kNoDomain},
                          {{0x99}, 8, DmaAccess::kRead, IommuFaultReason::kUnknownDevice}}));
  EXPECT_TRUE(faults().empty());
}

TEST_F(IommuTest, CountsTheFaultsThatFindTheQueueFull) {
  auto small = std::move(Iommu::create({.fault_queue = 3}).value());
  std::array<GuestSegment, 1> out;
  for (std::uint64_t i = 0; i < 5; ++i) {
    EXPECT_FALSE(small->translate(kDevice, {i, 1}, DmaAccess::kRead, out).ok());
  }
  std::array<IommuFault, 2> two;
  EXPECT_EQ(small->poll_faults(two), 2u);
  EXPECT_EQ(two[1].address, 1u);
  EXPECT_EQ(small->lost_faults(), 2u);
  EXPECT_FALSE(small->translate(kDevice, {9, 1}, DmaAccess::kRead, out).ok());
  EXPECT_EQ(small->poll_faults(two), 2u);
  EXPECT_EQ(two[0].address, 2u);
  EXPECT_EQ(two[1].address, 9u);
  EXPECT_EQ(small->poll_faults(two), 0u);
}

TEST_F(IommuTest, ABypassedDeviceReachesEverythingUntilItIsNot) {
  ASSERT_TRUE(iommu->bypass(kDevice).ok());
  EXPECT_EQ(at(0x1234'5678'9abc, DmaAccess::kReadWrite), 0x1234'5678'9abcu);
  ASSERT_TRUE(iommu->detach(kDevice).ok());
  EXPECT_EQ(at(0x1234), std::nullopt);
}

TEST_F(IommuTest, DevicesOfOneDomainShareIt) {
  const IommuDeviceId second{0x11};
  ASSERT_TRUE(iommu->add_device(second).ok());
  ASSERT_TRUE(iommu->attach(second, domain).ok());
  ASSERT_TRUE(map(0, kPage, 0x3000).ok());
  std::array<GuestSegment, 1> out;
  EXPECT_TRUE(iommu->translate(second, {4, 4}, DmaAccess::kRead, out).ok());
  EXPECT_EQ(out[0].address.value, 0x3004u);
}

TEST_F(IommuTest, DomainsAreApart) {
  std::vector<IommuDomainId> domains{domain};
  for (std::uint64_t i = 0; i < 10; ++i) {
    if (i > 0) domains.push_back(*iommu->create_domain());
    ASSERT_TRUE(iommu->map(domains[i], {0, kPage}, GuestAddress{i * kPage}, DmaAccess::kRead).ok());
  }
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 10; ++i) {
      ASSERT_TRUE(iommu->attach(kDevice, domains[i]).ok());
      EXPECT_EQ(at(8), i * kPage + 8);
    }
  }
}

TEST_F(IommuTest, AnUnmapIsSeenByTheNextTranslation) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(map(0, kPage, i * kPage).ok());
    ASSERT_TRUE(map(kPage, kPage, 0x1000'0000).ok());
    EXPECT_EQ(at(5), i * kPage + 5);
    EXPECT_EQ(at(kPage), 0x1000'0000u);
    ASSERT_TRUE(unmap(0, kPage).ok());
    EXPECT_EQ(at(5), std::nullopt);
    ASSERT_TRUE(unmap(kPage, kPage).ok());
    EXPECT_EQ(at(kPage), std::nullopt);
  }
}

TEST_F(IommuTest, ManyUnmapsBetweenTwoTranslationsAreAllSeen) {
  for (const std::uint64_t count : {1u, 2u, 14u, 15u, 16u, 17u, 18u, 40u}) {
    for (std::uint64_t i = 0; i < count; ++i) {
      ASSERT_TRUE(map(i * 2 * kPage, kPage, i * kMega2).ok());
      EXPECT_EQ(at(i * 2 * kPage), i * kMega2);
    }
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_TRUE(unmap(i * 2 * kPage, kPage).ok());
    for (std::uint64_t i = 0; i < count; ++i) EXPECT_EQ(at(i * 2 * kPage), std::nullopt);
  }
}

TEST_F(IommuTest, InvalidationChangesNothingThatIsMapped) {
  ASSERT_TRUE(map(0, 4 * kPage, 0x50000).ok());
  EXPECT_EQ(at(0), 0x50000u);
  ASSERT_TRUE(iommu->invalidate(domain, {0, kPage}).ok());
  EXPECT_EQ(at(0), 0x50000u);
  ASSERT_TRUE(iommu->invalidate(domain).ok());
  EXPECT_EQ(at(0x3fff), 0x53fffu);
}

TEST_F(IommuTest, WaitsForNobodyWhereNobodyIsInDma) {
  EXPECT_EQ(at(0), std::nullopt);
  EXPECT_TRUE(iommu->wait_for_dma(milliseconds(0)).ok());
}

// --- Refusals: the code, the numbers, and that nothing has changed.

template <typename Result>
void expect_error(const Result& result, absl::StatusCode code, std::string_view text) {
  const absl::Status& status = [&]() -> const absl::Status& {
    if constexpr (std::is_same_v<Result, absl::Status>) {
      return result;
    } else {
      return result.status();
    }
  }();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(text)));
}

TEST_F(IommuTest, RefusesRangesThatAreNotWholePages) {
  using enum absl::StatusCode;
  expect_error(map(0x1000, 0, 0), kInvalidArgument, "0x1000 is empty");
  expect_error(map(0x1001, kPage, 0), kInvalidArgument, "[0x1001, +0x1000)");
  expect_error(map(0x1000, 100, 0), kInvalidArgument, "[0x1000, +0x64)");
  expect_error(map(0x1000, kPage, 8), kInvalidArgument, "guest range [0x8, +0x1000)");
  expect_error(map(UINT64_MAX - 4095, 2 * kPage, 0), kInvalidArgument, "past 2^64");
  expect_error(map(0, 2 * kPage, UINT64_MAX - 4095), kInvalidArgument, "past 2^64");
  expect_error(unmap(0, 0), kInvalidArgument, "empty");
  expect_error(unmap(3, kPage), kInvalidArgument, "whole pages");
  expect_error(iommu->unmap_within(domain, {0, 3}), kInvalidArgument, "whole pages");
  expect_error(iommu->invalidate(domain, {0, 0}), kInvalidArgument, "empty");
  EXPECT_EQ(iommu->table_bytes(), 0u);
}

TEST_F(IommuTest, RefusesAMappingThatPermitsNothing) {
  using enum absl::StatusCode;
  expect_error(map(0x1000, kPage, 0, DmaAccess{0}), kInvalidArgument, "permissions 0x0");
  expect_error(map(0x1000, kPage, 0, DmaAccess{7}), kInvalidArgument, "permissions 0x7");
  EXPECT_EQ(iommu->table_bytes(), 0u);
}

TEST_F(IommuTest, RefusesToMapWhatIsMapped) {
  ASSERT_TRUE(map(0x8000, kPage, 0x50000).ok());
  expect_error(map(0x4000, 8 * kPage, 0), absl::StatusCode::kAlreadyExists, "0x8000 in [0x4000");
  EXPECT_EQ(at(0x4000), std::nullopt);
  EXPECT_EQ(at(0x8000), 0x50000u);
}

TEST_F(IommuTest, RefusesToUnmapWhatWasNeverMapped) {
  expect_error(unmap(0x8000, kPage), absl::StatusCode::kNotFound, "0x8000 in [0x8000");
  ASSERT_TRUE(map(0x8000, kPage, 0x50000).ok());
  expect_error(unmap(0x8000, 2 * kPage), absl::StatusCode::kNotFound, "0x9000");
  EXPECT_EQ(at(0x8000), 0x50000u);
  EXPECT_EQ(*iommu->unmap_within(domain, {0x7000, 8 * kPage}), kPage);
  EXPECT_EQ(*iommu->unmap_within(domain, {0x7000, 8 * kPage}), 0u);
}

TEST_F(IommuTest, RefusesUnknownDomainsAndDevices) {
  using enum absl::StatusCode;
  const IommuDomainId none{77};
  const IommuDeviceId nobody{0x99};
  expect_error(iommu->map(none, {0, kPage}, GuestAddress{0}, DmaAccess::kRead), kNotFound, "77");
  expect_error(iommu->unmap(none, {0, kPage}), kNotFound, "77");
  expect_error(iommu->unmap_within(none, {0, kPage}), kNotFound, "77");
  expect_error(iommu->invalidate(none), kNotFound, "77");
  expect_error(iommu->invalidate(none, {0, kPage}), kNotFound, "77");
  expect_error(iommu->remove_domain(none), kNotFound, "77");
  expect_error(iommu->attach(kDevice, none), kNotFound, "77");
  expect_error(iommu->attach(nobody, domain), kNotFound, "0x99");
  expect_error(iommu->detach(nobody), kNotFound, "0x99");
  expect_error(iommu->bypass(nobody), kNotFound, "0x99");
  expect_error(iommu->remove_device(nobody), kNotFound, "0x99");
}

TEST_F(IommuTest, RefusesADeviceTwiceAndADomainInUse) {
  using enum absl::StatusCode;
  expect_error(iommu->add_device(kDevice), kAlreadyExists, "0x10");
  expect_error(iommu->remove_domain(domain), kFailedPrecondition, "1 devices");
  ASSERT_TRUE(iommu->remove_device(kDevice).ok());
  EXPECT_TRUE(iommu->remove_domain(domain).ok());
  EXPECT_FALSE(at(0).has_value());
  EXPECT_EQ(faults().at(0).reason, IommuFaultReason::kUnknownDevice);
  EXPECT_TRUE(iommu->add_device(kDevice).ok());
  EXPECT_GT(iommu->create_domain()->value, domain.value);
}

TEST_F(IommuTest, RefusesWhatTheTablesHaveNoRoomForAndLeavesNothingBehind) {
  auto small =
      std::move(Iommu::create({.max_table_bytes = 8 * internal::IommuTable::kNodeBytes}).value());
  const IommuDomainId own = *small->create_domain();
  const auto map_small = [&](std::uint64_t iova, std::uint64_t bytes, std::uint64_t to) {
    return small->map(own, {iova, bytes}, GuestAddress{to}, DmaAccess::kRead);
  };
  expect_error(map_small(0, kGiga, kPage), absl::StatusCode::kResourceExhausted, "at most 8 nodes");
  expect_error(map_small(0, std::uint64_t{1} << 62, kPage), absl::StatusCode::kResourceExhausted,
               "at most 8 nodes");
  EXPECT_LE(nodes(*small), 1u);
  // There is room for as many leaves, but not for what is above them, too.
  expect_error(map_small(0, 7 * kMega2, kPage), absl::StatusCode::kResourceExhausted, "8 nodes");
  EXPECT_EQ(nodes(*small), 1u);
  ASSERT_TRUE(map_small(0, kGiga, 0).ok());
  ASSERT_TRUE(map_small(kGiga, kMega2, 0).ok());
  ASSERT_TRUE(map_small(3 * kGiga, kMega2, 0).ok());
  ASSERT_TRUE(map_small(5 * kGiga, kMega2, 0).ok());
  expect_error(small->unmap(own, {kPage, kPage}), absl::StatusCode::kResourceExhausted, "8 nodes");
  EXPECT_EQ(*small->unmap_within(own, {0, 8 * kGiga}), kGiga + 3 * kMega2);
}

// Changes come while DMA runs, which keeps their tables. When it has ended, room is found
// in all domains, and in those that are gone.
TEST_F(IommuTest, TablesThatDmaKeptAreRoomForEverybody) {
  class InDma final : public IommuFaultListener {
   public:
    explicit InDma(std::function<void()> wanted) : act(std::move(wanted)) {}
    void fault_recorded() override { act(); }
    std::function<void()> act;
  };
  constexpr std::uint64_t kBytes = 30 * kMega2;  // in small pages: 30 nodes, and 5 above them
  iommu =
      std::move(Iommu::create({.max_table_bytes = 44 * internal::IommuTable::kNodeBytes}).value());
  ASSERT_TRUE(iommu->add_device(kDevice).ok());
  const auto in_dma = [&](const std::function<void()>& act) {
    InDma listener(act);
    iommu->listen_to_faults(&listener);
    EXPECT_EQ(at(0), std::nullopt);
    iommu->listen_to_faults(nullptr);
    faults();
  };
  const IommuDomainId first = *iommu->create_domain();
  const auto fill = [&](IommuDomainId in) {
    return iommu->map(in, {kGiga, kBytes}, GuestAddress{kPage}, DmaAccess::kRead);
  };
  ASSERT_TRUE(fill(first).ok());
  in_dma([&] { EXPECT_EQ(*iommu->unmap_within(first, {0, 2 * kGiga}), kBytes); });
  EXPECT_GT(nodes(*iommu), 30u);
  const IommuDomainId second = *iommu->create_domain();
  EXPECT_TRUE(fill(second).ok());
  in_dma([&] { EXPECT_TRUE(iommu->remove_domain(second).ok()); });
  const IommuDomainId third = *iommu->create_domain();
  EXPECT_TRUE(fill(third).ok());
  // As where an unmap splits a page.
  const IommuDomainId large = *iommu->create_domain();
  EXPECT_TRUE(iommu->map(large, {0, kGiga}, GuestAddress{0}, DmaAccess::kRead).ok());
  in_dma([&] { EXPECT_TRUE(iommu->remove_domain(third).ok()); });
  EXPECT_GT(nodes(*iommu), 30u);
  for (std::uint64_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(iommu->unmap(large, {i * 4 * kMega2 + kPage, kPage}).ok());
  }
}

// DMA runs beside a map() that will find no room in its middle: what it has found by then
// is not remembered.
TEST_F(IommuTest, WhatDmaFindsInAMapThatFailsIsForgotten) {
  constexpr std::uint64_t kNodes = 1024;
  auto small = std::move(
      Iommu::create({.max_table_bytes = kNodes * internal::IommuTable::kNodeBytes}).value());
  const IommuDomainId own = *small->create_domain();
  ASSERT_TRUE(small->add_device(kDevice).ok());
  ASSERT_TRUE(small->attach(kDevice, own).ok());
  constexpr int kWanted = 5;
  std::atomic<int> failed{0}, checked{0}, rounds_with_finds{0};
  std::atomic<bool> stop{false};
  const auto reaches = [&] {
    std::array<GuestSegment, 1> found;
    return small->translate(kDevice, {0, 1}, DmaAccess::kRead, found).ok();
  };
  std::thread dma([&] {
    for (int round = 0; !stop.load(); ++round) {
      bool found = false;
      while (failed.load() == round && !stop.load()) found = reaches() || found;
      EXPECT_FALSE(reaches());
      rounds_with_finds += found ? 1 : 0;
      checked = round + 1;
    }
  });
  // As many leaves as there are nodes: the ones above them are too many.
  const std::uint64_t bytes = (kNodes - 1) * kMega2;
  for (int round = 0; round < 10'000 && rounds_with_finds.load() < kWanted; ++round) {
    expect_error(small->map(own, {0, bytes}, GuestAddress{kPage}, DmaAccess::kRead),
                 absl::StatusCode::kResourceExhausted, "at most 1024 nodes");
    failed = round + 1;
    while (checked.load() <= round) std::this_thread::yield();
  }
  stop = true;
  dma.join();
  EXPECT_EQ(rounds_with_finds.load(), kWanted);
  EXPECT_LE(nodes(*small), kNodes);
  EXPECT_TRUE(small->map(own, {0, kPage}, GuestAddress{0}, DmaAccess::kRead).ok());
}

TEST_F(IommuTest, RefusesAFaultQueueThatHoldsNothingOrTooMuch) {
  expect_error(Iommu::create({.fault_queue = 0}), absl::StatusCode::kInvalidArgument, "0 records");
  expect_error(Iommu::create({.fault_queue = SIZE_MAX}), absl::StatusCode::kInvalidArgument,
               "1 to 1048576");
}

TEST(IommuFaultReasonTest, EveryReasonHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(IommuFaultReason::kForbidden); ++i) {
    names.insert(iommu_fault_reason_name(static_cast<IommuFaultReason>(i)));
  }
  EXPECT_EQ(names.size(), 4u);
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace vm_device
