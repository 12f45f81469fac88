// Load-reserved and store-conditional: what breaks a reservation, and what does not.
#include "vm_engine/exclusive.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/support/guest_range.h"
#include "tests/support/sanitizers.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"
#include "vm_engine/translation.h"
#include "vm_mem/dirty_log.h"

namespace vm_engine {
namespace {

using vm_mem::GuestAddress;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::range;

constexpr std::uint64_t kWatched = 0x100000;  // RAM where every writer is seen
constexpr std::uint64_t kWord = kWatched + 0x100;
constexpr std::uint32_t k8 = 3 << VME_ELEM_SHIFT;
constexpr std::uint32_t k4 = 2 << VME_ELEM_SHIFT;

bool is_called(const vme_cpu& cpu) {
  return (__atomic_load_n(&cpu.exit_request, __ATOMIC_ACQUIRE) & VME_EXIT_FLUSH) != 0;
}

// A vCPU that has the page of kWord, where it stored 5, open for direct stores, and stays away.
class OpenVcpu {
 public:
  explicit OpenVcpu(vme_cpu& cpu)
      : thread_([this, &cpu] {
          EXPECT_EQ(store(cpu, kWord, std::uint64_t{5}), VME_OK);
          open_ = true;
          while (away_) std::this_thread::yield();
          vme_cpu_park(&cpu);
        }) {
    while (!open_) std::this_thread::yield();
  }
  ~OpenVcpu() { come_by(); }
  void come_by() {
    away_ = false;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> open_{false};
  std::atomic<bool> away_{true};
  std::thread thread_;
};

class ExclusiveTest : public testing::Test {
 protected:
  ExclusiveTest() {
    m.memory->add_ram(range(kWatched, 2 * kPage), {.code_watch = vm_mem::CodeWatching::kOn})
        .value();
    other = m.new_cpu();
  }

  std::uint64_t load(std::uint64_t gva = kWord, std::uint32_t flags = k8) {
    const vme_value loaded = vme_excl_load(m.cpu.get(), gva, flags);
    EXPECT_EQ(loaded.left, 0u) << vme_rc_name(static_cast<vme_rc>(m.cpu->fault.rc));
    return loaded.value;
  }
  // Whether it stored.
  bool store_conditional(std::uint64_t value, std::uint64_t gva = kWord, std::uint32_t flags = k8) {
    const vme_value done = vme_excl_store(m.cpu.get(), gva, value, flags);
    EXPECT_EQ(done.left, 0u) << vme_rc_name(static_cast<vme_rc>(m.cpu->fault.rc));
    return done.value == 0;
  }
  std::uint64_t value_of(std::uint64_t gpa) {
    std::uint64_t value = 0;
    EXPECT_TRUE(m.memory->load(GuestAddress{gpa}, value).ok());
    return value;
  }
  template <typename Write>
  void expect_broken_by(const char* who, Write write) {
    const std::uint64_t before = load();
    write(before);
    EXPECT_FALSE(store_conditional(before + 1)) << who;
    EXPECT_EQ(value_of(kWord), before) << who;
  }
  // The writer has the page open; once a line is reserved its stores are seen.
  void expect_closed_for(vme_cpu& writer) {
    std::atomic<bool> open{false}, reserved{false}, wrote{false}, done{false};
    std::thread thread([&] {
      EXPECT_EQ(store(writer, kWord, std::uint64_t{5}), VME_OK);
      open = true;
      while (!reserved) vme_cpu_refresh(&writer);
      EXPECT_EQ(store(writer, kWord, std::uint64_t{5}), VME_OK);
      wrote = true;
      while (!done) vme_cpu_refresh(&writer);
      vme_cpu_park(&writer);
    });
    while (!open) std::this_thread::yield();
    EXPECT_EQ(load(), 5u);
    reserved = true;
    while (!wrote) std::this_thread::yield();
    EXPECT_FALSE(store_conditional(6));
    done = true;
    thread.join();
  }

  Machine m;
  CpuPtr other;
};

TEST_F(ExclusiveTest, StoresWhereNobodyWroteBetween) {
  for (std::uint64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(load(), i);
    EXPECT_TRUE(store_conditional(i + 1));
  }
  EXPECT_EQ(value_of(kWord), 10u);
}

TEST_F(ExclusiveTest, ElementsOfEverySizeAreZeroExtended) {
  ASSERT_TRUE(m.memory->store(GuestAddress{kWord}, ~std::uint64_t{0}).ok());
  EXPECT_EQ(load(kWord, 0), 0xffu);
  EXPECT_EQ(load(kWord, 1 << VME_ELEM_SHIFT), 0xffffu);
  EXPECT_EQ(load(kWord, k4), 0xffffffffu);
  EXPECT_TRUE(store_conditional(0x1122334455667788, kWord, k4));
  EXPECT_EQ(value_of(kWord), 0xffffffff55667788u);
}

// Each stores the value that was there: only the reservation can tell.
TEST_F(ExclusiveTest, EveryWriterBreaksTheReservation) {
  expect_broken_by("another vCPU's store",
                   [&](std::uint64_t value) { ASSERT_EQ(store(*other, kWord, value), VME_OK); });
  expect_broken_by("its store to another word of the line", [&](std::uint64_t) {
    ASSERT_EQ(store(*other, kWord + 64, std::uint64_t{0}), VME_OK);
  });
  expect_broken_by("its atomic operation", [&](std::uint64_t) {
    std::uint64_t previous = 0;
    ASSERT_EQ(fetch_add(*other, kWord, std::uint64_t{0}, previous), VME_OK);
  });
  expect_broken_by("its copy", [&](std::uint64_t) {
    ASSERT_EQ(vme_copy(other.get(), kWatched + 0x100, kWatched + kPage + 0x100, 128, 0), 0u);
  });
  expect_broken_by("its store-conditional", [&](std::uint64_t value) {
    ASSERT_EQ(vme_excl_load(other.get(), kWord, k8).left, 0u);
    ASSERT_EQ(vme_excl_store(other.get(), kWord, value, k8).value, 0u);
  });
  expect_broken_by("the host", [&](std::uint64_t value) {
    ASSERT_TRUE(m.memory->store(GuestAddress{kWord}, value).ok());
  });
  expect_broken_by("the host's copy", [&](std::uint64_t) {
    ASSERT_TRUE(m.memory->copy_block(GuestAddress{kWord}, GuestAddress{kWatched + kPage}, 64).ok());
  });
}

TEST_F(ExclusiveTest, APageThatAnotherVcpuHadOpenIsClosed) { expect_closed_for(*other); }

TEST_F(ExclusiveTest, APageThatAVcpuOfAnotherEngineHadOpenIsClosed) {
  const EnginePtr engine(create_engine(*m.memory, {}).value());
  vme_cpu* made = nullptr;
  ASSERT_EQ(vme_cpu_create(engine.get(), &made), VME_OK);
  const CpuPtr cpu(made);
  expect_closed_for(*cpu);
}

// Whoever reserves in a page that is open somewhere waits until it is closed, first or not.
TEST_F(ExclusiveTest, AReservationBesideOneThatWaitsWaitsToo) {
  const CpuPtr first = m.new_cpu();
  OpenVcpu open(*other);
  std::thread waiting([&] {
    EXPECT_EQ(vme_excl_load(first.get(), kWord, k8).left, 0u);
    vme_cpu_park(first.get());
  });
  while (!is_called(*other)) std::this_thread::yield();
  m.cpu->exit_request = 1;
  EXPECT_EQ(vme_excl_load(m.cpu.get(), kWord + 256, k8).left, 8u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_INTR});
  open.come_by();
  waiting.join();
  EXPECT_EQ(vme_excl_load(m.cpu.get(), kWord + 256, k8).left, 0u);
}

// Its translation is gone, by another's flush, when the wait is over.
TEST_F(ExclusiveTest, ATlbThatIsFlushedWhileItWaitsIsLookedUpAgain) {
  const CpuPtr flushing = m.new_cpu();
  OpenVcpu open(*other);
  std::thread waiting([&] {
    EXPECT_EQ(load(), 5u);
    EXPECT_TRUE(store_conditional(6));
  });
  while (!is_called(*other)) std::this_thread::yield();
  flushing->exit_request = 1;  // it does not wait
  EXPECT_EQ(vme_tlb_flush_all_cpus(m.engine.get(), 0, ~std::uint64_t{0}, flushing.get()), VME_INTR);
  while (is_called(*m.cpu)) std::this_thread::yield();
  open.come_by();
  waiting.join();
  EXPECT_EQ(value_of(kWord), 6u);
}

TEST_F(ExclusiveTest, WritesElsewhereDoNotBreakIt) {
  EXPECT_EQ(load(), 0u);
  ASSERT_EQ(store(*other, kWord + 128, std::uint64_t{1}), VME_OK);
  ASSERT_EQ(store(*other, kWatched + kPage, std::uint64_t{1}), VME_OK);
  EXPECT_TRUE(store_conditional(1));
}

TEST_F(ExclusiveTest, OnlyTheElementThatWasLoadedIsStored) {
  load();
  EXPECT_FALSE(store_conditional(1, kWord + 8));
  load();
  EXPECT_FALSE(store_conditional(1, kWord, k4));
  load();
  EXPECT_TRUE(store_conditional(1));
  EXPECT_FALSE(store_conditional(2)) << "a reservation is good for one store";
  load();
  vme_excl_clear(m.cpu.get());
  EXPECT_FALSE(store_conditional(2));
  EXPECT_EQ(value_of(kWord), 1u);
}

TEST_F(ExclusiveTest, AStoreIsToldToTranslatorsAndMarksThePage) {
  std::vector<vme_tc_event> told;
  const auto note = [](void* opaque, const vme_tc_event* events, size_t n) {
    auto& all = *static_cast<std::vector<vme_tc_event>*>(opaque);
    all.insert(all.end(), events, events + n);
  };
  vme_tc* tc = nullptr;
  ASSERT_EQ(vme_tc_register(m.engine.get(), note, &told, &tc), VME_OK);
  vme_translation block{};
  ASSERT_EQ(vme_tc_begin_translate(tc, m.cpu.get(), kWord, 8, &block), VME_OK);
  load();
  EXPECT_TRUE(told.empty());
  EXPECT_TRUE(store_conditional(1));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].written.ram_off, kWord - kWatched);
  EXPECT_EQ(told[0].written.len, 8u);
  EXPECT_EQ(told[0].why, std::uint32_t{VME_TC_STORE});
  EXPECT_FALSE(store_conditional(2));
  EXPECT_EQ(told.size(), 1u) << "told of a store that was not made";
  vme_tc_release(tc, &block);
  vme_tc_unregister(tc);
  const auto map = m.memory->map();
  const vm_mem::MapSection* section = map->find(GuestAddress{kWatched});
  EXPECT_TRUE(section->dirty_log->is_dirty(kWord - kWatched));
}

TEST_F(ExclusiveTest, WhereWritersAreNotSeenTheValueDecides) {
  load(Machine::kRam);
  EXPECT_TRUE(store_conditional(1, Machine::kRam));
  load(Machine::kRam);
  ASSERT_EQ(store(*other, Machine::kRam, std::uint64_t{2}), VME_OK);
  EXPECT_FALSE(store_conditional(3, Machine::kRam));
  EXPECT_EQ(value_of(Machine::kRam), 2u);
}

TEST_F(ExclusiveTest, AFaultLeavesNoReservation) {
  const auto refused = [&](std::uint64_t gva, std::uint32_t flags, vme_rc rc) {
    EXPECT_EQ(vme_excl_load(m.cpu.get(), gva, flags).left, 8u);
    EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{rc});
    EXPECT_EQ(m.cpu->fault.gva, gva);
  };
  load();
  refused(kWord + 4, k8, VME_ALIGN);
  EXPECT_FALSE(store_conditional(1));
  refused(Machine::kDevice, k8, VME_MMIO);
  refused(0x1000, k8, VME_UNMAPPED);
  refused(kWord, k8 | VME_POLL, VME_EINVAL);
  EXPECT_EQ(vme_excl_load(nullptr, kWord, k8).left, 8u);
  EXPECT_EQ(vme_excl_store(nullptr, kWord, 0, k8).left, 8u);
  vme_excl_clear(nullptr);
}

TEST_F(ExclusiveTest, AStoreToRomFaults) {
  load(Machine::kRom);
  const vme_value done = vme_excl_store(m.cpu.get(), Machine::kRom, 1, k8);
  EXPECT_EQ(done.left, 8u);
  EXPECT_EQ(done.value, 1u);
  EXPECT_EQ(m.cpu->fault.rc, std::uint32_t{VME_PROT});
}

TEST_F(ExclusiveTest, MemoryThatIsRemovedTakesItsReservationAlong) {
  const auto region =
      m.memory->add_ram(range(0x200000, kPage), {.code_watch = vm_mem::CodeWatching::kOn}).value();
  load(0x200000);
  ASSERT_TRUE(m.memory->remove_region(region, vm_mem::RemovePolicy::kRefuse).ok());
  EXPECT_EQ(vme_excl_store(m.cpu.get(), 0x200000, 1, k8).left, 8u);
  EXPECT_EQ(load(), 0u);
}

TEST_F(ExclusiveTest, IncrementsOfTwoVcpusAreAllThere) {
  constexpr std::uint64_t kEach = vm_test::kSanitizers.empty() ? 20'000 : 2'000;
  const auto increment = [](vme_cpu& cpu) {
    for (std::uint64_t i = 0; i < kEach;) {
      const vme_value loaded = vme_excl_load(&cpu, kWord, k8);
      ASSERT_EQ(loaded.left, 0u);
      if (vme_excl_store(&cpu, kWord, loaded.value + 1, k8).value == 0) ++i;
    }
    vme_cpu_park(&cpu);
  };
  std::thread thread([&] { increment(*other); });
  increment(*m.cpu);
  thread.join();
  EXPECT_EQ(value_of(kWord), 2 * kEach);
}

// A stack of nodes in guest memory: its head is at kWord, the links in another page. Whoever
// has taken a node owns it, until it is put back.
class Nodes {
 public:
  static constexpr std::uint64_t kNodes = 5;

  explicit Nodes(vm_mem::MemoryManager& memory) {
    for (std::uint64_t node = 1; node <= kNodes; ++node) {
      EXPECT_TRUE(memory.store(GuestAddress{link_of(node)}, node - 1).ok());
    }
    EXPECT_TRUE(memory.store(GuestAddress{kWord}, kNodes).ok());
  }
  std::uint64_t errors() const { return errors_; }

  // Takes two and puts them back in the order in which they came: the head that was there
  // first is there again, with another link.
  template <typename Word>
  void exchange_two(vme_cpu& cpu) {
    const std::uint64_t first = take<Word>(cpu);
    const std::uint64_t second = take<Word>(cpu);
    put<Word>(cpu, first);
    put<Word>(cpu, second);
  }

 private:
  static std::uint64_t link_of(std::uint64_t node) { return kWatched + kPage + 256 * node; }

  template <typename Word>
  std::uint64_t take(vme_cpu& cpu) {
    for (std::uint64_t tries = 0;; ++tries) {
      const std::uint64_t head = Word::load(cpu);
      if (head == 0) {
        ++errors_;
        return 0;
      }
      std::uint64_t next = 0;
      EXPECT_EQ(load(cpu, link_of(head), next), VME_OK);
      if ((head + tries) % 8 == 0) std::this_thread::yield();
      if (!Word::replace(cpu, head, next)) continue;
      if (owned_[head].exchange(true)) ++errors_;
      return head;
    }
  }
  template <typename Word>
  void put(vme_cpu& cpu, std::uint64_t node) {
    if (node == 0) return;
    owned_[node] = false;
    for (;;) {
      const std::uint64_t head = Word::load(cpu);
      EXPECT_EQ(store(cpu, link_of(node), head), VME_OK);
      if (Word::replace(cpu, head, node)) return;
    }
  }

  std::array<std::atomic<bool>, kNodes + 1> owned_{};
  std::atomic<std::uint64_t> errors_{0};
};

struct Reserved {
  static std::uint64_t load(vme_cpu& cpu) { return vme_excl_load(&cpu, kWord, k8).value; }
  static bool replace(vme_cpu& cpu, std::uint64_t, std::uint64_t desired) {
    return vme_excl_store(&cpu, kWord, desired, k8).value == 0;
  }
};

// What is no store-conditional: the value alone decides.
struct Compared {
  static std::uint64_t load(vme_cpu& cpu) {
    std::uint64_t value = 0;
    EXPECT_EQ(vm_engine::load(cpu, kWord, value), VME_OK);
    return value;
  }
  static bool replace(vme_cpu& cpu, std::uint64_t expected, std::uint64_t desired) {
    bool exchanged = false;
    EXPECT_EQ(compare_exchange(cpu, kWord, expected, desired, exchanged), VME_OK);
    return exchanged;
  }
};

class ExclusiveStackTest : public ExclusiveTest {
 protected:
  // How often a node was taken that somebody else had, or none was there.
  template <typename Word>
  std::uint64_t errors_of_two_vcpus(std::uint64_t rounds) {
    Nodes nodes(*m.memory);
    const auto work = [&](vme_cpu& cpu) {
      for (std::uint64_t i = 0; i < rounds && nodes.errors() == 0; ++i) {
        nodes.exchange_two<Word>(cpu);
      }
      vme_cpu_park(&cpu);
    };
    std::thread thread([&] { work(*other); });
    work(*m.cpu);
    thread.join();
    return nodes.errors();
  }
  static constexpr std::uint64_t kRounds = vm_test::kSanitizers.empty() ? 10'000 : 500;
};

TEST_F(ExclusiveStackTest, ANodeThatCameBackWithAnotherLinkIsNoticed) {
  EXPECT_EQ(errors_of_two_vcpus<Reserved>(kRounds), 0u);
}

TEST_F(ExclusiveStackTest, ValuesAloneDoNotSayThatANodeCameBack) {
  std::uint64_t errors = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (errors == 0 && std::chrono::steady_clock::now() < end) {
    errors = errors_of_two_vcpus<Compared>(10'000);
  }
  EXPECT_GT(errors, 0u);
}

}  // namespace
}  // namespace vm_engine
