#include "bench/vm_mem/suite/worst.h"

#include <fmt/core.h>

#include "bench/vm_mem/suite/worst_points.h"

namespace vm_bench {
namespace {

// Below this a point is measured again, until it is known well.
constexpr double kSuspect = 0.95;

struct Named {
  std::string point;
  Outcome outcome;
};

Outcome measure(const Point& point, Rivals rivals, const Session& session) {
  const Contest contest = point.contest(rivals, session.seed());
  Outcome outcome = compare(contest, session.effort());
  if (outcome.summary().median < kSuspect) outcome = settle(contest, session.effort());
  return outcome;
}

void keep_lower(Named& lowest, const Point& point, const Outcome& outcome) {
  const bool first = lowest.point.empty();
  if (!first && outcome.summary().median >= lowest.outcome.summary().median) return;
  lowest = {point.name, outcome};
}

Ratio ratio_of(const Named& ours, const Named& libc) {
  const Summary itself = libc.outcome.summary();
  return {.outcome = ours.outcome,
          .remark = fmt::format(" at {}; libc against itself {:.2f} ({:.2f}-{:.2f}) at {}",
                                ours.point, itself.median, itself.min, itself.max, libc.point)};
}

}  // namespace

Regime worst(std::string name, const CopyLoops& ours, const CopyLoops& libc,
             const CopyLoops& again) {
  return {name, [=, &ours, &libc, &again](Session& session) {
            const std::vector<Point> points = worst_points();
            Named our_lowest;
            Named libc_lowest;
            for (std::size_t i = 0; i < points.size(); ++i) {
              session.progress(fmt::format("{} {}/{} {}", name, i, points.size(), points[i].name));
              const Outcome outcome = measure(points[i], {&ours, &libc}, session);
              session.report_point(name, points[i].name, outcome);
              keep_lower(our_lowest, points[i], outcome);
              const Outcome itself = measure(points[i], {&again, &libc}, session);
              session.report_point(name + "/libc", points[i].name, itself);
              keep_lower(libc_lowest, points[i], itself);
            }
            return ratio_of(our_lowest, libc_lowest);
          }};
}

}  // namespace vm_bench
