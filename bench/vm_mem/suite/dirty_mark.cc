#include "bench/vm_mem/suite/dirty_mark.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "bench/harness/copy_loops.h"
#include "bench/harness/lower.h"
#include "bench/peers/vm_memory.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_mem/dirty_log.h"

namespace vm_bench {
namespace {

constexpr std::size_t kMarks = std::size_t{1} << 16;
constexpr std::uint64_t kBytes = std::uint64_t{4} << 30;
constexpr std::uint64_t kPage = vm_mem::kDirtyPageBytes;
constexpr std::uint64_t kWord = 8;

// Our loop, in several instances (bench/harness/copy_loops.h says why).
template <std::size_t kPlace>
[[gnu::noinline, gnu::aligned(64)]] void mark_at(vm_mem::DirtyLog& log,
                                                 std::span<const std::uint64_t> offsets) {
  std::size_t place = kPlace;
  forget(place);
  for (const std::uint64_t offset : offsets) log.mark(offset, kWord);
}

template <std::size_t... kPlaces>
void mark_all(vm_mem::DirtyLog& log, std::span<const std::uint64_t> offsets,
              std::index_sequence<kPlaces...>) {
  const std::size_t part = offsets.size() / sizeof...(kPlaces);
  (mark_at<kPlaces>(log, offsets.subspan(kPlaces * part, part)), ...);
}

struct Pattern {
  const char* name;
  std::function<std::uint64_t(std::uint64_t index, std::uint64_t random)> offset;
};

const std::vector<Pattern>& patterns() {
  static const auto* const all = new std::vector<Pattern>{
      {"same_page", [](auto, auto random) { return 5 * kPage + random % (kPage / kWord) * kWord; }},
      {"sequential", [](auto index, auto) { return index * 64; }},
      {"16_pages",
       [](auto, auto random) {
         return random % 16 * kPage + (random >> 32) % (kPage / kWord) * kWord;
       }},
      {"4_gib", [](auto, auto random) { return random % (kBytes / kWord) * kWord; }},
  };
  return *all;
}

// Both sides, with the same marks.
struct Marks {
  Marks(const Pattern& pattern, std::uint64_t seed) : offsets(kMarks) {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < kMarks; ++i) offsets[i] = pattern.offset(i, random());
    ours();
    peer.mark(offsets, kWord);
    require(log.dirty_page_count() == peer.harvest().pages, "the marked pages are not the same");
    peer.mark(offsets, kWord);
  }
  void ours() { mark_all(log, offsets, std::make_index_sequence<8>()); }

  std::vector<std::uint64_t> offsets;
  vm_mem::DirtyLog log{kBytes};
  VmMemoryBitmap peer{kBytes / kPage};
};

NamedContest contest_of(const Pattern& pattern, std::uint64_t seed) {
  const auto marks = std::make_shared<Marks>(pattern, seed);
  Contest contest;
  contest.ours = [marks](std::size_t count) {
    for (; count != 0; --count) marks->ours();
  };
  contest.peer = [marks](std::size_t count) {
    for (; count != 0; --count) marks->peer.mark(marks->offsets, kWord);
  };
  contest.operations = kMarks;
  return {pattern.name, std::move(contest)};
}

}  // namespace

Regime marks(std::string name) {
  return {.name = name,
          .measure =
              [name](Session& session) {
                std::vector<NamedContest> contests;
                for (const Pattern& pattern : patterns()) {
                  contests.push_back(contest_of(pattern, session.seed()));
                }
                return lower_of(session, name, kVmMemory, contests);
              },
          .missing = std::string(vm_memory_missing())};
}

}  // namespace vm_bench
