// DmaSpace::map() and unmap(): pointers into guest memory, or to a copy of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/vm_device/dma_guest.h"

namespace vm_device {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using vm_mem::AccessFault;
using vm_mem::GuestAddress;

// Registers that count what reaches them.
class Registers : public vm_mem::MmioHandler {
 public:
  AccessFault mmio_read(std::uint64_t offset, unsigned, std::uint64_t& value) override {
    if (offset >= refuse_from) return AccessFault::kDevice;
    reads += 1;
    value = 0x0101010101010101 * (offset / 8 + 1);
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t offset, unsigned, std::uint64_t value) override {
    if (offset >= refuse_from) return AccessFault::kDevice;
    written.push_back(value);
    return AccessFault::kNone;
  }
  std::uint64_t refuse_from = kPage;
  int reads = 0;
  std::vector<std::uint64_t> written;
};

class DmaMapTest : public testing::Test, protected DmaGuest<Registers> {};

TEST_F(DmaMapTest, RamInOnePieceIsTheGuestsOwn) {
  const auto mapping = dma.map(kRamBase + 100, 3000, DmaDirection::kBoth);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_TRUE(mapping->is_zero_copy());
  EXPECT_EQ(mapping->address(), kRamBase + 100);
  ASSERT_EQ(mapping->bytes().size(), 3000u);
  guest.put(kRamBase + 104, std::uint32_t{0xcafe});
  EXPECT_EQ(mapping->bytes()[4], std::byte{0xfe});
  mapping->bytes()[0] = std::byte{0x42};
  EXPECT_EQ(guest.get<std::uint8_t>(kRamBase + 100), 0x42);
  EXPECT_EQ(dma.unmap(*mapping), (DmaResult{.done = 3000}));
}

TEST_F(DmaMapTest, PagesThatFollowEachOtherInTheGuestAreOnePiece) {
  for (std::uint64_t i = 0; i < 100; ++i) map_iova(i * kPage, kRamBase + i * kPage);
  const auto mapping = behind.map(0x10, 99 * kPage, DmaDirection::kToDevice);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_TRUE(mapping->is_zero_copy());
  EXPECT_EQ(behind.unmap(*mapping), (DmaResult{.done = 99 * kPage}));
}

TEST_F(DmaMapTest, ScatteredPagesAreACopyThatIsWrittenBack) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  const auto mapping = behind.map(0x800, kPage, DmaDirection::kBoth);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_FALSE(mapping->is_zero_copy());
  std::vector<std::byte> expected(kPage);
  ASSERT_TRUE(behind.read(0x800, expected).ok());
  EXPECT_TRUE(std::ranges::equal(mapping->bytes(), expected));
  std::ranges::reverse(mapping->bytes());
  std::ranges::reverse(expected);
  EXPECT_EQ(behind.unmap(*mapping), (DmaResult{.done = kPage}));
  std::vector<std::byte> found(kPage);
  ASSERT_TRUE(behind.read(0x800, found).ok());
  EXPECT_EQ(found, expected);
}

TEST_F(DmaMapTest, ACopyThatTheDeviceOnlyWritesBeginsAsZeros) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  const auto mapping = behind.map(0, 2 * kPage, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  EXPECT_TRUE(
      std::ranges::all_of(mapping->bytes(), [](std::byte it) { return it == std::byte{}; }));
  EXPECT_TRUE(behind.unmap(*mapping, 0).ok());
}

TEST_F(DmaMapTest, OnlyWhatTheDeviceSaysItWroteIsWrittenBack) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  const auto before = guest.bytes(kRamBase, kPage);
  const auto mapping = behind.map(0, 2 * kPage, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  std::ranges::fill(mapping->bytes(), std::byte{0xee});
  EXPECT_EQ(behind.unmap(*mapping, 10), (DmaResult{.done = 10}));
  EXPECT_EQ(guest.get<std::uint8_t>(kRamBase + 4 * kPage + 9), 0xee);
  EXPECT_NE(guest.get<std::uint8_t>(kRamBase + 4 * kPage + 10), 0xee);
  EXPECT_EQ(guest.bytes(kRamBase, kPage), before);
}

TEST_F(DmaMapTest, WhatTheDeviceOnlyReadsIsNotWrittenBack) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  const auto mapping = behind.map(0, 2 * kPage, DmaDirection::kToDevice);
  ASSERT_TRUE(mapping.ok());
  guest.put(kRamBase, std::uint64_t{77});
  EXPECT_EQ(behind.unmap(*mapping), (DmaResult{.done = 2 * kPage}));
  EXPECT_EQ(guest.get<std::uint64_t>(kRamBase), 77u);
}

TEST_F(DmaMapTest, RegistersAreReadOnceAndWrittenOnce) {
  const auto mapping = dma.map(kDeviceBase, 32, DmaDirection::kBoth);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_FALSE(mapping->is_zero_copy());
  EXPECT_EQ(registers.reads, 4);
  EXPECT_EQ(mapping->bytes()[8], std::byte{2});
  EXPECT_EQ(dma.unmap(*mapping), (DmaResult{.done = 32}));
  EXPECT_EQ(registers.reads, 4);
  EXPECT_EQ(registers.written.size(), 4u);
}

TEST_F(DmaMapTest, PagesAreMarkedDirtyAtUnmapAsFarAsWritten) {
  const auto mapping = dma.map(kTracked, 8 * kPage, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(dirty_pages(), 0u);
  EXPECT_EQ(dma.unmap(*mapping, kPage + 1), (DmaResult{.done = kPage + 1}));
  EXPECT_EQ(dirty_pages(), 2u);
  const auto reading = dma.map(kTracked, 8 * kPage, DmaDirection::kToDevice);
  ASSERT_TRUE(reading.ok());
  EXPECT_TRUE(dma.unmap(*reading).ok());
  EXPECT_EQ(dirty_pages(), 2u);
}

TEST_F(DmaMapTest, ASecondUnmapIsRefusedOfWhateverCopyOfTheTicket) {
  const auto mapping = dma.map(kRamBase, 64, DmaDirection::kBoth);
  ASSERT_TRUE(mapping.ok());
  const DmaMapping copy = *mapping;
  EXPECT_TRUE(dma.unmap(*mapping).ok());
  EXPECT_EQ(dma.unmap(*mapping), (DmaResult{DmaFault::kNotMapped, 0, kRamBase}));
  EXPECT_EQ(dma.unmap(copy), (DmaResult{DmaFault::kNotMapped, 0, kRamBase}));
  EXPECT_EQ(dma.unmap(DmaMapping()).fault, DmaFault::kNotMapped);
}

TEST_F(DmaMapTest, AUseAfterUnmapFindsNoBytes) {
  const auto mapping = dma.map(kRamBase, 64, DmaDirection::kBoth);
  ASSERT_TRUE(mapping.ok());
  const DmaMapping copy = *mapping;
  EXPECT_EQ(copy.bytes().size(), 64u);
  EXPECT_TRUE(dma.unmap(*mapping).ok());
  EXPECT_TRUE(copy.bytes().empty());
  EXPECT_TRUE(mapping->bytes().empty());
  EXPECT_TRUE(DmaMapping().bytes().empty());
}

TEST_F(DmaMapTest, AMappingOfAnotherSpaceIsNotUnmapped) {
  const auto mapping = dma.map(kRamBase, 64, DmaDirection::kBoth);
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(behind.unmap(*mapping).fault, DmaFault::kNotMapped);
  EXPECT_EQ(mapping->bytes().size(), 64u);
  DmaSpace same = dma;
  EXPECT_TRUE(same.unmap(*mapping).ok());
}

TEST_F(DmaMapTest, WhatIsNotUnmappedIsCountedAndGivenBackWithTheSpace) {
  map_iova(0, kTracked, 2 * kPage);
  DmaMapping left;
  {
    DmaSpace device(*guest.memory, *iommu, kDevice);
    left = *device.map(0, 2 * kPage, DmaDirection::kFromDevice);
    const auto other = device.map(0x100, 8, DmaDirection::kToDevice);
    EXPECT_EQ(device.outstanding_maps(), 2u);
    EXPECT_TRUE(device.unmap(*other).ok());
    EXPECT_EQ(device.outstanding_maps(), 1u);
    EXPECT_EQ(guest.memory->leases(), 1u);
  }
  EXPECT_TRUE(left.bytes().empty());
  EXPECT_EQ(guest.memory->leases(), 0u);
  EXPECT_EQ(dirty_pages(), 2u);  // it may have been written
  EXPECT_TRUE(iommu->wait_for_dma(milliseconds(0)).ok());
}

TEST_F(DmaMapTest, RefusesWhatIsEmptyOrGoesPastTheTop) {
  EXPECT_EQ(dma.map(kRamBase, 0, DmaDirection::kBoth).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto past = dma.map(UINT64_MAX, 2, DmaDirection::kBoth);
  EXPECT_EQ(past.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(past.status().message()), HasSubstr("0xffffffffffffffff"));
}

TEST_F(DmaMapTest, RefusesWhatIsNotThereOrNotPermitted) {
  const auto hole = dma.map(0x100, 8, DmaDirection::kToDevice);
  EXPECT_EQ(hole.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(hole.status().message()), HasSubstr("0x100"));
  EXPECT_EQ(dma.map(kRom, 8, DmaDirection::kBoth).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(dma.map(kRom, 8, DmaDirection::kToDevice).ok());
  map_iova(0x1000, kRamBase, kPage, DmaAccess::kRead);
  const auto forbidden = behind.map(0x1ff0, 0x20, DmaDirection::kToDevice);
  EXPECT_EQ(forbidden.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(forbidden.status().message()), HasSubstr("0x2000, after 0x10"));
  EXPECT_EQ(behind.map(0x1000, 8, DmaDirection::kFromDevice).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(behind.outstanding_maps(), 0u);
  std::array<IommuFault, 4> faults;
  ASSERT_EQ(iommu->poll_faults(faults), 2u);
  EXPECT_EQ(faults[0].address, 0x2000u);
  EXPECT_EQ(faults[1].reason, IommuFaultReason::kForbidden);
}

TEST_F(DmaMapTest, ACopyThatCouldNotBeWrittenBackIsRefusedAtOnce) {
  map_iova(0, kRamBase);
  map_iova(kPage, kRom);
  map_iova(2 * kPage, kRamBase + 2 * kPage);
  map_iova(3 * kPage, kDeviceBase);
  map_iova(4 * kPage, 0x100'0000);
  for (const DmaDirection direction : {DmaDirection::kFromDevice, DmaDirection::kBoth}) {
    const auto rom = behind.map(0x800, 2 * kPage, direction);
    EXPECT_EQ(rom.status().code(), absl::StatusCode::kPermissionDenied) << rom.status();
    EXPECT_THAT(std::string(rom.status().message()), HasSubstr("kReadOnly at bus address 0x1000"));
    const auto hole = behind.map(3 * kPage, kPage + 8, direction);
    EXPECT_EQ(hole.status().code(), absl::StatusCode::kNotFound) << hole.status();
    EXPECT_THAT(std::string(hole.status().message()), HasSubstr("0x4000, after 0x1000"));
  }
  EXPECT_EQ(registers.reads, 0);
  EXPECT_EQ(behind.outstanding_maps(), 0u);
  EXPECT_TRUE(behind.map(0x800, 2 * kPage, DmaDirection::kToDevice).ok());
}

TEST_F(DmaMapTest, LengthsUpToTheLargestAreRefusedWhereTheyEnd) {
  for (const std::uint64_t address : {std::uint64_t{0}, kRamBase, UINT64_MAX}) {
    EXPECT_FALSE(dma.map(address, UINT64_MAX, DmaDirection::kFromDevice).ok());
  }
  EXPECT_EQ(dma.map(0, UINT64_MAX, DmaDirection::kToDevice).status().code(),
            absl::StatusCode::kNotFound);
  map_iova(kRamBase, kRamBase);
  EXPECT_THAT(
      std::string(
          behind.map(kRamBase, UINT64_MAX - kRamBase, DmaDirection::kBoth).status().message()),
      HasSubstr("after 0x1000"));
  EXPECT_EQ(dma.outstanding_maps() + behind.outstanding_maps(), 0u);
  EXPECT_EQ(guest.memory->leases(), 0u);
}

TEST_F(DmaMapTest, ADeviceThatRefusesToBeReadLeavesNothingBehind) {
  registers.refuse_from = 16;
  const auto mapping = dma.map(kDeviceBase, 32, DmaDirection::kToDevice);
  EXPECT_EQ(mapping.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(mapping.status().message()), HasSubstr("0x10000010, after 0x10"));
  EXPECT_EQ(dma.outstanding_maps(), 0u);
}

TEST_F(DmaMapTest, ADeviceThatRefusesToBeWrittenIsTheResultOfUnmap) {
  const auto mapping = dma.map(kDeviceBase, 32, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  registers.refuse_from = 24;
  EXPECT_EQ(dma.unmap(*mapping), (DmaResult{DmaFault::kDevice, 24, kDeviceBase + 24}));
  EXPECT_EQ(dma.outstanding_maps(), 0u);
}

TEST_F(DmaMapTest, CopiesHaveALimitThatUnmapGivesBack) {
  // Every other page, so that no two follow each other; shown many times.
  const std::uint64_t half = DmaSpace::kMaxBounceBytes / 2;
  for (std::uint64_t at = 0; at < half; at += 2 * kPage) {
    map_iova(at, kRamBase + kPage);
    map_iova(at + kPage, kRamBase);
  }
  const auto first = behind.map(0, half, DmaDirection::kFromDevice);
  const auto second = behind.map(0, half, DmaDirection::kFromDevice);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto third = behind.map(0, 2 * kPage, DmaDirection::kFromDevice);
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(third.status().message()), HasSubstr("0x4000000 are possible"));
  EXPECT_TRUE(behind.unmap(*first, 0).ok());
  const auto fourth = behind.map(0, 2 * kPage, DmaDirection::kFromDevice);
  EXPECT_TRUE(fourth.ok());
  EXPECT_TRUE(behind.unmap(*fourth, 0).ok());
  EXPECT_TRUE(behind.unmap(*second, 0).ok());
}

TEST_F(DmaMapTest, ACopyIsWrittenWhereTheIommuHasItsAddressesNow) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  const auto before = guest.bytes(kRamBase, kPage);
  const auto mapping = behind.map(0, 2 * kPage, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  ASSERT_TRUE(iommu->unmap(domain, {kPage, kPage}).ok());
  EXPECT_EQ(behind.unmap(*mapping), (DmaResult{DmaFault::kTranslation, kPage, kPage}));
  EXPECT_EQ(guest.bytes(kRamBase, kPage), before);
}

TEST_F(DmaMapTest, AMappingIsDmaInFlightUntilItIsUnmapped) {
  map_iova(0, kRamBase);
  const auto mapping = behind.map(0, 64, DmaDirection::kFromDevice);
  ASSERT_TRUE(mapping.ok());
  ASSERT_TRUE(iommu->unmap(domain, {0, kPage}).ok());
  const absl::Status waited = iommu->wait_for_dma(milliseconds(0));
  EXPECT_EQ(waited.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(waited.message()), HasSubstr("1 mappings"));
  EXPECT_TRUE(behind.unmap(*mapping).ok());
  EXPECT_TRUE(iommu->wait_for_dma(milliseconds(0)).ok());
}

TEST_F(DmaMapTest, AMappingHoldsItsRegion) {
  const auto mapping = dma.map(kTracked, 64, DmaDirection::kToDevice);
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(guest.memory->remove_region(tracked, vm_mem::RemovePolicy::kRefuse).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(dma.unmap(*mapping).ok());
  EXPECT_TRUE(guest.memory->remove_region(tracked, vm_mem::RemovePolicy::kRefuse).ok());
}

TEST_F(DmaMapTest, OneOfManyThreadsUnmapsAMapping) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  for (int round = 0; round < 50; ++round) {
    const auto mapping = behind.map(0x800, kPage, DmaDirection::kFromDevice);
    ASSERT_TRUE(mapping.ok());
    std::atomic<int> unmapped{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        const DmaResult result = behind.unmap(*mapping);
        if (result.ok()) ++unmapped;
        EXPECT_TRUE(result.ok() || result.fault == DmaFault::kNotMapped);
      });
    }
    for (std::thread& it : threads) it.join();
    EXPECT_EQ(unmapped.load(), 1);
  }
  EXPECT_EQ(behind.outstanding_maps(), 0u);
}

}  // namespace
}  // namespace vm_device
