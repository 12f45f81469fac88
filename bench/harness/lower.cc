#include "bench/harness/lower.h"

#include <fmt/core.h>

#include <algorithm>

namespace vm_bench {
namespace {

struct Measured {
  std::string name;
  Outcome outcome;
  double median() const { return outcome.summary().median; }
};

}  // namespace

Ratio lower_of(Session& session, std::string_view regime, std::string_view peer,
               const std::vector<NamedContest>& contests, const Measure& measure) {
  std::vector<Measured> measured;
  for (const NamedContest& named : contests) {
    session.progress(fmt::format("{} {}", regime, named.name));
    measured.push_back({named.name, measure(named.contest, session.effort())});
    session.report_point(regime, named.name, measured.back().outcome);
  }
  std::stable_sort(measured.begin(), measured.end(),
                   [](const Measured& a, const Measured& b) { return a.median() < b.median(); });
  Ratio ratio{
      .outcome = measured.front().outcome,
      .peer = std::string(peer),
      .remark = fmt::format(": {}, ours {:.2f} ns, theirs {:.2f} ns", measured.front().name,
                            measured.front().outcome.ours_ns, measured.front().outcome.peer_ns)};
  for (std::size_t i = 1; i < measured.size(); ++i) {
    ratio.remark +=
        fmt::format("{} {} {:.2f}", i == 1 ? ";" : ",", measured[i].name, measured[i].median());
  }
  return ratio;
}

}  // namespace vm_bench
