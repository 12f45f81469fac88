// Translators and vCPUs that write what they translate, at the same time.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "tests/support/guest_range.h"
#include "tests/support/sanitizers.h"
#include "tests/support/translation_race.h"
#include "vm_engine/engine.h"
#include "vm_engine/internal/cpu.h"
#include "vm_engine/translation.h"

namespace vm_engine {
namespace {

using vm_test::range;
using vm_test::run_translation_race;
using vm_test::TranslationOrder;
using vm_test::TranslationRace;
using vm_test::TranslationScore;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRam = 0x10000;
constexpr std::uint64_t kCode = kRam + 0x100;
constexpr std::uint64_t kRounds = 20'000;

class TranslationRaceTest : public testing::Test {
 protected:
  TranslationRaceTest() {
    ram =
        memory->add_ram(range(kRam, 4 * kPage), {.code_watch = vm_mem::CodeWatching::kOn}).value();
    engine.reset(create_engine(*memory, {}).value());
    translator = new_cpu();
    writer = new_cpu();
    EXPECT_EQ(vme_tc_register(engine.get(), on_written, &told, &tc), VME_OK);
  }
  ~TranslationRaceTest() override { vme_tc_unregister(tc); }

  static void on_written(void* opaque, const vme_tc_event*, size_t) {
    static_cast<std::atomic<bool>*>(opaque)->store(true);
  }
  CpuPtr new_cpu() {
    vme_cpu* made = nullptr;
    EXPECT_EQ(vme_cpu_create(engine.get(), &made), VME_OK);
    return CpuPtr(made);
  }
  TranslationRace race(std::function<void(std::uint64_t)> write) {
    TranslationRace made;
    made.tc = tc;
    made.translator = translator.get();
    made.code = kCode;
    made.write = std::move(write);
    made.idle = [this] { vme_cpu_refresh(writer.get()); };
    made.rounds = kRounds;
    made.time = std::chrono::milliseconds(300);
    made.told = &told;
    return made;
  }
  // The writer stores beside the code first: what follows is by an open entry of its TLB.
  TranslationRace race_through_open_entry(std::function<void(std::uint64_t)> write) {
    TranslationRace made = race(std::move(write));
    made.open = [this] {
      ASSERT_EQ(store(*writer, kCode + 0x800, std::uint64_t{1}), VME_OK);
      ASSERT_EQ(detail::entry_of(*writer, kCode, 0).write, kCode / kPage * kPage);
    };
    return made;
  }
  void expect_nothing_stale(const TranslationRace& race) {
    const TranslationScore score = run_translation_race(race);
    EXPECT_EQ(score.stale, 0u);
    EXPECT_EQ(score.errors, 0u);
    EXPECT_GT(score.kept, 0u);
  }

  std::unique_ptr<vm_mem::MemoryManager> memory = vm_mem::MemoryManager::create({}).value();
  vm_mem::RegionId ram{};
  EnginePtr engine;
  CpuPtr translator, writer;
  std::atomic<bool> told{false};
  vme_tc* tc = nullptr;
};

TEST_F(TranslationRaceTest, NoStoreOfAnotherVcpuIsMissed) {
  expect_nothing_stale(
      race([this](std::uint64_t value) { ASSERT_EQ(store(*writer, kCode, value), VME_OK); }));
}

TEST_F(TranslationRaceTest, NoStoreThroughAnOpenEntryIsMissed) {
  expect_nothing_stale(race_through_open_entry(
      [this](std::uint64_t value) { ASSERT_EQ(store(*writer, kCode, value), VME_OK); }));
}

TEST_F(TranslationRaceTest, NoHelperThroughAnOpenEntryIsMissed) {
  expect_nothing_stale(race_through_open_entry([this](std::uint64_t value) {
    std::uint64_t previous = 0;
    if (value % 4 < 2) {
      ASSERT_EQ(exchange(*writer, kCode, value, previous), VME_OK);
    } else {
      ASSERT_EQ(vme_write(writer.get(), kCode, &value, sizeof value, 0), 0u);
    }
  }));
}

// The same where nobody closes pages: the harness sees what is stored there unnoticed.
TEST_F(TranslationRaceTest, StoresThroughAPageThatIsNotClosedAreCaught) {
  memory->code_watch().remove_watcher(&engine->page_closer);
  const TranslationRace open = race_through_open_entry(
      [this](std::uint64_t value) { ASSERT_EQ(store(*writer, kCode, value), VME_OK); });
  std::uint64_t stale = 0;
  for (int tries = 0; tries < 20 && stale == 0; ++tries) stale = run_translation_race(open).stale;
  EXPECT_GT(stale, 0u);
}

TEST_F(TranslationRaceTest, NoCopyOfAnotherVcpuIsMissed) {
  expect_nothing_stale(race([this](std::uint64_t value) {
    ASSERT_EQ(vme_write(writer.get(), kCode, &value, sizeof value, 0), 0u);
  }));
}

TEST_F(TranslationRaceTest, NoAtomicOperationOfAnotherVcpuIsMissed) {
  expect_nothing_stale(race([this](std::uint64_t value) {
    std::uint64_t previous = 0;
    ASSERT_EQ(exchange(*writer, kCode, value, previous), VME_OK);
  }));
}

TEST_F(TranslationRaceTest, NoWriteOfTheHostIsMissed) {
  expect_nothing_stale(race([this](std::uint64_t value) {
    ASSERT_TRUE(memory->store(vm_mem::GuestAddress{kCode}, value).ok());
  }));
}

// What is read before it is watched can be gone unnoticed: the harness sees it.
TEST_F(TranslationRaceTest, ATranslatorThatWatchesTooLateIsCaught) {
  TranslationRace late = race([this](std::uint64_t value) {
    ASSERT_TRUE(memory->store(vm_mem::GuestAddress{kCode}, value).ok());
  });
  late.order = TranslationOrder::kReadThenWatch;
  std::uint64_t stale = 0;
  for (int tries = 0; tries < 20 && stale == 0; ++tries) stale = run_translation_race(late).stale;
  EXPECT_GT(stale, 0u);
}

// A vCPU that has the page open for direct stores, and stays away until `stay` is false.
class OpenVcpu {
 public:
  explicit OpenVcpu(vme_cpu& cpu)
      : thread_([this, &cpu] {
          EXPECT_EQ(store(cpu, kCode, std::uint64_t{1}), VME_OK);
          open_ = true;
          while (stay_) std::this_thread::yield();
          vme_cpu_refresh(&cpu);
          vme_cpu_park(&cpu);
        }) {
    while (!open_) std::this_thread::yield();
  }
  ~OpenVcpu() { come_by(); }
  void come_by() {
    stay_ = false;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> open_{false};
  std::atomic<bool> stay_{true};
  std::thread thread_;
};

TEST_F(TranslationRaceTest, AVcpuThatStaysAwayIsAnErrorAndNothingIsWatched) {
  vme_translation block{};
  {
    const OpenVcpu open(*writer);
    EXPECT_EQ(vme_tc_begin_translate(tc, translator.get(), kCode, 8, &block), VME_EBUSY);
    EXPECT_EQ(block.n, 0u);
    EXPECT_EQ(writer->exit_request, std::uint32_t{VME_EXIT_FLUSH});
  }
  EXPECT_EQ(writer->exit_request, 0u);
  EXPECT_EQ(vme_tc_begin_translate(tc, translator.get(), kCode, 8, &block), VME_OK);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationRaceTest, AnExitRequestEndsTheWait) {
  vme_translation block{};
  const OpenVcpu open(*writer);
  translator->exit_request = 1;
  EXPECT_EQ(vme_tc_begin_translate(tc, translator.get(), kCode, 8, &block), VME_INTR);
  EXPECT_EQ(block.n, 0u);
}

// Without a translator of this engine, too.
TEST_F(TranslationRaceTest, WhoeverWatchesCodeWaitsForVcpus) {
  vme_tc_unregister(std::exchange(tc, nullptr));
  OpenVcpu open(*writer);
  ASSERT_EQ(vme_thread_attach(translator.get()), VME_OK);
  translator->exit_request = 1;
  vm_mem::CodeWatch& watch = memory->code_watch();
  EXPECT_EQ(watch.watch(ram, kCode - kRam, 8).status().code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(watch.is_watched(ram, kCode - kRam));
  open.come_by();
  EXPECT_TRUE(watch.watch(ram, kCode - kRam, 8).ok());
  vme_thread_detach();
}

TEST_F(TranslationRaceTest, AParkedVcpuIsNotWaitedFor) {
  vme_translation block{};
  ASSERT_EQ(store(*writer, kCode, std::uint64_t{1}), VME_OK);
  vme_cpu_park(writer.get());
  EXPECT_EQ(vme_tc_begin_translate(tc, translator.get(), kCode, 8, &block), VME_OK);
  vme_tc_release(tc, &block);
}

TEST_F(TranslationRaceTest, TwoVcpusThatTranslateWhatTheOtherWritesDoNotWaitForEver) {
  constexpr std::uint64_t kEach = !vm_test::kSanitizers.empty() ? 300 : 3'000;
  const auto work = [this](vme_cpu& cpu, std::uint64_t own, std::uint64_t others) {
    std::uint64_t failed = 0;
    for (std::uint64_t i = 0; i < kEach; ++i) {
      vme_translation block{};
      EXPECT_EQ(store(cpu, own, i), VME_OK);
      if (vme_tc_begin_translate(tc, &cpu, others, 8, &block) != VME_OK) ++failed;
      vme_tc_release(tc, &block);
    }
    vme_cpu_park(&cpu);
    return failed;
  };
  std::uint64_t failed = 0;
  std::thread other([&] { failed = work(*writer, kRam, kRam + kPage); });
  EXPECT_EQ(work(*translator, kRam + kPage, kRam), 0u);
  other.join();
  EXPECT_EQ(failed, 0u);
}

}  // namespace
}  // namespace vm_engine
