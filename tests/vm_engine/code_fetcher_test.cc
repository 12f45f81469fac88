#include "vm_engine/code_fetcher.h"

#include <gtest/gtest.h>

#include "tests/vm_engine/machine.h"

namespace vm_engine {
namespace {

using vm_test::kPage;
using vm_test::Machine;
using vm_test::PageTable;

constexpr std::uint32_t kExecute = VME_ACCESS_EXECUTE;

std::uint16_t parcel_of(const std::vector<std::byte>& bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) |
                                    std::to_integer<unsigned>(bytes[at + 1]) << 8);
}

TEST(CodeFetcherTest, FetchesParcelsFromRamAndRom) {
  Machine m;
  const auto code = vm_test::noise(16, 1);
  m.put(Machine::kRam, code);
  CodeFetcher fetcher(*m.cpu);
  for (int round = 0; round < 2; ++round) {
    for (std::size_t at = 0; at + 2 <= code.size(); ++at) {
      std::uint16_t value = 0;
      ASSERT_EQ(fetcher.parcel(Machine::kRam + at, value), VME_OK);
      EXPECT_EQ(value, parcel_of(code, at));
    }
  }
  std::uint16_t value = 0;
  ASSERT_EQ(fetcher.parcel(Machine::kRom + 2, value), VME_OK);
  EXPECT_EQ(value, 14 | 21 << 8);
  EXPECT_EQ(detail::entry_of(*m.cpu, Machine::kRom, 0).execute, Machine::kRom);
}

TEST(CodeFetcherTest, ASecondParcelFaultsOnItsOwnPage) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam};
  Machine m(table);
  CodeFetcher fetcher(*m.cpu);
  std::uint16_t value = 0;
  EXPECT_EQ(fetcher.parcel(0x5ffe, value), VME_OK);
  EXPECT_EQ(fetcher.parcel(0x6000, value), VME_XLAT);
  EXPECT_EQ(m.cpu->fault.gva, 0x6000u);
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_EXECUTE);
}

TEST(CodeFetcherTest, AnOddParcelStraddlesPages) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam};
  table.pages[0x6000] = {Machine::kRam + 3 * kPage};
  Machine m(table);
  m.put(Machine::kRam + kPage - 1, {std::byte{0x34}});
  m.put(Machine::kRam + 3 * kPage, {std::byte{0x12}});
  CodeFetcher fetcher(*m.cpu);
  std::uint16_t value = 0;
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(fetcher.parcel(0x5fff, value), VME_OK);
    EXPECT_EQ(value, 0x1234);
  }
}

TEST(CodeFetcherTest, ReadableIsNotExecutable) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam, VME_ACCESS_READ | VME_ACCESS_WRITE};
  table.pages[0x6000] = {Machine::kRam, kExecute};
  Machine m(table);
  std::uint16_t value = 0;
  ASSERT_EQ(load(*m.cpu, 0x5000, value), VME_OK);
  CodeFetcher fetcher(*m.cpu);
  EXPECT_EQ(fetcher.parcel(0x5000, value), VME_PROT);
  EXPECT_EQ(fetcher.parcel(0x6000, value), VME_OK);
  EXPECT_EQ(load(*m.cpu, 0x6000, value), VME_PROT);
}

TEST(CodeFetcherTest, FetchCrossesPagesAndSaysHowFarItGot) {
  Machine m;
  const auto code = vm_test::noise(2 * kPage, 2);
  m.put(Machine::kRam + 6 * kPage, code);
  CodeFetcher fetcher(*m.cpu);
  std::vector<std::byte> to(kPage + 100);
  EXPECT_TRUE(fetcher.fetch(Machine::kRam + 6 * kPage + 50, to).ok());
  EXPECT_TRUE(std::equal(to.begin(), to.end(), code.begin() + 50));

  std::vector<std::byte> past(300, std::byte{0xcc});
  const FetchResult want{VME_UNMAPPED, 200, Machine::kRam + 8 * kPage};
  EXPECT_EQ(fetcher.fetch(Machine::kRam + 8 * kPage - 200, past), want);
  EXPECT_TRUE(std::equal(past.begin(), past.begin() + 200, code.end() - 200));
  EXPECT_EQ(past[200], std::byte{0xcc});
}

TEST(CodeFetcherTest, FetchInPageStopsAtItsEnd) {
  Machine m;
  CodeFetcher fetcher(*m.cpu);
  std::vector<std::byte> to(300);
  EXPECT_EQ(fetcher.fetch_in_page(Machine::kRam + 8 * kPage - 200, to),
            (FetchResult{VME_OK, 200, 0}));
  EXPECT_EQ(fetcher.fetch_in_page(Machine::kRam, to), (FetchResult{VME_OK, 300, 0}));
  EXPECT_EQ(fetcher.fetch_in_page(0x1000, to), (FetchResult{VME_UNMAPPED, 0, 0x1000}));
}

TEST(CodeFetcherTest, ADeviceIsNeverCalled) {
  Machine m;
  CodeFetcher fetcher(*m.cpu);
  std::uint16_t value = 0;
  EXPECT_EQ(fetcher.parcel(Machine::kDevice, value), VME_MMIO);
  EXPECT_EQ(m.cpu->fault.gpa, Machine::kDevice);
  EXPECT_TRUE(m.device.log.empty());
}

TEST(CodeFetcherTest, TheModeChoosesTheTranslation) {
  struct ByMode {
    static vme_rc walk(void*, std::uint64_t, std::uint32_t, std::uint32_t mode, std::uint64_t* gpa,
                       std::uint32_t* permitted) {
      *gpa = Machine::kRam + mode * kPage;
      *permitted = kExecute;
      return mode == 3 ? VME_XLAT : VME_OK;
    }
  };
  Machine m({.translate = &ByMode::walk});
  m.put(Machine::kRam + 2 * kPage, {std::byte{7}, std::byte{0}});
  CodeFetcher fetcher(*m.cpu, 2);
  std::uint16_t value = 0;
  ASSERT_EQ(fetcher.parcel(0x9000, value), VME_OK);
  EXPECT_EQ(value, 7);
  fetcher.set_mmu_mode(0);
  ASSERT_EQ(fetcher.parcel(0x9000, value), VME_OK);
  EXPECT_EQ(value, 0);
  fetcher.set_mmu_mode(3);
  EXPECT_EQ(fetcher.parcel(0x9000, value), VME_XLAT);
}

// What is found for accesses over two pages is kept for the next of the same kind alone.
TEST(CodeFetcherTest, ToFetchOverPagesIsNoRightToReadThem) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam, kExecute};
  table.pages[0x6000] = {Machine::kRam + kPage, kExecute};
  table.pages[0x8000] = {Machine::kRam, VME_ACCESS_READ};
  table.pages[0x9000] = {Machine::kRam + kPage, VME_ACCESS_READ};
  Machine m(table);
  CodeFetcher fetcher(*m.cpu);
  std::array<std::byte, 16> bytes{};
  ASSERT_EQ(fetcher.fetch(0x5ff8, bytes).rc, VME_OK);
  EXPECT_EQ(vme_read(m.cpu.get(), bytes.data(), 0x5ffc, 8, 0), 8u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_PROT});
  ASSERT_EQ(vme_read(m.cpu.get(), bytes.data(), 0x8ff8, 16, 0), 0u);
  EXPECT_EQ(fetcher.fetch(0x8ff8, bytes).rc, VME_PROT);
}

}  // namespace
}  // namespace vm_engine
