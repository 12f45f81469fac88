#include "bench/harness/suite.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "bench/harness/machine.h"

namespace vm_bench {
namespace {

Effort effort_of(const Options& options) {
  using std::chrono::microseconds;
  Effort effort;
  if (options.quick) {
    effort = {.rounds = 7,
              .hot_sample = microseconds(20),
              .cold_sample = microseconds(400),
              .most_rounds = 400,
              .most_time = std::chrono::milliseconds(400)};
  }
  if (options.rounds != 0) effort.rounds = options.rounds;
  return effort;
}

std::string members_of(const Outcome& outcome) {
  const Summary summary = outcome.summary();
  return fmt::format(
      R"("median":{:.4f},"min":{:.4f},"max":{:.4f},"low_95":{:.4f},"high_95":{:.4f},)"
      R"("rounds":{},"ours_ns":{:.4g},"peer_ns":{:.4g})",
      summary.median, summary.min, summary.max, summary.low, summary.high, outcome.ratios.size(),
      outcome.ours_ns, outcome.peer_ns);
}

bool wanted(const Options& options, const std::string& name) {
  const auto& only = options.only;
  return only.empty() || std::find(only.begin(), only.end(), name) != only.end();
}

}  // namespace

std::string in_nanoseconds(const Outcome& outcome) {
  return fmt::format(": ours {:.2f} ns, theirs {:.2f} ns, difference {:.2f} ns", outcome.ours_ns,
                     outcome.peer_ns, outcome.ours_ns - outcome.peer_ns);
}

Session::Session(std::string suite, Options options)
    : suite_(std::move(suite)), options_(std::move(options)), effort_(effort_of(options_)) {
  if (options_.rows.empty()) return;
  rows_ = std::fopen(options_.rows.c_str(), "w");
  if (rows_ != nullptr) return;
  fmt::print(stderr, "{}: cannot be written: {}\n", options_.rows, std::strerror(errno));
  std::exit(2);
}

void Session::progress(std::string_view what) const {
  if (!options_.progress) return;
  fmt::print("progress {}\n", what);
  std::fflush(stdout);
}

void Session::report_ratio(std::string_view name, const Ratio& ratio) {
  const Summary summary = ratio.outcome.summary();
  fmt::print("ratio {}/{} {:.2f} ({:.2f}-{:.2f}) vs {}{}\n", suite_, name, summary.median,
             summary.min, summary.max, ratio.peer, ratio.remark);
  std::fflush(stdout);
  write_row(
      "ratio", name,
      fmt::format(R"("peer":"{}","remark":"{}",{},"ratios":[{:.4f}])", ratio.peer, ratio.remark,
                  members_of(ratio.outcome), fmt::join(ratio.outcome.ratios, ",")));
}

void Session::report_count(std::string_view name, std::uint64_t count) {
  fmt::print("instr {}/{} {}\n", suite_, name, count);
  std::fflush(stdout);
  write_row("instr", name, fmt::format(R"("count":{})", count));
}

void Session::report_events(std::string_view name, std::uint64_t count) {
  fmt::print("count {}/{} {}\n", suite_, name, count);
  std::fflush(stdout);
  write_row("count", name, fmt::format(R"("count":{})", count));
}

void Session::report_skip(std::string_view name, std::string_view missing) {
  fmt::print("skip {}/{}: {}\n", suite_, name, missing);
  std::fflush(stdout);
}

void Session::report_point(std::string_view name, std::string_view point, const Outcome& outcome) {
  write_row("point", name, fmt::format(R"("point":"{}",{})", point, members_of(outcome)));
  if (!options_.points) return;
  const Summary summary = outcome.summary();
  fmt::print("point {}/{} {} {:.3f} ({:.2f}-{:.2f}) ours {:.2f} ns, peer {:.2f} ns, {} rounds\n",
             suite_, name, point, summary.median, summary.min, summary.max, outcome.ours_ns,
             outcome.peer_ns, outcome.ratios.size());
}

void Session::report_setting(std::string_view name, std::string_view json) {
  write_row("setting", name, fmt::format(R"("value":{})", json));
}

void Session::write_row(std::string_view kind, std::string_view name, const std::string& members) {
  if (rows_ == nullptr) return;
  fmt::print(rows_, R"({{"kind":"{}","name":"{}/{}",{}}})", kind, suite_, name, members);
  fmt::print(rows_, "\n");
}

void Session::close() {
  if (rows_ == nullptr) return;
  const bool failed = std::ferror(rows_) != 0;
  if (std::fclose(std::exchange(rows_, nullptr)) == 0 && !failed) return;
  fmt::print(stderr, "{}: not written in full: {}\n", options_.rows, std::strerror(errno));
  std::exit(1);
}

int run_suite(Session& session, const std::vector<Regime>& regimes) {
  const Options& options = session.options();
  if (options.list) {
    for (const Regime& regime : regimes) fmt::print("{}\n", regime.name);
    return 0;
  }
  const int cpu = stay_on_one_cpu();
  session.report_setting("run", fmt::format(R"({{"cpu":{},"rounds":{},"seed":{}}})", cpu,
                                            session.effort().rounds, options.seed));
  for (const Regime& regime : regimes) {
    if (!wanted(options, regime.name)) continue;
    if (!regime.missing.empty()) {
      session.report_skip(regime.name, regime.missing);
      continue;
    }
    session.progress(regime.name);
    if (regime.events) {
      session.report_events(regime.name, regime.events(session));
      continue;
    }
    if (regime.instructions) {
      session.report_count(regime.name, regime.instructions(session));
      continue;
    }
    session.report_ratio(regime.name, regime.measure(session));
  }
  session.close();
  return 0;
}

}  // namespace vm_bench
