// In this order, as each step builds on what the steps before it chose:
//   1  vector_width       rows against each other, hot, 64 B to 4 KiB
//   2  inline_max         in line against called, one size again and again
//   3  align_loads_max    hot, the two sides aligned differently
//   4  prefetch_min       walks through L2
//   5  rep_movsb_min      the same walks; rep_movsb_hot_min: the same buffers again;
//      rep_movsb_max      large copies of the same buffers
//   6  stream_pages       walks past the last cache; and stream_hint_min
//   7  stream_min         large copies, with the whole destination read after each

#include "tools/vmmem/calibrate.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "tools/vmmem/measure.h"
#include "vm_mem/copy_rows.h"
#include "vm_mem/host_cpu.h"
#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

using vm_mem::CopyPolicy;
using vm_mem::kNever;
using Field = std::size_t CopyPolicy::*;
using Sizes = std::vector<std::size_t>;

constexpr std::size_t kKiB = 1 << 10;
constexpr std::size_t kMiB = 1 << 20;
constexpr int kSteps = 7;

CopyPolicy without_strings(CopyPolicy policy) {
  policy.rep_movsb_min = policy.rep_movsb_hot_min = kNever;
  return policy;
}
CopyPolicy with_strings(CopyPolicy policy) {
  policy.rep_movsb_min = policy.rep_movsb_hot_min = 64;
  policy.rep_movsb_max = kNever;
  return policy;
}
CopyPolicy with(CopyPolicy policy, Field field, std::size_t value) {
  policy.*field = value;
  return policy;
}

// One policy against another at every size.
struct Contest {
  CopyPolicy before;
  CopyPolicy beyond;
  Copy copy;
  After after = After::kNothing;
};

enum class Places : std::uint8_t { kSame, kSameSkewed, kThroughL2, kPastCaches };

class Calibrator {
 public:
  Calibrator(Effort effort, std::size_t buffer_bytes)
      : buffers_(buffer_bytes),
        rounds_(effort == Effort::kQuick ? 5 : 11),
        time_(effort == Effort::kQuick ? 5'000 : 50'000) {}

  std::vector<SizePoint> compare(const Contest& contest, Places places, const Sizes& sizes) {
    std::vector<SizePoint> points;
    for (const std::size_t bytes : sizes) {
      const Times times =
          time_interleaved({contender(contest, contest.before), contender(contest, contest.beyond)},
                           buffers_, walk(places, bytes), rounds_, time_);
      points.push_back({bytes, ratio_of(times[0], times[1]).median});
    }
    return points;
  }

  // Nanoseconds, the mean over sizes, for each policy.
  std::vector<double> rank(const std::vector<CopyPolicy>& policies, const Sizes& sizes) {
    std::vector<Contender> contenders;
    for (const CopyPolicy& policy : policies) {
      contenders.push_back(contender({.before = {}, .beyond = {}, .copy = RawCopy{}}, policy));
    }
    std::vector<std::vector<double>> medians(policies.size());
    for (const std::size_t bytes : sizes) {
      const Times times =
          time_interleaved(contenders, buffers_, walk(Places::kSame, bytes), rounds_, time_);
      for (std::size_t i = 0; i < times.size(); ++i) medians[i].push_back(median_of(times[i]));
    }
    std::vector<double> means;
    for (const auto& each : medians) means.push_back(geometric_mean(each));
    return means;
  }

 private:
  static Contender contender(const Contest& contest, const CopyPolicy& policy) {
    return {.name = {},
            .copy = contest.copy,
            // Every policy here was checked before the first measurement.
            .prepare = [policy] { vm_mem::set_copy_policy(policy).IgnoreError(); },
            .after = contest.after};
  }

  Walk walk(Places places, std::size_t bytes) const {
    const vm_mem::CacheSizes& caches = vm_mem::host_cpu().caches;
    const std::size_t l2 = caches.l2 == 0 ? kMiB : caches.l2;
    const std::size_t step = (bytes + 127) / 64 * 64;
    if (places == Places::kSame || places == Places::kSameSkewed) {
      const std::size_t skew = places == Places::kSame ? 0 : kSkew;
      return {.bytes = bytes, .step = 0, .span = bytes, .skew = skew};
    }
    const std::size_t span = places == Places::kThroughL2 ? l2 / 4 : buffers_.bytes();
    return {.bytes = bytes, .step = step, .span = std::max(span, 2 * step)};
  }

  static constexpr std::size_t kSkew = 9;

  Buffers buffers_;
  std::size_t rounds_;
  std::chrono::microseconds time_;
};

// What the steps have in common: the policy that grows, and what was found.
struct Survey {
  Calibrator calibrator;
  CopyPolicy standard;
  CopyPolicy policy;
  std::vector<Finding> findings;

  void note(Field field, const Crossover& crossover) {
    policy.*field = crossover.chosen;
    findings.push_back({name_of(field), standard.*field, crossover, {}});
  }
  void skip(Field field, const std::string& reason) {
    const Crossover same{.measured = policy.*field, .chosen = policy.*field, .gain = 1, .sizes = 0};
    findings.push_back({name_of(field), standard.*field, same, reason});
  }
  void judge(Field field, const std::vector<SizePoint>& points, Side side, std::size_t none) {
    note(field, find_crossover(points, side, policy.*field, none));
  }

  // Where strings win nowhere, their range ends before it begins: they are never used.
  void settle_strings() {
    if (policy.rep_movsb_min <= policy.rep_movsb_max) return;
    policy.rep_movsb_min = kNever;
    for (Finding& finding : findings) {
      if (finding.field == name_of(&CopyPolicy::rep_movsb_min)) finding.crossover.chosen = kNever;
    }
  }

  static std::string_view name_of(Field field) {
    const auto fields = vm_mem::copy_policy_fields();
    return std::find_if(fields.begin(), fields.end(),
                        [&](const auto& each) { return each.member == field; })
        ->name;
  }
};

constexpr const char* kForcedRow = "VM_MEM_ISA forces a row";

void survey_width(Survey& survey) {
  if (vm_mem::row_choice() == vm_mem::RowChoice::kForced) {
    return survey.skip(&CopyPolicy::vector_width, kForcedRow);
  }
  std::vector<CopyPolicy> defaults = {survey.standard};
  for (const vm_mem::CopyRow& row : vm_mem::copy_rows()) {
    const auto policy = vm_mem::default_copy_policy(row.vector_width);
    const bool known = row.vector_width == survey.standard.vector_width;
    if (policy.ok() && row.vector_width >= 16 && !known) defaults.push_back(*policy);
  }
  std::vector<CopyPolicy> loops;
  for (const CopyPolicy& policy : defaults) loops.push_back(without_strings(policy));
  const auto means =
      survey.calibrator.rank(loops, {64, 100, 200, 256, 512, kKiB, 2 * kKiB, 4 * kKiB});
  const auto best =
      static_cast<std::size_t>(std::min_element(means.begin(), means.end()) - means.begin());
  const double gain = means[0] / means[best];
  const std::size_t chosen = gain >= kLeastGain ? best : 0;
  // The other limits start from the defaults of the row that is chosen.
  survey.policy = survey.standard = defaults[chosen];
  survey.standard.vector_width = defaults[0].vector_width;
  survey.note(&CopyPolicy::vector_width, {.measured = defaults[best].vector_width,
                                          .chosen = defaults[chosen].vector_width,
                                          .gain = gain,
                                          .sizes = best == 0 ? 0u : 8u});
}

void survey_inline(Survey& survey) {
  if (vm_mem::row_choice() == vm_mem::RowChoice::kForced) {
    return survey.skip(&CopyPolicy::inline_max, kForcedRow);
  }
  const CopyPolicy& base = survey.policy;
  const auto points = survey.calibrator.compare(
      {.before = with(base, &CopyPolicy::inline_max, 0),
       .beyond = with(base, &CopyPolicy::inline_max, 1024),
       .copy = AdaptiveCopy{}},
      Places::kSame, {8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512});
  survey.judge(&CopyPolicy::inline_max, points, Side::kUpTo, 512);
}

// Loops alone: no other path may take a size away from them.
CopyPolicy plain_loops(const CopyPolicy& policy) {
  return with(with(without_strings(policy), &CopyPolicy::prefetch_min, kNever),
              &CopyPolicy::stream_min, kNever);
}

void survey_alignment(Survey& survey) {
  const CopyPolicy loops = plain_loops(survey.policy);
  const auto points = survey.calibrator.compare(
      {.before = with(loops, &CopyPolicy::align_loads_max, 0),
       .beyond = with(loops, &CopyPolicy::align_loads_max, kMiB),
       .copy = RawCopy{}},
      Places::kSameSkewed,
      {768, kKiB, 1536, 2 * kKiB, 3 * kKiB, 4 * kKiB, 6 * kKiB, 8 * kKiB, 12 * kKiB});
  survey.judge(&CopyPolicy::align_loads_max, points, Side::kUpTo, 16 * kKiB);
}

void survey_prefetch(Survey& survey) {
  const CopyPolicy loops = plain_loops(survey.policy);
  const auto points = survey.calibrator.compare(
      {.before = loops, .beyond = with(loops, &CopyPolicy::prefetch_min, 256), .copy = RawCopy{}},
      Places::kThroughL2, {kKiB, 2 * kKiB, 4 * kKiB, 8 * kKiB, 16 * kKiB, 32 * kKiB, 64 * kKiB});
  survey.judge(&CopyPolicy::prefetch_min, points, Side::kFrom, kNever);
}

void survey_strings(Survey& survey, std::size_t most_bytes) {
  if (!vm_mem::host_cpu().fast_rep_movsb) {
    for (const Field field :
         {&CopyPolicy::rep_movsb_min, &CopyPolicy::rep_movsb_hot_min, &CopyPolicy::rep_movsb_max}) {
      survey.skip(field, "this CPU has no fast rep movsb");
    }
    return;
  }
  const CopyPolicy cached = with(survey.policy, &CopyPolicy::stream_min, kNever);
  const Contest contest = {
      .before = without_strings(cached), .beyond = with_strings(cached), .copy = RawCopy{}};
  const Sizes small = {512,       768,       kKiB,      1536,      2 * kKiB,
                       2304,      3 * kKiB,  4 * kKiB,  6 * kKiB,  8 * kKiB,
                       12 * kKiB, 16 * kKiB, 24 * kKiB, 32 * kKiB, 48 * kKiB};
  survey.judge(&CopyPolicy::rep_movsb_min,
               survey.calibrator.compare(contest, Places::kThroughL2, small), Side::kFrom, kNever);
  survey.judge(&CopyPolicy::rep_movsb_hot_min,
               survey.calibrator.compare(contest, Places::kSame, small), Side::kFrom, kNever);
  Sizes large;
  for (std::size_t bytes = 128 * kKiB; bytes <= most_bytes; bytes *= 2) large.push_back(bytes);
  survey.judge(&CopyPolicy::rep_movsb_max, survey.calibrator.compare(contest, Places::kSame, large),
               Side::kUpTo, kNever);
  survey.settle_strings();
}

void survey_stream(Survey& survey, std::size_t most_bytes) {
  Sizes large;
  for (std::size_t bytes = 256 * kKiB; bytes <= most_bytes; bytes *= 2) large.push_back(bytes);
  const auto points =
      survey.calibrator.compare({.before = with(survey.policy, &CopyPolicy::stream_min, kNever),
                                 .beyond = with(survey.policy, &CopyPolicy::stream_min, 4 * kKiB),
                                 .copy = AdaptiveCopy{},
                                 .after = After::kReadAll},
                                Places::kSame, large);
  survey.judge(&CopyPolicy::stream_min, points, Side::kFrom, kNever);
}

// Not a limit, but one of two ways.
void survey_stream_pages(Survey& survey) {
  const CopyPolicy streams = with(survey.policy, &CopyPolicy::stream_hint_min, 4 * kKiB);
  const std::size_t standard = survey.policy.stream_pages;
  const std::size_t other = standard == 1 ? 8 : 1;
  const auto points =
      survey.calibrator.compare({.before = streams,
                                 .beyond = with(streams, &CopyPolicy::stream_pages, other),
                                 .copy = StreamCopy{}},
                                Places::kPastCaches, {64 * kKiB, 256 * kKiB, kMiB, 4 * kMiB});
  std::vector<double> ratios;
  for (const SizePoint& point : points) ratios.push_back(point.ratio);
  const double gain = geometric_mean(ratios);
  if (gain <= 1) return survey.note(&CopyPolicy::stream_pages, {standard, standard, 1, 0});
  survey.note(&CopyPolicy::stream_pages, {.measured = other,
                                          .chosen = gain >= kLeastGain ? other : standard,
                                          .gain = gain,
                                          .sizes = points.size()});
}

void survey_stream_hint(Survey& survey) {
  const auto points = survey.calibrator.compare(
      {.before = with(survey.policy, &CopyPolicy::stream_hint_min, kNever),
       .beyond = with(survey.policy, &CopyPolicy::stream_hint_min, 4 * kKiB),
       .copy = StreamCopy{}},
      Places::kPastCaches, {4 * kKiB, 16 * kKiB, 64 * kKiB, 256 * kKiB, kMiB, 4 * kMiB});
  survey.judge(&CopyPolicy::stream_hint_min, points, Side::kFrom, kNever);
}

// Twice the last cache, so that walks end outside it.
std::size_t buffer_bytes() {
  return std::clamp(2 * vm_mem::host_cpu().caches.l3, 64 * kMiB, 256 * kMiB);
}

void sort_as_declared(std::vector<Finding>& findings) {
  const auto place = [](const Finding& finding) {
    const auto fields = vm_mem::copy_policy_fields();
    return std::find_if(fields.begin(), fields.end(),
                        [&](const auto& field) { return field.name == finding.field; }) -
           fields.begin();
  };
  std::sort(findings.begin(), findings.end(),
            [&](const Finding& a, const Finding& b) { return place(a) < place(b); });
}

void run_steps(Survey& survey, Effort effort, const std::function<void(double)>& on_progress) {
  const std::size_t most_bytes = effort == Effort::kQuick ? 8 * kMiB : 32 * kMiB;
  const std::function<void()> steps[] = {
      [&] { survey_width(survey); },
      [&] { survey_inline(survey); },
      [&] { survey_alignment(survey); },
      [&] { survey_prefetch(survey); },
      [&] { survey_strings(survey, most_bytes); },
      [&] {
        survey_stream_pages(survey);
        survey_stream_hint(survey);
      },
      [&] { survey_stream(survey, most_bytes); },
  };
  int done = 0;
  for (const auto& step : steps) {
    step();
    on_progress(static_cast<double>(++done) / kSteps);
  }
}

}  // namespace

absl::StatusOr<Calibration> calibrate(Effort effort,
                                      const std::function<void(double)>& on_progress) {
  const CopyPolicy found = vm_mem::copy_policy();
  const CopyPolicy standard = vm_mem::default_copy_policy();
  Survey survey{.calibrator = Calibrator(effort, buffer_bytes()),
                .standard = standard,
                .policy = standard,
                .findings = {}};
  run_steps(survey, effort, on_progress);
  absl::Status valid = vm_mem::set_copy_policy(survey.policy);
  vm_mem::set_copy_policy(found).IgnoreError();
  if (!valid.ok()) return valid;
  sort_as_declared(survey.findings);
  return Calibration{.findings = std::move(survey.findings), .policy = survey.policy};
}

}  // namespace vmmem
