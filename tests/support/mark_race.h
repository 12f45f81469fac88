// A writer that looks at a mark before it sets it, beside somebody who harvests: how many
// marks get lost.
#ifndef TESTS_SUPPORT_MARK_RACE_H_
#define TESTS_SUPPORT_MARK_RACE_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

namespace vm_test {

inline constexpr std::uint64_t kRacePages = 4;

// The side that harvests: how pages are found, which are then passed to the function; how
// a word is read.
struct RaceReader {
  std::function<void(const std::function<void(std::uint64_t page)>&)> harvest;
  std::function<std::uint64_t(std::uint64_t page)> read;
};

// Whatever is reached first.
struct RaceLimits {
  std::uint64_t lost;
  std::uint64_t bursts;
  std::chrono::seconds time;
};

struct RaceScore {
  std::uint64_t bursts = 0;
  std::uint64_t lost = 0;
};

// Writes in short bursts: what is lost at the end of one stays lost, while within one a
// later mark makes good for it.
template <typename Write>
class RaceWriter {
 public:
  explicit RaceWriter(Write write) : write_(write), thread_([this] { run(); }) {}
  ~RaceWriter() {
    stop_.store(true);
    paused_.store(false);
    thread_.join();
  }
  bool paused() const { return paused_.load(); }
  void go_on() { paused_.store(false); }

 private:
  void run() {
    std::uint64_t random = 1;
    std::uint64_t value = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t stores = 20 + (random >> 40) % 200;
      for (std::uint64_t i = 0; i < stores; ++i) write_((random >> i % 48) % kRacePages, ++value);
      paused_.store(true);
      // Awake for a while: that both sides run at a time is what this is about.
      for (int spins = 0; paused_.load() && !stop_.load(); ++spins) {
        if (spins > 10'000) std::this_thread::yield();
      }
    }
  }

  Write write_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> paused_{false};
  std::thread thread_;
};

// Copies dirty pages while the writer writes; whenever it pauses, every page must be as
// it was copied last.
template <typename Write>
RaceScore run_race(Write write, const RaceReader& reader, const RaceLimits& most) {
  std::array<std::uint64_t, kRacePages> copy{};
  const auto harvest = [&] {
    reader.harvest([&](std::uint64_t page) { copy[page] = reader.read(page); });
  };
  const auto end = std::chrono::steady_clock::now() + most.time;
  RaceScore score;
  RaceWriter<Write> writer(write);
  while (score.lost < most.lost && score.bursts < most.bursts &&
         std::chrono::steady_clock::now() < end) {
    while (!writer.paused()) harvest();
    harvest();
    for (std::uint64_t page = 0; page < kRacePages; ++page) {
      if (copy[page] != reader.read(page)) ++score.lost;
      copy[page] = reader.read(page);
    }
    ++score.bursts;
    writer.go_on();
  }
  return score;
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_MARK_RACE_H_
