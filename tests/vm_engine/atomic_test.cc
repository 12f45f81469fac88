// The atomic read-modify-write operations of engine.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"

namespace vm_engine {
namespace {

using vm_mem::GuestAddress;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::PageTable;

TEST(AtomicTest, EveryOperationReturnsWhatWasThere) {
  Machine m;
  const std::uint64_t at = Machine::kRam + 16;
  std::uint32_t previous = 0;
  const auto value = [&] {
    std::uint32_t now = 0;
    EXPECT_TRUE(m.memory->load(GuestAddress{at}, now).ok());
    return now;
  };
  ASSERT_EQ(exchange(*m.cpu, at, 12u, previous), VME_OK);
  EXPECT_EQ(previous, 0u);
  ASSERT_EQ(fetch_add(*m.cpu, at, 5u, previous), VME_OK);
  EXPECT_EQ(previous, 12u);
  ASSERT_EQ(fetch_or(*m.cpu, at, 0x100u, previous), VME_OK);
  EXPECT_EQ(previous, 17u);
  ASSERT_EQ(fetch_and(*m.cpu, at, 0x110u, previous), VME_OK);
  EXPECT_EQ(previous, 0x111u);
  ASSERT_EQ(fetch_xor(*m.cpu, at, 0xffu, previous), VME_OK);
  EXPECT_EQ(previous, 0x110u);
  EXPECT_EQ(value(), 0x1efu);
  ASSERT_EQ(fetch_update(
                *m.cpu, at, [](std::uint32_t v) { return std::min(v, 3u); }, previous),
            VME_OK);
  EXPECT_EQ(previous, 0x1efu);
  EXPECT_EQ(value(), 3u);
}

TEST(AtomicTest, SignedNarrowOperandsKeepTheirNeighbours) {
  Machine m;
  m.put(Machine::kRam, std::vector<std::byte>(16, std::byte{0x55}));
  std::int16_t previous = 0;
  ASSERT_EQ(fetch_add(*m.cpu, Machine::kRam + 6, std::int16_t{-0x5556}, previous), VME_OK);
  EXPECT_EQ(previous, 0x5555);
  const auto bytes = m.bytes(Machine::kRam, 16);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(bytes[i], i == 6 || i == 7 ? std::byte{0xff} : std::byte{0x55});
  }
}

TEST(AtomicTest, CompareExchangeStoresOnlyOnEquality) {
  Machine m;
  std::uint64_t expected = 1;
  bool exchanged = true;
  ASSERT_EQ(compare_exchange(*m.cpu, Machine::kRam, expected, std::uint64_t{9}, exchanged), VME_OK);
  EXPECT_FALSE(exchanged);
  EXPECT_EQ(expected, 0u);
  ASSERT_EQ(compare_exchange(*m.cpu, Machine::kRam, expected, std::uint64_t{9}, exchanged), VME_OK);
  EXPECT_TRUE(exchanged);
  std::uint64_t value = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kRam, value), VME_OK);
  EXPECT_EQ(value, 9u);
}

TEST(AtomicTest, FaultsLeaveEverythingAlone) {
  PageTable table;
  table.pages[0x5000] = {Machine::kRam, VME_ACCESS_READ};
  table.pages[0x6000] = {Machine::kRam, VME_ACCESS_WRITE};
  table.pages[0x7000] = {Machine::kRom};
  table.pages[0x8000] = {Machine::kDevice};
  Machine m(table);
  std::uint32_t previous = 99;
  EXPECT_EQ(fetch_add(*m.cpu, 0x5002, 1u, previous), VME_ALIGN);
  EXPECT_EQ(m.cpu->fault.gva, 0x5002u);
  EXPECT_EQ(fetch_add(*m.cpu, 0x5000, 1u, previous), VME_PROT);
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_WRITE);
  EXPECT_EQ(fetch_add(*m.cpu, 0x6000, 1u, previous), VME_PROT);
  EXPECT_EQ(m.cpu->fault.access, VME_ACCESS_READ);
  EXPECT_EQ(fetch_add(*m.cpu, 0x7000, 1u, previous), VME_PROT);
  EXPECT_EQ(fetch_add(*m.cpu, 0x8000, 1u, previous), VME_MMIO);
  EXPECT_EQ(m.cpu->fault.gpa, Machine::kDevice);
  EXPECT_EQ(fetch_add(*m.cpu, 0x9000, 1u, previous), VME_XLAT);
  EXPECT_EQ(previous, 99u);
  EXPECT_TRUE(m.device.log.empty());
  EXPECT_EQ(m.bytes(Machine::kRam, 8), std::vector<std::byte>(8));
}

TEST(AtomicTest, AnUpdateMarksThePage) {
  Machine m;
  std::uint32_t previous = 0;
  ASSERT_EQ(fetch_add(*m.cpu, Machine::kTracked + kPage, 1u, previous), VME_OK);
  EXPECT_EQ(m.memory->dirty_page_count(m.tracked).value(), 1u);
}

TEST(AtomicTest, NoAdditionIsLostBetweenCpus) {
  Machine m;
  constexpr int kAdditions = 20000;
  const auto work = [&](vme_cpu& cpu) {
    for (int i = 0; i < kAdditions; ++i) {
      std::uint64_t previous = 0;
      ASSERT_EQ(fetch_add(cpu, Machine::kRam, std::uint64_t{1}, previous), VME_OK);
      ASSERT_EQ(fetch_update(
                    cpu, Machine::kRam + 8, [](std::uint64_t v) { return v + 1; }, previous),
                VME_OK);
    }
  };
  const CpuPtr other = m.new_cpu();
  std::thread second([&] { work(*other); });
  work(*m.cpu);
  second.join();
  std::uint64_t value = 0;
  ASSERT_EQ(load(*m.cpu, Machine::kRam, value), VME_OK);
  EXPECT_EQ(value, 2u * kAdditions);
  ASSERT_EQ(load(*m.cpu, Machine::kRam + 8, value), VME_OK);
  EXPECT_EQ(value, 2u * kAdditions);
}

}  // namespace
}  // namespace vm_engine
