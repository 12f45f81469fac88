// Translated code whose memory is shown in an arena: who stores to it there is told of.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <utility>

#include "tests/support/translation_race.h"
#include "tests/vm_engine/fastmem_machine.h"
#include "vm_engine/exclusive.h"
#include "vm_engine/translation.h"
#include "vm_mem/code_watch.h"

namespace {

using vm_mem::Backing;
using vm_mem::DirtyTracking;
using vm_mem::GuestAddress;
using vm_mem::RegionId;
using namespace vm_test;

// Tells of each write to what it watches.
class Recorder : public vm_mem::CodeWatcher {
 public:
  void code_written(std::span<const vm_mem::CodeWrite> writes) noexcept override {
    told.fetch_add(writes.size());
  }
  std::atomic<std::uint64_t> told{0};
};

class FastmemCodeTest : public FastmemTest {
 protected:
  static constexpr std::uint64_t kCode = 0x600000;

  FastmemCodeTest() {
    code_ram_ = memory_
                    ->add_ram(range(kCode, 4 * kPage),
                              {.backing = Backing::kMemfd, .code_watch = vm_mem::CodeWatching::kOn})
                    .value();
    EXPECT_TRUE(watch().add_watcher(&recorder_).ok());
  }
  ~FastmemCodeTest() override { watch().remove_watcher(&recorder_); }
  vm_mem::CodeWatch& watch() const { return memory_->code_watch(); }

  RegionId code_ram_;
  Recorder recorder_;
};

TEST_F(FastmemCodeTest, AStoreToWatchedCodeIsTold) {
  EXPECT_TRUE(direct_store(kCode, 1)) << "open, as memory that is not tracked";
  EXPECT_TRUE(direct_store(kCode + kPage, 1));
  ASSERT_TRUE(watch().watch(code_ram_, 0, 8).ok());
  EXPECT_FALSE(direct_store(kCode, 2));
  EXPECT_EQ(word(kCode), 1u);
  EXPECT_EQ(store(kCode, 2), 0u);
  const std::uint64_t told = recorder_.told;
  EXPECT_GT(told, 0u);
  EXPECT_TRUE(direct_store(kCode + kPage, 2)) << "its neighbour";
  ASSERT_TRUE(watch().release(code_ram_, 0, 8).ok());
  EXPECT_TRUE(direct_store(kCode, 3)) << "opened again";
  EXPECT_EQ(recorder_.told, told);
}

TEST_F(FastmemCodeTest, AStoreToAReservedLineIsSeen) {
  constexpr std::uint32_t kWord = 3 << VME_ELEM_SHIFT;
  EXPECT_TRUE(direct_store(kCode, 1));
  EXPECT_EQ(vme_excl_load(made_, kCode, kWord).value, 1u);
  EXPECT_FALSE(direct_store(kCode, 1));
  EXPECT_EQ(store(kCode, 1), 0u);
  EXPECT_EQ(vme_excl_store(made_, kCode, 2, kWord).value, 1u);
  EXPECT_EQ(word(kCode), 1u);
  vme_excl_clear(made_);
  EXPECT_TRUE(direct_store(kCode, 3)) << "opened again";
}

// A block that writes its own code and then makes accesses whose helpers complete.
TEST_F(FastmemCodeTest, AHitOfTheRunningBlockStaysWhateverFaultsAfterIt) {
  vme_tc* tc = nullptr;
  ASSERT_EQ(vme_tc_register(
                engine_.get(), [](void*, const vme_tc_event*, std::size_t) {}, nullptr, &tc),
            VME_OK);
  vme_translation block{};
  ASSERT_EQ(vme_tc_begin_translate(tc, made_, kCode, 64, &block), VME_OK);
  made_->cur_blk_lo = kCode;
  made_->cur_blk_hi = kCode + 64;
  EXPECT_EQ(store(kCode + 8, 1), 0u);
  EXPECT_EQ(fault().rc, std::uint32_t{VME_CODE_HIT});
  load(kDevice);
  EXPECT_EQ(fault().rc, std::uint32_t{VME_MMIO}) << "the latest fault, which was made good";
  EXPECT_EQ(store(0, 1), 8u);
  EXPECT_EQ(fault().rc, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(made_->exit_request, 1u | VME_EXIT_CODE);
  // Bit 0 is the wish to leave.
  made_->exit_request = VME_EXIT_CODE;
  EXPECT_EQ(vme_fill(made_, kRam, 1, 4 * kPage, VME_POLL), 0u);
  vme_tc_release(tc, &block);
  vme_tc_unregister(tc);
}

TEST_F(FastmemCodeTest, AViewThatComesIsClosedWhereCodeIsWatched) {
  ASSERT_TRUE(watch().watch(code_ram_, kPage, 8).ok());
  ASSERT_TRUE(memory_->add_alias(range(0x700000, 4 * kPage), code_ram_, 0).ok());
  EXPECT_TRUE(direct_store(0x700000, 1));
  EXPECT_FALSE(direct_store(0x700000 + kPage, 1));
}

// A vCPU that stores to one page for as long as this lives, and takes no helper.
class Storer {
 public:
  Storer(vme_engine* engine, vm_engine::FastmemArena& arena, std::uint64_t gva)
      : cpu_(new_cpu(engine)), thread_([this, &arena, gva] {
          EXPECT_EQ(vme_thread_attach(cpu_.get()), VME_OK);
          EXPECT_TRUE(arena.attach(cpu_.get()).ok());
          for (std::uint64_t value = 1; !stop_; ++value) {
            std::uint64_t faulted = 7;
            vm_test_store(cpu_->fastmem_base, gva, value, &faulted);
            ++(faulted == 0 ? stored_ : refused_);
          }
          arena.detach(cpu_.get());
          vme_thread_detach();
        }) {}
  Storer(const Storer&) = delete;
  Storer& operator=(const Storer&) = delete;
  ~Storer() {
    stop_ = true;
    thread_.join();
  }
  std::uint64_t stored() const { return stored_; }
  std::uint64_t refused() const { return refused_; }

 private:
  static vme_cpu* new_cpu(vme_engine* engine) {
    vme_cpu* cpu = nullptr;
    EXPECT_EQ(vme_cpu_create(engine, &cpu), VME_OK);
    return cpu;
  }
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> stored_{0};
  std::atomic<std::uint64_t> refused_{0};
  vm_engine::CpuPtr cpu_;
  std::thread thread_;
};

// Every other page of it is watched: as many changes of the host's mappings.
TEST_F(FastmemCodeTest, AViewThatComesIsNotOpenForAMomentWhereCodeIsWatched) {
  constexpr std::uint64_t kAt = 0x680000;
  constexpr std::uint64_t kPages = 64;
  const RegionId region =
      memory_
          ->add_ram(range(kAt, kPages * kPage),
                    {.backing = Backing::kMemfd, .code_watch = vm_mem::CodeWatching::kOn})
          .value();
  for (std::uint64_t page = 0; page < kPages; page += 2) {
    ASSERT_TRUE(watch().watch(region, page * kPage, 8).ok());
  }
  const Storer storer(engine_.get(), *arena_, kAt + (kPages - 2) * kPage);
  for (int round = 0; round < 40; ++round) {
    const std::uint64_t until = storer.refused() + 2;
    ASSERT_TRUE(memory_->set_dirty_tracking(region, DirtyTracking::kOn).ok());
    ASSERT_TRUE(memory_->set_dirty_tracking(region, DirtyTracking::kOff).ok());
    EXPECT_TRUE(direct_store(kAt + kPage, 1)) << "its neighbours are open at once";
    ASSERT_TRUE(memory_->move_region(region, GuestAddress{kAt + kPages * kPage}).ok());
    ASSERT_TRUE(memory_->move_region(region, GuestAddress{kAt}).ok());
    while (storer.refused() < until) std::this_thread::yield();
  }
  EXPECT_EQ(storer.stored(), 0u);
}

// A translator beside a vCPU that stores to its code through the arena.
class FastmemRaceTest : public FastmemCodeTest {
 protected:
  FastmemRaceTest() {
    vme_cpu* made = nullptr;
    EXPECT_EQ(vme_cpu_create(engine_.get(), &made), VME_OK);
    writer_.reset(made);
    EXPECT_EQ(vme_tc_register(
                  engine_.get(),
                  [](void* told, const vme_tc_event*, std::size_t) {
                    static_cast<std::atomic<bool>*>(told)->store(true);
                  },
                  &told_, &tc_),
              VME_OK);
  }
  ~FastmemRaceTest() override { vme_tc_unregister(tc_); }

  TranslationRace race(std::function<void(std::uint64_t)> write) {
    TranslationRace race;
    race.tc = tc_;
    race.translator = made_;
    race.code = kCode;
    race.write = std::move(write);
    race.idle = [this] { vme_cpu_refresh(writer_.get()); };
    race.rounds = 3000;
    race.time = std::chrono::milliseconds(300);
    race.told = &told_;
    return race;
  }
  // Nobody watches when the page is opened: the round's write begins with it open.
  TranslationRace race_of_the_arena() {
    TranslationRace made = race([this](std::uint64_t value) { store_as_the_writer(kCode, value); });
    made.open = [this] {
      ASSERT_EQ(vme_thread_attach(writer_.get()), VME_OK);
      ASSERT_TRUE(arena_->attach(writer_.get()).ok());
      EXPECT_TRUE(store_as_the_writer(kCode + kPage / 2, 1));
    };
    return made;
  }
  // Whether it took no helper.
  bool store_as_the_writer(std::uint64_t gva, std::uint64_t value) {
    std::uint64_t faulted = 7;
    vm_test_store(writer_->fastmem_base, gva, value, &faulted);
    if (faulted == 0) return true;
    EXPECT_EQ(vme_store(writer_.get(), gva, value, 3 << VME_ELEM_SHIFT), 0u);
    return false;
  }
  static std::uint64_t stale_of(const TranslationRace& race) {
    std::uint64_t stale = 0;
    for (int tries = 0; tries < 20 && stale == 0; ++tries) {
      stale = run_translation_race(race).stale;
    }
    return stale;
  }

  std::atomic<bool> told_{false};
  vm_engine::CpuPtr writer_;
  vme_tc* tc_ = nullptr;
};

TEST_F(FastmemRaceTest, NoTranslationIsStaleUnnoticed) {
  const TranslationScore score = run_translation_race(race_of_the_arena());
  EXPECT_EQ(score.stale, 0u);
  EXPECT_EQ(score.errors, 0u);
  EXPECT_GT(score.kept, 0u);
}

TEST_F(FastmemRaceTest, ATranslatorThatWatchesTooLateIsCaught) {
  TranslationRace late = race_of_the_arena();
  late.order = TranslationOrder::kReadThenWatch;
  EXPECT_GT(stale_of(late), 0u);
}

// As if the arena's page stayed open.
TEST_F(FastmemRaceTest, AWriterWhosePageIsNotClosedIsCaught) {
  auto* const code =
      reinterpret_cast<std::uint64_t*>(memory_->map()->find(GuestAddress{kCode})->host);
  EXPECT_GT(stale_of(race(
                [code](std::uint64_t value) { __atomic_store_n(code, value, __ATOMIC_RELAXED); })),
            0u);
}

}  // namespace
