// vme_copy, vme_fill, vme_read, vme_write and vme_probe: one test for each guarantee.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "tests/support/temporary_file.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/host_fault.h"

namespace {

using vm_test::DeviceAccess;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::noise;
using vm_test::PageTable;

constexpr std::uint32_t elements(unsigned log2) { return log2 << VME_ELEM_SHIFT; }
using Bytes = std::vector<std::byte>;

Bytes part(const Bytes& bytes, std::size_t at, std::size_t n) {
  return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(at),
               bytes.begin() + static_cast<std::ptrdiff_t>(at + n));
}

TEST(CopyTest, CopiesAcrossPagesOfBothSides) {
  Machine m;
  const auto data = noise(3 * kPage, 1);
  m.put(Machine::kRam, data);
  ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kTracked + 100, Machine::kRam + 3000, 8000, 0), 0u);
  EXPECT_EQ(m.bytes(Machine::kTracked + 100, 8000), part(data, 3000, 8000));
  EXPECT_EQ(m.bytes(Machine::kTracked, 100), Bytes(100));
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 2u);
}

TEST(CopyTest, NothingIsTouchedForNoBytes) {
  PageTable table;
  Machine m(table);
  m.cpu->fault.rc = 77;
  EXPECT_EQ(vme_copy(m.cpu.get(), 0x1000, 0x2000, 0, 0), 0u);
  EXPECT_EQ(vme_fill(m.cpu.get(), 0x1000, 0, 0, ~0u), 0u);
  EXPECT_EQ(vme_read(m.cpu.get(), nullptr, 0x1000, 0, 0), 0u);
  EXPECT_EQ(vme_write(m.cpu.get(), 0x1000, nullptr, 0, 0), 0u);
  EXPECT_EQ(vme_probe(m.cpu.get(), 0x1000, 0, VME_ACCESS_READ, 0, nullptr), VME_OK);
  EXPECT_EQ(table.walks, 0u);
  EXPECT_EQ(m.cpu->fault.rc, 77u);
}

TEST(CopyTest, AFaultingDestinationLeavesAnExactPrefix) {
  Machine m;
  const auto data = noise(1000, 2);
  m.put(Machine::kRam, data);
  const std::uint64_t end = Machine::kRam + 8 * kPage;
  ASSERT_EQ(vme_copy(m.cpu.get(), end - 300, Machine::kRam, 1000, 0), 700u);
  EXPECT_EQ(m.bytes(end - 300, 300), part(data, 0, 300));
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(m.cpu->fault.side, VME_SIDE_DESTINATION);
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_WRITE);
  EXPECT_EQ(m.cpu->fault.gva, end);
  EXPECT_EQ(m.cpu->fault.done, 300u);
}

TEST(CopyTest, TheSourceIsReportedWhereBothFault) {
  Machine m;
  EXPECT_EQ(vme_copy(m.cpu.get(), 0x1000, 0x2000, 8, 0), 8u);
  EXPECT_EQ(m.cpu->fault.side, VME_SIDE_SOURCE);
  EXPECT_EQ(m.cpu->fault.gva, 0x2000u);
}

TEST(CopyTest, BackwardLeavesAnExactSuffix) {
  Machine m;
  const auto data = noise(1000, 3);
  m.put(Machine::kRam + kPage, data);
  ASSERT_EQ(
      vme_copy(m.cpu.get(), Machine::kTracked - 200, Machine::kRam + kPage, 1000, VME_BACKWARD),
      200u);
  EXPECT_EQ(m.bytes(Machine::kTracked, 800), part(data, 200, 800));
  EXPECT_EQ(m.cpu->fault.gva, Machine::kTracked - 1);
  EXPECT_EQ(m.cpu->fault.done, 800u);
}

TEST(CopyTest, AnElementThatReachesIntoAFaultIsNotBegun) {
  Machine m;
  const std::uint64_t end = Machine::kRam + 8 * kPage;
  m.put(end - 21, Bytes(21, std::byte{0xcc}));
  const auto data = noise(64, 4);
  ASSERT_EQ(vme_write(m.cpu.get(), end - 21, data.data(), 64, elements(3)), 48u);
  EXPECT_EQ(m.bytes(end - 21, 16), part(data, 0, 16));
  EXPECT_EQ(m.bytes(end - 5, 5), Bytes(5, std::byte{0xcc}));
  EXPECT_EQ(m.cpu->fault.gva, end);
  EXPECT_EQ(m.cpu->fault.acc_gva, end - 5);
  EXPECT_EQ(m.cpu->fault.acc_size, 8u);
}

TEST(CopyTest, StraddlingElementsOfBothSidesArrive) {
  Machine m;
  const auto data = noise(3 * kPage, 5);
  m.put(Machine::kRam, data);
  for (const std::uint32_t direction : {0u, std::uint32_t{VME_BACKWARD}}) {
    ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kTracked + 5, Machine::kRam + 3, 2 * kPage,
                       elements(3) | direction),
              0u);
    EXPECT_EQ(m.bytes(Machine::kTracked + 5, 2 * kPage), part(data, 3, 2 * kPage));
    vme_fill(m.cpu.get(), Machine::kTracked, 0, 4 * kPage, 0);
  }
}

TEST(CopyTest, MemmoveIsAsIfThroughABuffer) {
  for (const std::uint32_t direction : {0u, std::uint32_t{VME_BACKWARD}}) {
    for (const std::int64_t distance : {1, 7, 4095, 4096, 5000, -1, -7, -4097}) {
      Machine m;
      const auto data = noise(7 * kPage, 6);
      m.put(Machine::kRam, data);
      const std::uint64_t src = Machine::kRam + 5003;
      const std::uint64_t dst = src + static_cast<std::uint64_t>(distance);
      ASSERT_EQ(vme_copy(m.cpu.get(), dst, src, 10000, direction), 0u);
      EXPECT_EQ(m.bytes(dst, 10000), part(data, 5003, 10000)) << distance;
    }
  }
}

TEST(CopyTest, AMemmoveAgainstItsOrderStillLeavesAPrefix) {
  Machine m;
  const auto data = noise(8 * kPage, 7);
  m.put(Machine::kRam, data);
  const std::uint64_t src = Machine::kRam + 4 * kPage;
  ASSERT_EQ(vme_copy(m.cpu.get(), src + 100, src, 4 * kPage, 0), 100u);
  EXPECT_EQ(m.bytes(src, 100), part(data, 4 * kPage, 100));
  EXPECT_EQ(m.bytes(src + 100, 4 * kPage - 100), part(data, 4 * kPage, 4 * kPage - 100));
  EXPECT_EQ(m.cpu->fault.gva, Machine::kRam + 8 * kPage);
  EXPECT_EQ(m.cpu->fault.done, 4 * kPage - 100);
}

TEST(CopyTest, PropagateReplicatesElementByElement) {
  for (const unsigned log2 : {0u, 1u, 2u, 3u}) {
    const std::size_t element = std::size_t{1} << log2;
    for (const std::size_t distance : {1u, 2u, 3u, 8u, 100u, 4096u, 5001u}) {
      Machine m;
      auto want = noise(8 * kPage, 8);
      m.put(Machine::kRam, want);
      const std::size_t src = 4000;
      for (std::size_t i = 0; i < 16000; i += element) {
        std::memmove(&want[src + distance + i], &want[src + i], element);
      }
      ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kRam + src + distance, Machine::kRam + src, 16000,
                         elements(log2) | VME_OVERLAP_PROPAGATE),
                0u);
      ASSERT_EQ(m.bytes(Machine::kRam, want.size()), want) << element << " at " << distance;
    }
  }
}

TEST(CopyTest, PropagateBackwardReplicatesDownward) {
  for (const unsigned log2 : {0u, 2u}) {
    const std::size_t element = std::size_t{1} << log2;
    for (const std::size_t distance : {1u, 3u, 8u, 100u, 5001u}) {
      Machine m;
      auto want = noise(8 * kPage, 9);
      m.put(Machine::kRam, want);
      const std::size_t src = 9000;
      for (std::size_t i = 16000; i > 0; i -= element) {
        std::memmove(&want[src - distance + i - element], &want[src + i - element], element);
      }
      ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kRam + src - distance, Machine::kRam + src, 16000,
                         elements(log2) | VME_OVERLAP_PROPAGATE | VME_BACKWARD),
                0u);
      ASSERT_EQ(m.bytes(Machine::kRam, want.size()), want) << element << " at " << distance;
    }
  }
}

// Propagation is judged on physical addresses: both names of a page are that page.
TEST(CopyTest, PropagationReachesThroughTwoNamesOfAPage) {
  for (const std::uint32_t direction : {0u, std::uint32_t{VME_BACKWARD}}) {
    for (const unsigned log2 : {0u, 2u, 3u}) {
      for (const std::size_t distance : {1u, 3u, 8u, 100u, 3000u}) {
        PageTable table;
        for (const std::uint64_t name : {0x50000u, 0x90000u}) {
          table.pages[name] = {Machine::kRam};
          table.pages[name + kPage] = {Machine::kRam + 3 * kPage};
        }
        Machine m(table);
        auto want = noise(2 * kPage, 11);
        m.put(Machine::kRam, part(want, 0, kPage));
        m.put(Machine::kRam + 3 * kPage, part(want, kPage, kPage));
        const std::size_t element = std::size_t{1} << log2, n = 4096;
        const std::size_t src = direction == 0 ? 500 : 500 + distance;
        const std::size_t dst = direction == 0 ? 500 + distance : 500;
        for (std::size_t i = 0; i < n; i += element) {
          const std::size_t at = direction == 0 ? i : n - i - element;
          std::memmove(&want[dst + at], &want[src + at], element);
        }
        const std::uint32_t flags = elements(log2) | direction | VME_OVERLAP_PROPAGATE;
        ASSERT_EQ(vme_copy(m.cpu.get(), 0x90000 + dst, 0x50000 + src, n, flags), 0u);
        EXPECT_EQ(m.bytes(Machine::kRam, kPage), part(want, 0, kPage)) << element << distance;
        EXPECT_EQ(m.bytes(Machine::kRam + 3 * kPage, kPage), part(want, kPage, kPage));
      }
    }
  }
}

TEST(CopyTest, FillRepeatsOneElement) {
  Machine m;
  ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kRam + 4091, 0x1122334455667788, 24, elements(2)), 0u);
  const auto bytes = m.bytes(Machine::kRam + 4090, 26);
  for (std::size_t i = 0; i < 24; ++i) {
    EXPECT_EQ(bytes[i + 1], static_cast<std::byte>(0x55667788u >> (8 * (i % 4)))) << i;
  }
  EXPECT_EQ(bytes[0], std::byte{0});
  EXPECT_EQ(bytes[25], std::byte{0});
}

TEST(CopyTest, ADeviceSeesEveryElementOnce) {
  Machine m;
  ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kRam, Machine::kDevice + 8, 8, elements(2)), 0u);
  ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kDevice + 2, 0xab, 2, 0), 0u);
  const std::vector<DeviceAccess> want = {{false, 8, 4, 0x01010101},
                                          {false, 12, 4, 0x02020202},
                                          {true, 2, 1, 0xab},
                                          {true, 3, 1, 0xab}};
  EXPECT_EQ(m.device.log, want);
}

TEST(CopyTest, BackwardReachesADeviceFromItsEnd) {
  Machine m;
  std::uint32_t data[2] = {1, 2};
  ASSERT_EQ(vme_write(m.cpu.get(), Machine::kDevice, data, 8, elements(2) | VME_BACKWARD), 0u);
  const std::vector<DeviceAccess> want = {{true, 4, 4, 2}, {true, 0, 4, 1}};
  EXPECT_EQ(m.device.log, want);
}

TEST(CopyTest, ADeviceIsNotCalledAgainAfterALaterFault) {
  Machine m;
  m.device.refused_offset = 12;
  Bytes to(16, std::byte{0xcc});
  ASSERT_EQ(vme_read(m.cpu.get(), to.data(), Machine::kDevice + 4, 16, elements(2)), 8u);
  EXPECT_EQ(m.device.log.size(), 2u);
  EXPECT_EQ(to[8], std::byte{0xcc});
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_MMIO});
  EXPECT_EQ(m.cpu->fault.gva, Machine::kDevice + 12);
  EXPECT_EQ(m.cpu->fault.gpa, Machine::kDevice + 12);
  EXPECT_EQ(m.cpu->fault.acc_size, 4u);
}

TEST(CopyTest, NoMmioStopsBeforeTheDevice) {
  Machine m;
  ASSERT_TRUE(m.memory->add_ram(vm_test::range(Machine::kDevice - kPage, kPage)).ok());
  ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kDevice - 10, 1, 30, VME_NO_MMIO), 20u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_MMIO});
  EXPECT_EQ(m.cpu->fault.gva, Machine::kDevice);
  EXPECT_TRUE(m.device.log.empty());
  EXPECT_EQ(m.bytes(Machine::kDevice - 10, 10), Bytes(10, std::byte{1}));
}

TEST(CopyTest, AtomicWritesAllOrNothing) {
  Machine m;
  const std::uint64_t end = Machine::kRam + 8 * kPage;
  const auto before = m.bytes(end - 2 * kPage, 2 * kPage);
  ASSERT_EQ(vme_fill(m.cpu.get(), end - 2 * kPage, 0xff, 2 * kPage + 1, VME_ATOMIC_OR_NOTHING),
            2 * kPage + 1);
  EXPECT_EQ(m.bytes(end - 2 * kPage, 2 * kPage), before);
  EXPECT_EQ(m.cpu->fault.gva, end);
  EXPECT_EQ(m.cpu->fault.done, 0u);
  ASSERT_EQ(vme_fill(m.cpu.get(), end - 2 * kPage, 0xff, 2 * kPage, VME_ATOMIC_OR_NOTHING), 0u);
  EXPECT_EQ(m.bytes(end - 2 * kPage, 2 * kPage), Bytes(2 * kPage, std::byte{0xff}));
}

TEST(CopyTest, AtomicRefusesADevice) {
  Machine m;
  ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kDevice, 1, 4, VME_ATOMIC_OR_NOTHING), 4u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_MMIO});
  EXPECT_TRUE(m.device.log.empty());
}

TEST(CopyTest, PollStopsAtThePageWithValidProgress) {
  Machine m;
  m.cpu->exit_request = 1;
  const std::uint64_t n = 3 * kPage;
  ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kRam + 96, 0x11, n, VME_POLL), n - (kPage - 96));
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_INTR});
  EXPECT_EQ(m.cpu->fault.gva, Machine::kRam + kPage);
  EXPECT_EQ(m.bytes(Machine::kRam + 96, kPage - 96), Bytes(kPage - 96, std::byte{0x11}));
  EXPECT_EQ(m.bytes(Machine::kRam + kPage, 1), Bytes(1));
  ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kRam + 96, 0x11, n, 0), 0u);
}

TEST(CopyTest, APolledLoopEndsThoughTheRequestStays) {
  Machine m;
  m.cpu->exit_request = 1;
  std::uint64_t left = 6 * kPage;
  int calls = 0;
  while (left != 0 && calls < 100) {
    left = vme_fill(m.cpu.get(), Machine::kRam + 6 * kPage - left, 0x22, left, VME_POLL);
    ++calls;
  }
  EXPECT_EQ(calls, 6);
  EXPECT_EQ(m.bytes(Machine::kRam, 6 * kPage), Bytes(6 * kPage, std::byte{0x22}));
}

TEST(CopyTest, AddressesWrapAtTheTop) {
  PageTable table;
  const std::uint64_t top = ~std::uint64_t{0} - (kPage - 1);
  table.pages[top] = {Machine::kRam};
  table.pages[0] = {Machine::kRam + 4 * kPage};
  Machine m(table);
  const auto data = noise(200, 10);
  for (const std::uint32_t flags : {0u, std::uint32_t{VME_BACKWARD}, elements(3)}) {
    vme_tlb_flush(m.cpu.get());
    ASSERT_EQ(vme_write(m.cpu.get(), ~std::uint64_t{0} - 99, data.data(), 200, flags), 0u);
    EXPECT_EQ(m.bytes(Machine::kRam + kPage - 100, 100), part(data, 0, 100));
    EXPECT_EQ(m.bytes(Machine::kRam + 4 * kPage, 100), part(data, 100, 100));
  }
  std::uint64_t value = 0;
  ASSERT_EQ(vm_engine::load(*m.cpu, ~std::uint64_t{0} - 2, value), VME_OK);
  std::uint64_t want = 0;
  std::memcpy(&want, &data[97], 8);
  EXPECT_EQ(value, want);
  table.pages.erase(0);
  vme_tlb_flush(m.cpu.get());
  EXPECT_EQ(vme_write(m.cpu.get(), ~std::uint64_t{0} - 99, data.data(), 200, 0), 100u);
  EXPECT_EQ(m.cpu->fault.gva, 0u);
}

TEST(CopyTest, BadFlagsAreRefused) {
  Machine m;
  std::uint64_t value = 0;
  const auto refused = [&](std::uint64_t n, std::uint32_t flags) {
    m.cpu->fault = {};
    return vme_read(m.cpu.get(), &value, Machine::kRam, n, flags) == n &&
           m.cpu->fault.rc == std::uint32_t{VME_EINVAL};
  };
  EXPECT_TRUE(refused(8, elements(4)));
  EXPECT_TRUE(refused(6, elements(2)));
  EXPECT_TRUE(refused(8, 3u << 12));
  EXPECT_TRUE(refused(8, 3u << 18));
  EXPECT_TRUE(refused(8, 1u << 20));
  EXPECT_TRUE(refused(8, VME_MMU_MODES << VME_MMU_SRC_SHIFT));
  EXPECT_TRUE(refused(8, 15u << VME_MMU_DST_SHIFT));
  EXPECT_EQ(vme_read(m.cpu.get(), nullptr, Machine::kRam, 8, 0), 8u);
  EXPECT_EQ(vme_write(m.cpu.get(), Machine::kRam, nullptr, 8, 0), 8u);
  EXPECT_EQ(vme_read(m.cpu.get(), &value, Machine::kRam, 8, elements(3)), 0u);
}

TEST(CopyTest, ProbeGivesTheHostPointerOfMemoryAlone) {
  Machine m;
  void* host = nullptr;
  ASSERT_EQ(
      vme_probe(m.cpu.get(), Machine::kRam + 8, 8, VME_ACCESS_READ | VME_ACCESS_WRITE, 0, &host),
      VME_OK);
  std::uint32_t value = 5;
  ASSERT_EQ(vm_engine::store(*m.cpu, Machine::kRam + 8, value), VME_OK);
  EXPECT_EQ(std::memcmp(host, &value, 4), 0);
  ASSERT_EQ(vme_probe(m.cpu.get(), Machine::kDevice, 8, VME_ACCESS_READ, 0, &host), VME_OK);
  EXPECT_EQ(host, nullptr);
  EXPECT_EQ(vme_probe(m.cpu.get(), Machine::kRom, 8, VME_ACCESS_WRITE, 0, &host), VME_PROT);
  EXPECT_EQ(vme_probe(m.cpu.get(), 0x1000, 8, VME_ACCESS_READ, 0, &host), VME_UNMAPPED);
  EXPECT_EQ(vme_probe(m.cpu.get(), Machine::kRam, kPage + 1, VME_ACCESS_READ, 0, &host),
            VME_EINVAL);
  EXPECT_EQ(vme_probe(m.cpu.get(), Machine::kRam, 1, 0, 0, &host), VME_EINVAL);
  EXPECT_EQ(vme_probe(m.cpu.get(), Machine::kRam, 1, VME_ACCESS_READ, VME_MMU_MODES, &host),
            VME_EINVAL);
}

TEST(CopyTest, BulkAccessesCountAsTheEngines) {
  Machine m;
  const auto operations = [&] {
    std::uint64_t sum = 0;
    const vm_mem::Statistics statistics = m.memory->statistics();
    for (const auto& path : statistics.counts[static_cast<std::size_t>(vm_mem::Route::kEngine)]) {
      sum += path.bytes;
    }
    return sum;
  };
  const std::uint64_t before = operations();
  ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kRam, Machine::kRam + kPage, 1000, 0), 0u);
  EXPECT_EQ(operations() - before, 1000u);
}

TEST(CopyTest, DirectCopiesAndLongOnesMarkWhatTheyWrote) {
  Machine m;
  const auto data = noise(4 * kPage, 9);
  m.put(Machine::kRam, data);
  const auto client = m.memory->add_dirty_client("test").value();
  vm_mem::DirtyPages pages;
  const auto written = [&] {
    vme_cpu_park(m.cpu.get());
    EXPECT_TRUE(m.memory->harvest_dirty(client, m.tracked, pages).ok());
    return pages.words()[0];
  };
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kTracked + 8, Machine::kRam + 16, 64, 0), 0u);
    ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kTracked + 72, Machine::kRam + 80, 64, 0), 0u);
    EXPECT_EQ(m.bytes(Machine::kTracked + 8, 128), part(data, 16, 128));
    EXPECT_EQ(written(), 1u);
    ASSERT_EQ(vme_write(m.cpu.get(), Machine::kTracked + kPage, data.data(), 300, 0), 0u);
    ASSERT_EQ(vme_fill(m.cpu.get(), Machine::kTracked + kPage + 300, 1, 300, 0), 0u);
    EXPECT_EQ(written(), 2u);
    ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kTracked + 100, Machine::kRam, 2 * kPage, 0), 0u);
    EXPECT_EQ(m.bytes(Machine::kTracked + 100, 2 * kPage), part(data, 0, 2 * kPage));
    EXPECT_EQ(written(), 7u);
  }
}

TEST(CopyTest, LongCopiesFollowTheirTranslationsWhenThoseAreForgotten) {
  PageTable table;
  for (std::uint64_t i = 0; i < 3; ++i) {
    table.pages[0x5000 + i * kPage] = {Machine::kRam + i * kPage};
    table.pages[0x9000 + i * kPage] = {Machine::kTracked + i * kPage};
  }
  Machine m(table);
  const auto data = noise(8 * kPage, 4);
  m.put(Machine::kRam, data);
  const auto copied = [&] {
    EXPECT_EQ(vme_copy(m.cpu.get(), 0x9000, 0x5000, 3 * kPage, VME_OVERLAP_DISJOINT), 0u);
    return m.bytes(Machine::kTracked, 3 * kPage);
  };
  EXPECT_EQ(copied(), part(data, 0, 3 * kPage));
  const auto walks = table.walks;
  copied();
  EXPECT_EQ(table.walks, walks);
  table.pages[0x6000] = {Machine::kRam + 5 * kPage};
  vme_tlb_flush_range(m.cpu.get(), 0x6000, 1);
  Bytes want = part(data, 0, 3 * kPage);
  std::copy_n(data.begin() + 5 * kPage, kPage, want.begin() + kPage);
  EXPECT_EQ(copied(), want);
  table.pages.erase(0x7000);
  vme_tlb_flush(m.cpu.get());
  EXPECT_EQ(vme_copy(m.cpu.get(), 0x9000, 0x5000, 3 * kPage, 0), kPage);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_XLAT});
  EXPECT_EQ(m.cpu->fault.gva, 0x7000u);
}

TEST(CopyTest, FlagsThatFollowOthersAreTakenAtTheirWord) {
  Machine m;
  m.put(Machine::kRam, noise(256, 8));
  const auto copy = [&](std::uint64_t n, std::uint32_t flags) {
    return vme_copy(m.cpu.get(), Machine::kRam + 1024, Machine::kRam, n, flags);
  };
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(copy(64, 0), 0u);
    EXPECT_EQ(copy(64, VME_OVERLAP_PROPAGATE | elements(2)), 0u);
    EXPECT_EQ(copy(62, elements(2)), 62u);
    EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_EINVAL});
    EXPECT_EQ(copy(64, 1u << 20), 64u);
    EXPECT_EQ(copy(64, ~0u), 64u);
    EXPECT_EQ(copy(64, VME_ONCE), 0u);
    EXPECT_EQ(copy(64, VME_MMU_MODES), 64u);
    EXPECT_EQ(copy(64, 1), 0u);
  }
  // An ascending copy by bytes that overlaps by all but one.
  ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kRam + 1, Machine::kRam, 99, VME_OVERLAP_PROPAGATE), 0u);
  EXPECT_EQ(m.bytes(Machine::kRam, 100), Bytes(100, m.bytes(Machine::kRam, 1)[0]));
}

// What the helpers know of their flags was worked out while all memory was direct.
TEST(CopyTest, MemoryThatMayFailIsLookedAtFromWhenItIsMetOn) {
  ASSERT_TRUE(vm_mem::install_host_fault_handler().ok());
  constexpr std::uint64_t kFile = 0x80000;
  const vm_test::TemporaryFile file(noise(2 * kPage, 11));
  Machine m;
  ASSERT_TRUE(m.memory
                  ->add_ram(vm_test::range(kFile, 2 * kPage),
                            {.backing = vm_mem::Backing::kFile, .file = file.path()})
                  .ok());
  const auto copy = [&](std::uint64_t to, std::uint64_t from) {
    return vme_copy(m.cpu.get(), to, from, 64, VME_OVERLAP_DISJOINT);
  };
  ASSERT_EQ(copy(Machine::kRam + 64, Machine::kRam), 0u);
  ASSERT_EQ(copy(Machine::kRam, kFile + kPage), 0u);
  ASSERT_EQ(copy(kFile + kPage, Machine::kRam), 0u);
  std::filesystem::resize_file(file.path(), kPage);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(copy(Machine::kRam, kFile + kPage), 64u);
    EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_BUS});
    EXPECT_EQ(copy(kFile + kPage, Machine::kRam), 64u);
    EXPECT_EQ(m.cpu->fault.side, VME_SIDE_DESTINATION);
    EXPECT_EQ(vme_fill(m.cpu.get(), kFile + kPage, 0, 64, 0), 64u);
    std::byte host[64] = {};
    EXPECT_EQ(vme_read(m.cpu.get(), host, kFile + kPage, 64, 0), 64u);
    EXPECT_EQ(vme_write(m.cpu.get(), kFile + kPage, host, 64, 0), 64u);
    EXPECT_EQ(copy(Machine::kRam, kFile), 0u);
  }
  EXPECT_EQ(m.bytes(Machine::kRam, 64), part(noise(2 * kPage, 11), 0, 64));
}

}  // namespace
