// A vCPU while other threads write its exit_request and change the memory map.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"

namespace vm_engine {
namespace {

using vm_mem::RemovePolicy;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::range;

TEST(ConcurrencyTest, AnExitRequestFromAnotherThreadStopsACopy) {
  Machine m;
  std::atomic<bool> copying{false};
  std::thread requester([&] {
    while (!copying.load()) std::this_thread::yield();
    __atomic_store_n(&m.cpu->exit_request, 1u, __ATOMIC_RELAXED);
  });
  std::uint64_t left = 0;
  while (left == 0) {
    left = vme_fill(m.cpu.get(), Machine::kRam, 0x33, 8 * kPage, VME_POLL);
    copying = true;
  }
  requester.join();
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_INTR});
  EXPECT_EQ(m.cpu->fault.done, 8 * kPage - left);
  EXPECT_EQ(left % kPage, 0u);
}

TEST(ConcurrencyTest, AMapThatChangesUnderARunningCpuIsFollowed) {
  Machine m;
  constexpr std::uint64_t kComes = 0x80000;
  std::atomic<bool> running{false};
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    while (!running) std::this_thread::yield();
    for (int i = 0; i < 300; ++i) {
      const auto region = m.memory->add_ram(range(kComes, kPage)).value();
      EXPECT_TRUE(m.memory->remove_region(region, RemovePolicy::kWait).ok());
    }
    stop = true;
  });
  while (!stop) {
    refresh(*m.cpu);
    std::uint64_t value = 0;
    const vme_rc rc = load(*m.cpu, kComes, value);
    EXPECT_TRUE(rc == VME_OK || rc == VME_UNMAPPED) << vme_rc_name(rc);
    EXPECT_EQ(value, 0u);
    ASSERT_EQ(store(*m.cpu, Machine::kRam, value), VME_OK);
    running = true;
  }
  changer.join();
  refresh(*m.cpu);
  std::uint64_t value = 0;
  EXPECT_EQ(load(*m.cpu, kComes, value), VME_UNMAPPED);
}

TEST(ConcurrencyTest, AlignedWordsNeverTearBetweenCpus) {
  Machine m;
  const CpuPtr other = m.new_cpu();
  constexpr std::uint64_t kPatterns[] = {0x0101010101010101, 0xfefefefefefefefe};
  ASSERT_EQ(store(*m.cpu, Machine::kRam, kPatterns[0]), VME_OK);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (unsigned i = 0; i < 50000; ++i) {
      if (i % 64 == 0) vme_tlb_flush(other.get());
      ASSERT_EQ(store(*other, Machine::kRam, kPatterns[i % 2]), VME_OK);
    }
    stop = true;
  });
  while (!stop) {
    std::uint64_t value = 0;
    ASSERT_EQ(load(*m.cpu, Machine::kRam, value), VME_OK);
    ASSERT_TRUE(value == kPatterns[0] || value == kPatterns[1]) << value;
    ASSERT_EQ(vme_read(m.cpu.get(), &value, Machine::kRam, 8, 3u << VME_ELEM_SHIFT), 0u);
    ASSERT_TRUE(value == kPatterns[0] || value == kPatterns[1]) << value;
  }
  writer.join();
}

}  // namespace
}  // namespace vm_engine
