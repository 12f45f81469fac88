// A vCPU while other threads write its exit_request and change the memory map.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

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

// Page tables that one thread changes while vCPUs walk them.
struct SwitchedTable {
  std::atomic<std::uint64_t> gpa{Machine::kRam};
  static vme_rc walk(void* opaque, std::uint64_t, std::uint32_t, std::uint32_t,
                     std::uint64_t* gpa_page, std::uint32_t* permitted) {
    *gpa_page = static_cast<SwitchedTable*>(opaque)->gpa.load();
    *permitted = vm_test::kAllAccess;
    return VME_OK;
  }
};

class FlushAllTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kPageA = Machine::kRam;
  static constexpr std::uint64_t kPageB = Machine::kRam + kPage;
  static constexpr std::uint64_t kEverything = ~std::uint64_t{0};

  FlushAllTest() {
    m_.put(kPageA, std::vector<std::byte>(8, std::byte{1}));
    m_.put(kPageB, std::vector<std::byte>(8, std::byte{2}));
  }
  vme_rc flush_all(vme_cpu* self, std::uint64_t n = kEverything) {
    return vme_tlb_flush_all_cpus(m_.engine.get(), 0x5000, n, self);
  }
  static std::uint8_t byte_of(vme_cpu& cpu) {
    std::uint8_t value = 0;
    EXPECT_EQ(load(cpu, 0x5000, value), VME_OK);
    return value;
  }

  // Reads before, beside and after changes of the page table, each followed by `flush`; how
  // many used an old translation.
  int count_stale(int rounds, const std::function<void()>& flush) {
    std::atomic<int> begun{0};  // of what the page's content may be at least
    std::atomic<int> laps{0};
    std::atomic<bool> stop{false};
    std::atomic<int> stale{0};
    const CpuPtr other = m_.new_cpu();
    std::thread runner([&] {
      while (!stop) {
        const int at_least = begun.load();
        ++laps;
        vm_engine::refresh(*other);
        for (int i = 0; i < 50; ++i) {
          if (__atomic_load_n(&other->exit_request, __ATOMIC_RELAXED) != 0) break;
          const int seen = byte_of(*other) == 2 ? 1 : 0;
          const int settled = begun.load();
          if (settled == at_least && settled % 2 == 0 && seen != (settled / 2) % 2) ++stale;
        }
      }
      park(*other);
    });
    const auto run_a_while = [&] {
      for (const int until = laps + 2; laps < until;) std::this_thread::yield();
    };
    for (int round = 1; round <= rounds; ++round) {
      run_a_while();
      begun = 2 * round - 1;
      table_.gpa = round % 2 == 1 ? kPageB : kPageA;
      flush();
      begun = 2 * round;
    }
    run_a_while();
    stop = true;
    runner.join();
    return stale;
  }

  SwitchedTable table_;
  Machine m_{{.translate = &SwitchedTable::walk, .translate_opaque = &table_}};
};

TEST_F(FlushAllTest, NobodyReadsThroughAnOldTranslationAfterwards) {
  EXPECT_EQ(count_stale(100, [&] { EXPECT_EQ(flush_all(nullptr), VME_OK); }), 0);
}

// Without the flush somebody does.
TEST_F(FlushAllTest, OldTranslationsThatStayAreCaught) {
  EXPECT_GT(count_stale(1, [] {}), 0);
}

TEST_F(FlushAllTest, CpusThatFlushEachOtherAtOnceAllGetThrough) {
  constexpr int kThreads = 3;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const CpuPtr own = m_.new_cpu();
      for (int round = 0; round < 100; ++round) {
        byte_of(*own);
        EXPECT_EQ(flush_all(own.get(), round % 2 == 0 ? kPage : kEverything), VME_OK);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(FlushAllTest, ParkedCpusAreNotWaitedFor) {
  EXPECT_EQ(byte_of(*m_.cpu), 1);
  park(*m_.cpu);
  table_.gpa = kPageB;
  EXPECT_EQ(flush_all(nullptr), VME_OK);
  EXPECT_EQ(m_.cpu->exit_request, 0u);
  EXPECT_EQ(byte_of(*m_.cpu), 2);
}

TEST_F(FlushAllTest, AnExitRequestEndsTheWait) {
  const CpuPtr idle = m_.new_cpu();
  EXPECT_EQ(byte_of(*idle), 1);
  m_.cpu->exit_request = 1;
  table_.gpa = kPageB;
  EXPECT_EQ(flush_all(m_.cpu.get()), VME_INTR);
  EXPECT_EQ(idle->exit_request, std::uint32_t{VME_EXIT_FLUSH});
  EXPECT_EQ(vme_fill(idle.get(), 0x5000, 3, 1, 0), 0u);
  EXPECT_EQ(idle->exit_request, 0u);
  EXPECT_EQ(m_.bytes(kPageB, 1)[0], std::byte{3});
  EXPECT_EQ(flush_all(idle.get()), VME_OK);
}

TEST_F(FlushAllTest, ALongPolledCopyServesARequestAndGoesOn) {
  const CpuPtr other = m_.new_cpu();
  std::atomic<bool> stop{false};
  std::thread copier([&] {
    while (!stop) EXPECT_EQ(vme_fill(other.get(), 0x5000, 7, 8 * kPage, VME_POLL), 0u);
    park(*other);
  });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(flush_all(nullptr), VME_OK);
  stop = true;
  copier.join();
}

TEST_F(FlushAllTest, StrangersAreRefused) {
  Machine stranger;
  vme_cpu foreign{};
  EXPECT_EQ(vme_tlb_flush_all_cpus(nullptr, 0, 1, nullptr), VME_EINVAL);
  EXPECT_EQ(flush_all(&foreign), VME_EINVAL);
  EXPECT_EQ(flush_all(stranger.cpu.get()), VME_EINVAL);
  EXPECT_EQ(flush_all(m_.cpu.get(), 0), VME_OK);
}

// A device that parks the vCPU which it serves.
TEST(ParkTest, ACpuThatParksInsideAnAccessIsParkedWhenThatEnds) {
  struct Parker : vm_mem::MmioHandler {
    vm_mem::AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t& value) override {
      park(*cpu);
      value = 1;
      return vm_mem::AccessFault::kNone;
    }
    vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
      return vm_mem::AccessFault::kDevice;
    }
    vme_cpu* cpu = nullptr;
  } parker;
  Machine m;
  parker.cpu = m.cpu.get();
  ASSERT_TRUE(m.memory->add_mmio(range(0x50000, kPage), &parker).ok());
  ASSERT_EQ(vme_copy(m.cpu.get(), Machine::kRam, 0x50000 + kPage - 8, 8, 0), 0u);
  EXPECT_EQ(detail::entry_of(*m.cpu, Machine::kRam, 0).write, ~std::uint64_t{0});
  EXPECT_EQ(vme_tlb_flush_all_cpus(m.engine.get(), 0, 1, nullptr), VME_OK);
  EXPECT_EQ(m.bytes(Machine::kRam, 1)[0], std::byte{1});
}

}  // namespace
}  // namespace vm_engine
