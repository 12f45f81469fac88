// A translator beside somebody who writes the code that it translates: how often it keeps
// code that is no longer there and is not told.
#ifndef TESTS_SUPPORT_TRANSLATION_RACE_H_
#define TESTS_SUPPORT_TRANSLATION_RACE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

#include "vm_engine/translation.h"

namespace vm_test {

enum class TranslationOrder : std::uint8_t {
  kWatchThenRead,
  kReadThenWatch,  // the broken control: as if code were marked once it is translated
};

struct TranslationRace {
  vme_tc* tc = nullptr;
  vme_cpu* translator = nullptr;
  std::uint64_t code = 0;  // guest address of the 8 bytes that the race is about
  // By the writer before each round, while nobody watches: its vCPU opens the page for direct
  // stores, so that the round's write need not look at marks until the page is closed.
  // Null: it does not.
  std::function<void()> open;
  // On a thread of its own. What it writes ends with this call.
  std::function<void(std::uint64_t value)> write;
  // By the writer's thread while it waits: whatever its vCPU has to do now and then.
  std::function<void()> idle = [] {};
  TranslationOrder order = TranslationOrder::kWatchThenRead;
  std::uint64_t rounds = 0;
  std::chrono::milliseconds time{1000};  // whichever is reached first
  // The translator's callback sets it. What it is told before begin_translate has returned,
  // of pages that are closed, say, does not count.
  std::atomic<bool>* told = nullptr;
};

struct TranslationScore {
  std::uint64_t rounds = 0;
  std::uint64_t kept = 0;   // translations that ended clean
  std::uint64_t stale = 0;  // of those, without the write and without being told
  std::uint64_t errors = 0;
};

// Spins, by another number each time, below 128 << longer.
inline void jitter(std::uint64_t& seed, unsigned longer = 0) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  for (std::uint64_t left = seed >> 57 << longer; left != 0; --left) asm volatile("" : "+r"(left));
}

// Until `there`: awake for a while, since that both sides run at a time is what this is about.
template <typename There, typename Idle>
void wait_until(There there, Idle idle) {
  for (int spins = 0; !there(); ++spins) {
    idle();
    if (spins > 2'000) std::this_thread::yield();
  }
}

// Each round the writer writes its number once, and the translator translates once. In every
// other one the writer does what it has to do now and then before it writes, too.
inline TranslationScore run_translation_race(const TranslationRace& race) {
  std::atomic<std::uint64_t> opening{0};
  std::atomic<std::uint64_t> opened{0};
  std::atomic<std::uint64_t> begun{0};
  std::atomic<std::uint64_t> written{0};
  constexpr std::uint64_t kEnd = ~std::uint64_t{0};
  std::thread writer([&] {
    std::uint64_t seed = 7;
    const auto ends = [&](const std::atomic<std::uint64_t>& stage, std::uint64_t round) {
      wait_until([&] { return stage.load(std::memory_order_acquire) >= round; }, race.idle);
      return stage.load(std::memory_order_acquire) == kEnd;
    };
    for (std::uint64_t round = 1;; ++round) {
      if (ends(opening, round)) return;
      if (race.open) race.open();
      opened.store(round, std::memory_order_release);
      if (ends(begun, round)) return;
      // Up to as long as watching takes.
      const auto longer = static_cast<unsigned>(round / 2 % 8);
      jitter(seed, longer);
      if (round % 2 == 0) {
        race.idle();
        jitter(seed, longer);
      }
      race.write(round);
      written.store(round, std::memory_order_release);
    }
  });
  TranslationScore score;
  std::uint64_t seed = 1;
  const auto end = std::chrono::steady_clock::now() + race.time;
  while (score.rounds < race.rounds && std::chrono::steady_clock::now() < end) {
    const std::uint64_t round = ++score.rounds;
    vme_translation block{};
    std::uint64_t got = 0;
    const auto read = [&] {
      return vme_read(race.translator, &got, race.code, sizeof got, 3 << VME_ELEM_SHIFT) == 0;
    };
    opening.store(round, std::memory_order_release);
    wait_until([&] { return opened.load(std::memory_order_acquire) == round; }, [] {});
    begun.store(round, std::memory_order_release);
    jitter(seed);
    bool ok = race.order == TranslationOrder::kWatchThenRead || read();
    // As long as a translation takes.
    for (int spins = 0; race.order == TranslationOrder::kReadThenWatch && spins < 500 &&
                        written.load(std::memory_order_acquire) != round;
         ++spins) {
      if (spins % 100 == 99) std::this_thread::yield();
    }
    ok =
        vme_tc_begin_translate(race.tc, race.translator, race.code, sizeof got, &block) == VME_OK &&
        ok;
    race.told->store(false);
    ok = (race.order == TranslationOrder::kReadThenWatch || read()) && ok;
    const bool clean = ok && vme_tc_end_translate(race.tc, &block) != 0;
    wait_until([&] { return written.load(std::memory_order_acquire) == round; }, [] {});
    score.errors += std::uint64_t{!ok};
    score.kept += std::uint64_t{clean};
    score.stale += std::uint64_t{clean && got != round && !race.told->load()};
    vme_tc_release(race.tc, &block);
  }
  opening.store(kEnd, std::memory_order_release);
  writer.join();
  return score;
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_TRANSLATION_RACE_H_
