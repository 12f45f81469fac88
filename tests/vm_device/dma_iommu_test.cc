// DMA behind an IOMMU: that every byte goes where its translation says, or nowhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/vm_device/gate.h"
#include "tests/vm_device/iommu_guest.h"

namespace vm_device {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using vm_mem::AccessFault;
using vm_mem::GuestAddress;
using vm_test::noise;

class DmaIommuTest : public testing::Test, protected IommuGuest {};

TEST_F(DmaIommuTest, AnOperationOnScatteredPagesIsOneOnTheirConcatenation) {
  map(0, kRamBase + 3 * kPage);
  map(kPage, kRamBase + kPage);
  const auto bytes = noise(kPage, 77);
  EXPECT_EQ(dma.write(0x800, bytes), (DmaResult{.done = kPage}));
  const auto first = guest.bytes(kRamBase + 3 * kPage + 0x800, 0x800);
  const auto second = guest.bytes(kRamBase + kPage, 0x800);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), bytes.begin()));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), bytes.begin() + 0x800));
  std::vector<std::byte> back(kPage);
  EXPECT_EQ(dma.read(0x800, back), (DmaResult{.done = kPage}));
  EXPECT_EQ(back, bytes);
}

TEST_F(DmaIommuTest, ARefusalNamesTheBusAddressAndIsRecordedOnce) {
  map(0x10000, kRamBase);
  std::vector<std::byte> to(3 * kPage);
  EXPECT_EQ(dma.read(0x10800, to), (DmaResult{DmaFault::kTranslation, 0x800, 0x11000}));
  EXPECT_EQ(
      faults(),
      (std::vector<IommuFault>{{kDevice, 0x11000, DmaAccess::kRead, IommuFaultReason::kUnmapped}}));
}

TEST_F(DmaIommuTest, APageForReadingIsNotWritten) {
  map(0, kRamBase, kPage, DmaAccess::kRead);
  const auto before = guest.bytes(kRamBase, kPage);
  EXPECT_EQ(dma.write(0x10, noise(8)), (DmaResult{DmaFault::kTranslation, 0, 0x10}));
  EXPECT_EQ(dma.fill(0x20, std::byte{1}, 8), (DmaResult{DmaFault::kTranslation, 0, 0x20}));
  EXPECT_EQ(dma.store(0x40, std::uint32_t{1}), (DmaResult{DmaFault::kTranslation, 0, 0x40}));
  std::uint32_t previous = 0;
  EXPECT_EQ(dma.fetch_add(0x40, 1u, previous), (DmaResult{DmaFault::kTranslation, 0, 0x40}));
  EXPECT_EQ(guest.bytes(kRamBase, kPage), before);
  EXPECT_EQ(faults().size(), 4u);
}

TEST_F(DmaIommuTest, WhatTheMemoryRefusesIsNamedByItsBusAddress) {
  map(0x5000, kRom);
  map(0x6000, 0x9999'0000);
  EXPECT_EQ(dma.write(0x5008, noise(8)), (DmaResult{DmaFault::kReadOnly, 0, 0x5008}));
  std::vector<std::byte> to(2 * kPage);
  EXPECT_EQ(dma.read(0x5000, to), (DmaResult{DmaFault::kUnmapped, kPage, 0x6000}));
  EXPECT_TRUE(faults().empty());
}

TEST_F(DmaIommuTest, DmaDoesNotWrapAtTheTop) {
  const std::uint64_t last = UINT64_MAX - (kPage - 1);
  map(last, kRamBase);
  map(0, kRamBase + kPage);
  std::vector<std::byte> to(32);
  EXPECT_EQ(dma.read(UINT64_MAX - 15, to), (DmaResult{DmaFault::kTranslation, 16, 0}));
}

TEST_F(DmaIommuTest, AByteCountBeyondEveryMappingIsExact) {
  map(0, kRamBase, 4 * kPage);
  EXPECT_EQ(dma.fill(8, std::byte{3}, UINT64_MAX),
            (DmaResult{DmaFault::kTranslation, 4 * kPage - 8, 4 * kPage}));
  EXPECT_EQ(dma.fill(8, std::byte{3}, 0), DmaResult{});
  EXPECT_EQ(dma.read(0x77'7000, {}), DmaResult{});
  EXPECT_EQ(dma.copy(0, UINT64_MAX, UINT64_MAX),
            (DmaResult{DmaFault::kTranslation, 0, UINT64_MAX}));
}

TEST_F(DmaIommuTest, ADeviceIsBlockedUntilItIsAttachedAndReachesAllOnceBypassed) {
  const IommuDeviceId late{99};
  DmaSpace other(*guest.memory, *iommu, late);
  std::uint32_t word = 0;
  EXPECT_EQ(other.load(kRamBase, word).fault, DmaFault::kTranslation);
  ASSERT_TRUE(iommu->add_device(late).ok());
  EXPECT_EQ(other.load(kRamBase, word).fault, DmaFault::kTranslation);
  ASSERT_TRUE(iommu->bypass(late).ok());
  EXPECT_TRUE(other.load(kRamBase, word).ok());
  EXPECT_EQ(word, guest.get<std::uint32_t>(kRamBase));
  ASSERT_TRUE(iommu->attach(late, domain).ok());
  EXPECT_EQ(other.load(kRamBase, word).fault, DmaFault::kTranslation);
  EXPECT_EQ(faults().size(), 3u);
}

TEST_F(DmaIommuTest, OverlapIsJudgedOnBusAddressesAlsoWherePagesAreShuffled) {
  // Descending in the guest while ascending on the bus.
  for (std::uint64_t i = 0; i < 8; ++i) map(i * kPage, kRamBase + (7 - i) * kPage);
  for (const auto& [to, from] : {std::pair{0x100u, 0x0u},
                                 {0x0u, 0x100u},
                                 {0x1800u, 0x10u},
                                 {0x10u, 0x1800u},
                                 {0x1000u, 0x0u},
                                 {0x7u, 0x7u}}) {
    std::vector<std::byte> expected(8 * kPage);
    ASSERT_TRUE(dma.read(0, expected).ok());
    const std::uint64_t bytes = 0x6000;
    std::copy_n(std::vector(expected.begin() + from, expected.begin() + from + bytes).begin(),
                bytes, expected.begin() + to);
    EXPECT_EQ(dma.copy(to, from, bytes), (DmaResult{.done = bytes}));
    std::vector<std::byte> found(8 * kPage);
    ASSERT_TRUE(dma.read(0, found).ok());
    EXPECT_EQ(found, expected) << to << " " << from;
  }
}

TEST_F(DmaIommuTest, AnOverlappingCopyMovesThePrefixThatIsTranslated) {
  for (std::uint64_t i = 0; i < 4; ++i) map(i * kPage, kRamBase + (7 - i) * kPage);
  std::vector<std::byte> expected(4 * kPage);
  ASSERT_TRUE(dma.read(0, expected).ok());
  std::copy_backward(expected.begin(), expected.begin() + 3 * kPage, expected.end());
  EXPECT_EQ(dma.copy(kPage, 0, 5 * kPage),
            (DmaResult{DmaFault::kTranslation, 3 * kPage, 4 * kPage}));
  std::vector<std::byte> found(4 * kPage);
  ASSERT_TRUE(dma.read(0, found).ok());
  EXPECT_EQ(found, expected);
  EXPECT_EQ(faults().size(), 1u);
}

TEST_F(DmaIommuTest, AnOverlappingCopyMovesThePrefixThatMemoryPermits) {
  map(0, kRamBase + 7 * kPage);
  map(kPage, kRamBase + 5 * kPage);
  map(2 * kPage, kRom);
  map(3 * kPage, kRamBase);
  std::vector<std::byte> expected(4 * kPage);
  ASSERT_TRUE(dma.read(0, expected).ok());
  std::copy_n(expected.begin(), kPage, expected.begin() + kPage);
  EXPECT_EQ(dma.copy(kPage, 0, 3 * kPage), (DmaResult{DmaFault::kReadOnly, kPage, 2 * kPage}));
  std::vector<std::byte> found(4 * kPage);
  ASSERT_TRUE(dma.read(0, found).ok());
  EXPECT_EQ(found, expected);
}

// The pages behind the one that a device refuses are moved, but they are not the last ones.
TEST_F(DmaIommuTest, AnOverlappingCopyOfAPrefixNamesNoEndThatItDidNotMove) {
  class Refusal : public vm_mem::MmioHandler {
   public:
    AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
      value = 0;
      return AccessFault::kNone;
    }
    AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
      return AccessFault::kDevice;
    }
  };
  Refusal refusal;
  ASSERT_TRUE(guest.bus.attach(guest_range(0x1000'0000, kPage), &refusal, "refusal").ok());
  map(0, kRamBase + 7 * kPage);
  map(kPage, 0x1000'0000);
  map(2 * kPage, kRamBase + 5 * kPage);
  map(3 * kPage, kRamBase);
  const DmaResult stopped = dma.copy(kPage, 0, 5 * kPage);
  EXPECT_EQ(stopped.fault, DmaFault::kDevice);
  EXPECT_EQ(stopped.at / kPage, 1u);
  EXPECT_EQ(stopped.done, 0u);
  EXPECT_FALSE(stopped.from_end);
}

TEST_F(DmaIommuTest, ACopyThatStopsSaysOnWhichSide) {
  map(0x10000, kRamBase, 2 * kPage);
  map(0x20000, kRamBase + 4 * kPage, kPage);
  map(0x21000, kRom);
  EXPECT_EQ(dma.copy(0x20000, 0x10000, 2 * kPage),
            (DmaResult{DmaFault::kReadOnly, kPage, 0x21000}));
  EXPECT_EQ(dma.copy(0x10000, 0x20800, 2 * kPage),
            (DmaResult{DmaFault::kTranslation, 0x1800, 0x22000}));
  EXPECT_EQ(dma.copy(0x30000, 0x40000, 1), (DmaResult{DmaFault::kTranslation, 0, 0x40000}));
}

TEST_F(DmaIommuTest, ComparesAcrossRunsOfBothSides) {
  map(0x1000, kRamBase + 2 * kPage);
  map(0x2000, kRamBase);
  map(0x8000, kRamBase + 8 * kPage, 2 * kPage);
  ASSERT_TRUE(dma.copy(0x8000, 0x1000, 2 * kPage).ok());
  int order = 7;
  EXPECT_EQ(dma.compare(0x8000, 0x1000, 2 * kPage, order), (DmaResult{.done = 2 * kPage}));
  EXPECT_EQ(order, 0);
  ASSERT_TRUE(dma.store(0x8100, std::uint8_t{0}).ok());
  ASSERT_TRUE(dma.store(0x1100, std::uint8_t{1}).ok());
  ASSERT_TRUE(dma.store(0x9000, std::uint8_t{0xff}).ok());
  ASSERT_TRUE(dma.store(0x2000, std::uint8_t{0}).ok());
  EXPECT_TRUE(dma.compare(0x8000, 0x1000, 2 * kPage, order).ok());
  EXPECT_LT(order, 0);
  EXPECT_TRUE(dma.compare(0x1000, 0x8000, 2 * kPage, order).ok());
  EXPECT_GT(order, 0);
  EXPECT_EQ(dma.compare(0x8000, 0x1000, 3 * kPage, order),
            (DmaResult{DmaFault::kTranslation, 2 * kPage, 0x3000}));
}

TEST_F(DmaIommuTest, ComparesAListWithABuffer) {
  map(0x1000, kRamBase, 4 * kPage);
  const std::array<DmaSegment, 3> list{{{0x1800, 0x1000}, {0, 0}, {0x1010, 0x2000}}};
  std::vector<std::byte> bytes(0x3000);
  ASSERT_TRUE(dma.read(list, bytes).ok());
  int order = 7;
  EXPECT_EQ(dma.compare(list, bytes, order), (DmaResult{.done = 0x3000}));
  EXPECT_EQ(order, 0);
  bytes[0x2fff] ^= std::byte{0xff};
  EXPECT_TRUE(dma.compare(list, bytes, order).ok());
  EXPECT_NE(order, 0);
  EXPECT_EQ(dma.compare(list, std::span(bytes).first(0x2fff), order), (DmaResult{.done = 0x2fff}));
  EXPECT_EQ(order, 0);
  const std::array<DmaSegment, 2> beyond{{{0x4ff0, 0x10}, {0x9000, 8}}};
  EXPECT_EQ(dma.compare(beyond, bytes, order), (DmaResult{DmaFault::kTranslation, 0x10, 0x9000}));
}

TEST_F(DmaIommuTest, TypedAccessOfEveryWidthGoesThroughTheTranslation) {
  map(0x1000, kRamBase + kPage);
  EXPECT_TRUE(dma.store(0x1010, std::uint64_t{0x0807060504030201}).ok());
  EXPECT_EQ(guest.get<std::uint64_t>(kRamBase + kPage + 0x10), 0x0807060504030201u);
  std::uint8_t one = 0;
  std::uint16_t two = 0;
  std::uint32_t four = 0;
  EXPECT_TRUE(dma.load(0x1017, one).ok());
  EXPECT_TRUE(dma.load(0x1016, two, std::memory_order_acquire).ok());
  EXPECT_TRUE(dma.load(0x1014, four).ok());
  EXPECT_EQ(one, 0x08);
  EXPECT_EQ(two, 0x0807);
  EXPECT_EQ(four, 0x08070605u);
}

TEST_F(DmaIommuTest, AWordInTwoRunsIsLoadedAndStoredInBothOrNotAtAll) {
  map(0x1000, kRamBase + 4 * kPage);
  map(0x2000, kRamBase);
  const std::uint64_t value = 0x1122334455667788;
  EXPECT_EQ(dma.store(0x1ffd, value), (DmaResult{.done = 8}));
  std::uint64_t found = 0;
  EXPECT_EQ(dma.load(0x1ffd, found), (DmaResult{.done = 8}));
  EXPECT_EQ(found, value);
  EXPECT_EQ(guest.get<std::uint8_t>(kRamBase), 0x55);
  unmap(0x2000);
  EXPECT_EQ(dma.store(0x1ffd, std::uint64_t{0}), (DmaResult{DmaFault::kTranslation, 0, 0x2000}));
  EXPECT_EQ(guest.get<std::uint8_t>(kRamBase + 4 * kPage + 0xffd), 0x88);
  found = 5;
  EXPECT_EQ(dma.load(0x1ffd, found), (DmaResult{DmaFault::kTranslation, 0, 0x2000}));
  EXPECT_EQ(found, 5u);
}

TEST_F(DmaIommuTest, AWordThatEndsInRomIsStoredAsFarAsItSays) {
  map(0x1000, kRamBase);
  map(0x2000, kRom);
  EXPECT_EQ(dma.store(0x1ffe, std::uint32_t{0xaabbccdd}),
            (DmaResult{DmaFault::kReadOnly, 2, 0x2000}));
  EXPECT_EQ(guest.get<std::uint16_t>(kRamBase + 0xffe), 0xccdd);
}

TEST_F(DmaIommuTest, ReadModifyWritesGiveWhatWasThere) {
  map(0x1000, kRamBase);
  ASSERT_TRUE(dma.store(0x1000, std::uint32_t{0b1100}).ok());
  std::uint32_t previous = 0;
  EXPECT_TRUE(dma.fetch_or(0x1000, 0b0011u, previous).ok());
  EXPECT_EQ(previous, 0b1100u);
  EXPECT_TRUE(dma.fetch_and(0x1000, 0b0110u, previous).ok());
  EXPECT_EQ(previous, 0b1111u);
  EXPECT_TRUE(dma.fetch_xor(0x1000, 0b1111u, previous).ok());
  EXPECT_EQ(previous, 0b0110u);
  EXPECT_TRUE(dma.fetch_add(0x1000, 1u, previous).ok());
  EXPECT_EQ(previous, 0b1001u);
  EXPECT_TRUE(dma.exchange(0x1000, 77u, previous).ok());
  EXPECT_EQ(previous, 0b1010u);
  EXPECT_EQ(guest.get<std::uint32_t>(kRamBase), 77u);
  std::uint16_t narrow = 0;
  EXPECT_EQ(dma.fetch_add(0x1001, std::uint16_t{1}, narrow).fault, DmaFault::kMisaligned);
  std::uint64_t wide = 0;
  EXPECT_EQ(dma.exchange(0x1ffc, std::uint64_t{1}, wide).fault, DmaFault::kMisaligned);
}

TEST_F(DmaIommuTest, CompareExchangeStoresOnlyWhereTheValueIsTheExpectedOne) {
  map(0x1000, kRamBase);
  ASSERT_TRUE(dma.store(0x1000, std::uint64_t{5}).ok());
  std::uint64_t expected = 4;
  bool exchanged = true;
  EXPECT_TRUE(dma.compare_exchange(0x1000, expected, std::uint64_t{9}, exchanged).ok());
  EXPECT_FALSE(exchanged);
  EXPECT_EQ(expected, 5u);
  EXPECT_TRUE(dma.compare_exchange(0x1000, expected, std::uint64_t{9}, exchanged).ok());
  EXPECT_TRUE(exchanged);
  EXPECT_EQ(guest.get<std::uint64_t>(kRamBase), 9u);
  EXPECT_EQ(dma.compare_exchange(0x1004, expected, std::uint64_t{9}, exchanged).fault,
            DmaFault::kMisaligned);
  EXPECT_EQ(dma.compare_exchange(0x9000, expected, std::uint64_t{9}, exchanged),
            (DmaResult{DmaFault::kTranslation, 0, 0x9000}));
}

// --- Beside changes.

TEST_F(DmaIommuTest, DmaThatComesBackToItsDeviceIsReentrantThroughATranslationToo) {
  class Engine : public vm_mem::MmioHandler {
   public:
    AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t&) override {
      return AccessFault::kDevice;
    }
    AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
      for (DmaSpace* const it : spaces) {
        results.push_back(it->write(0x3000, noise(8)));
        results.push_back(it->store(0x3008, std::uint32_t{1}));
        results.push_back(it->fill(0x3010, std::byte{1}, 8));
      }
      return AccessFault::kNone;
    }
    std::vector<DmaSpace*> spaces;
    std::vector<DmaResult> results;
  };
  Engine engine;
  DmaSpace own(*guest.memory, *iommu, kDevice, &engine);
  DmaSpace own_on_reader(reader, *iommu, kDevice, &engine);
  engine.spaces = {&own, &own_on_reader};
  ASSERT_TRUE(guest.bus.attach(guest_range(0x1000'0000, kPage), &engine, "engine").ok());
  map(0x3000, 0x1000'0000);
  guest.put(0x1000'0000, std::uint32_t{1});
  ASSERT_EQ(engine.results.size(), 6u);
  for (const DmaResult& it : engine.results) {
    EXPECT_EQ(it.fault, DmaFault::kReentrant);
    EXPECT_EQ(it.done, 0u);
  }
  EXPECT_EQ(engine.results[0].at, 0x3000u);
  EXPECT_EQ(engine.results[4].at, 0x3008u);
}

TEST_F(DmaIommuTest, ADeviceInDmaDoesNotWaitForItself) {
  class Waiter : public vm_mem::MmioHandler {
   public:
    explicit Waiter(Iommu& waited) : iommu(waited) {}
    AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
      value = 0;
      code = iommu.wait_for_dma(seconds(60)).code();
      return AccessFault::kNone;
    }
    AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
      return AccessFault::kNone;
    }
    Iommu& iommu;
    absl::StatusCode code = absl::StatusCode::kOk;
  };
  Waiter waiter(*iommu);
  ASSERT_TRUE(guest.bus.attach(guest_range(0x1000'0000, kPage), &waiter, "waiter").ok());
  map(0, 0x1000'0000);
  std::uint32_t word = 0;
  EXPECT_TRUE(dma.load(0, word).ok());
  EXPECT_EQ(waiter.code, absl::StatusCode::kFailedPrecondition);
}

// A device that stops DMA until it is told to go on.
struct HoldingDevice : vm_mem::MmioHandler {
  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
    value = 0;
    gate.pass();
    return AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return AccessFault::kNone;
  }
  Gate gate;
};

TEST_F(DmaIommuTest, WaitsForDmaThatBeganBeforeTheUnmap) {
  HoldingDevice held;
  ASSERT_TRUE(guest.bus.attach(guest_range(0x1000'0000, kPage), &held, "held").ok());
  map(0, 0x1000'0000);
  std::thread device([&] {
    std::uint32_t word = 0;
    EXPECT_TRUE(dma.load(0, word).ok());
  });
  held.gate.wait_for(1);
  unmap(0);
  const absl::Status waited = iommu->wait_for_dma(milliseconds(1));
  EXPECT_EQ(waited.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(waited.message().find("1 threads"), absl::string_view::npos) << waited;
  held.gate.open();
  EXPECT_TRUE(iommu->wait_for_dma(seconds(60)).ok());
  device.join();
}

TEST_F(DmaIommuTest, TheLongestTimeoutWaits) {
  map(0, kRamBase);
  auto held = dma.map(0, kPage, DmaDirection::kToDevice);
  ASSERT_TRUE(held.ok());
  std::atomic<bool> waits{false};
  std::thread owner([&] {
    waits.store(true);
    EXPECT_TRUE(iommu->wait_for_dma(std::chrono::nanoseconds::max()).ok());
  });
  while (!waits.load()) std::this_thread::yield();
  for (int i = 0; i < 2000; ++i) std::this_thread::yield();
  EXPECT_TRUE(dma.unmap(*held).ok());
  owner.join();
}

// Devices write and read through a window that comes and goes, all of it in one run. Once
// an unmap and the wait have returned, the pages are the owner's: what it writes there stays.
TEST_F(DmaIommuTest, NothingTouchesAPageOnceItIsUnmappedAndWaitedFor) {
  constexpr unsigned kRounds = 200;
  constexpr std::uint64_t kWindow = 32 * kPage;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> moved{0};
  const auto run_device = [&](DmaSpace& space, unsigned seed) {
    const auto bytes = noise(kWindow, seed);
    std::vector<std::byte> to(kWindow);
    while (!stop.load()) {
      const DmaResult wrote = space.write(0, bytes);
      const DmaResult read = space.read(0x640, to);
      EXPECT_TRUE(wrote.ok() || wrote.fault == DmaFault::kTranslation);
      EXPECT_EQ(read.fault, DmaFault::kTranslation);  // it goes past the window
      moved.fetch_add(wrote.done + read.done, std::memory_order_relaxed);
    }
  };
  std::vector<std::thread> devices;
  devices.emplace_back([&] { run_device(dma, 0); });
  devices.emplace_back([&] {
    vm_mem::MemoryReader own(*guest.memory, vm_mem::Route::kDma);
    DmaSpace quick(own, *iommu, kDevice);
    run_device(quick, 1);
  });
  const std::array owners{noise(kWindow, 100), noise(kWindow, 101)};
  for (unsigned round = 0; round < kRounds || moved.load() == 0; ++round) {
    const std::uint64_t to = kRamBase + round % 4 * kWindow;
    const std::vector<std::byte>& own = owners[round / 4 % 2];
    const std::uint64_t before = moved.load();
    map(0, to, kWindow);
    while (moved.load() == before) std::this_thread::yield();
    unmap(0, kWindow);
    EXPECT_TRUE(iommu->wait_for_dma(seconds(60)).ok());
    guest.put_bytes(to, own);
    std::this_thread::yield();
    if (guest.bytes(to, kWindow) == own) continue;
    ADD_FAILURE() << "touched in round " << round;
    break;
  }
  stop.store(true);
  for (std::thread& it : devices) it.join();
}

// Domains, devices and their tables come and go beside DMA; nothing is used after it was
// freed, and no byte goes to a page that no domain has ever shown.
TEST_F(DmaIommuTest, DomainsComeAndGoBesideDma) {
  const auto untouched = guest.bytes(kRamBase + 8 * kPage, 8 * kPage);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> moved{0};
  std::vector<std::thread> devices;
  for (unsigned n = 0; n < 2; ++n) {
    devices.emplace_back([&, n] {
      const auto bytes = noise(3 * kPage, n);
      while (!stop.load()) moved += dma.write(0x200, bytes).done;
    });
  }
  for (std::uint64_t round = 0; round < 400; ++round) {
    const std::uint64_t before = moved.load();
    const IommuDomainId next = *iommu->create_domain();
    for (std::uint64_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(iommu
                      ->map(next, {i * kPage, kPage},
                            GuestAddress{kRamBase + (round + i) % 8 * kPage}, DmaAccess::kWrite)
                      .ok());
    }
    EXPECT_TRUE(iommu->attach(kDevice, next).ok());
    do {
      std::this_thread::yield();
    } while (round % 32 == 0 && moved.load() == before);
    EXPECT_TRUE(iommu->detach(kDevice).ok());
    EXPECT_TRUE(iommu->unmap_within(next, {0, std::uint64_t{1} << 40}).ok());
    EXPECT_TRUE(iommu->remove_domain(next).ok());
  }
  stop.store(true);
  for (std::thread& it : devices) it.join();
  EXPECT_GT(moved.load(), 0u);
  EXPECT_EQ(guest.bytes(kRamBase + 8 * kPage, 8 * kPage), untouched);
}

}  // namespace
}  // namespace vm_device
