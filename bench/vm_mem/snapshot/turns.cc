#include "bench/vm_mem/snapshot/turns.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "bench/harness/statistics.h"
#include "bench/vm_mem/snapshot/scratch_folder.h"

namespace vm_bench {
namespace {

std::string in_milliseconds(const Turns& turns) {
  const Summary summary = summarize(turns.ns);
  return fmt::format("{} {:.1f} ms ({:.1f}-{:.1f})", turns.name, summary.median / 1e6,
                     summary.min / 1e6, summary.max / 1e6);
}

// Whether no other side of the same peer was faster in the first round.
bool goes_on(std::span<const Turns> all, const Turns& turns) {
  return std::ranges::none_of(all, [&](const Turns& other) {
    return other.peer == turns.peer && other.ns.front() < turns.ns.front();
  });
}

}  // namespace

std::vector<Turns> take_turns(std::span<const Side> sides, std::size_t rounds) {
  std::vector<Turns> all;
  for (const Side& side : sides) {
    all.push_back({.name = side.name, .peer = side.peer, .ns = {}});
  }
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < sides.size(); ++i) {
      const std::size_t turn = round % 2 == 0 ? i : sides.size() - 1 - i;
      if (round > 0 && !goes_on(all, all[turn])) continue;
      all[turn].ns.push_back(sides[turn].sample());
    }
  }
  return all;
}

std::vector<Turns> of_two(std::span<const Turns> turns, const std::string& peer) {
  std::vector<Turns> both = {turns.front()};
  std::ranges::copy_if(turns.subspan(1), std::back_inserter(both),
                       [&](const Turns& of) { return of.peer == peer; });
  return both;
}

Ratio beside_the_best(std::span<const Turns> turns, std::string peer) {
  const auto median = [](const Turns& of) { return summarize(of.ns).median; };
  const Turns& ours = turns.front();
  const Turns& best = *std::ranges::min_element(turns.subspan(1), {}, [&](const Turns& of) {
    return std::pair(ours.ns.size() - of.ns.size(), median(of));
  });
  Ratio ratio{.outcome = {}, .peer = std::move(peer)};
  for (std::size_t i = 0; i < ours.ns.size(); ++i) {
    ratio.outcome.ratios.push_back(best.ns[i] / ours.ns[i]);
  }
  ratio.outcome.ours_ns = median(ours);
  ratio.outcome.peer_ns = median(best);
  std::vector<std::string> times;
  for (const Turns& of : turns) times.push_back(in_milliseconds(of));
  ratio.remark = fmt::format(": {}{}", fmt::join(times, ", "),
                             is_on_tmpfs() ? "; on tmpfs, which is no disk" : "");
  return ratio;
}

}  // namespace vm_bench
