#include "bench/vm_mem/suite/copy_regimes.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "bench/harness/copy_plans.h"
#include "bench/harness/machine.h"
#include "bench/harness/size_distribution.h"
#include "bench/vm_mem/suite/started_session.h"
#include "vm_mem/copy_policy.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

std::vector<SizeShare> sizes_for(const Options& options) {
  auto sizes = read_sizes(options.sizes.empty() ? VM_BENCH_FLEET_SIZES : options.sizes);
  if (sizes.ok()) return *std::move(sizes);
  fmt::print(stderr, "{}\n", std::string(sizes.status().message()));
  std::exit(2);
}

Ratio measure_random(const Session& session, Rivals rivals, const SizeSource& sizes) {
  auto copies = random_copies(sizes, kUnpredictable, kHotSpan, session.seed());
  return {compare(walked(rivals, std::move(copies)), session.effort())};
}

// JSON has no SIZE_MAX that every reader keeps: null is never.
std::string policy_json() {
  std::string json = fmt::format(R"({{"row":"{}")", vm_mem::active_isa());
  for (const vm_mem::CopyPolicyField& field : vm_mem::copy_policy_fields()) {
    const std::size_t value = vm_mem::copy_policy().*field.member;
    json += fmt::format(R"(,"{}":{})", field.name,
                        value == vm_mem::kNever ? "null" : std::to_string(value));
  }
  return json + "}";
}

}  // namespace

Regime fleet(std::string name, Rivals rivals) {
  return {std::move(name), [rivals](Session& session) {
            return measure_random(session, rivals, drawn_sizes(sizes_for(session.options())));
          }};
}

Regime unpredictable(std::string name, Rivals rivals, std::size_t first, std::size_t last) {
  return {std::move(name), [=](Session& session) {
            return measure_random(session, rivals, uniform_sizes(first, last));
          }};
}

Regime repeated_sizes(std::string name, Rivals rivals, std::vector<std::size_t> sizes) {
  return {std::move(name), [=, sizes = std::move(sizes)](Session& session) {
            std::vector<Outcome> outcomes;
            for (const std::size_t n : sizes) {
              outcomes.push_back(compare(repeated(rivals, n), session.effort()));
            }
            return Ratio{combine(outcomes)};
          }};
}

Regime cold_chunks(std::string name, Rivals rivals, std::size_t bytes) {
  return {std::move(name), [=](Session& session) {
            auto copies = shuffled_chunks(bytes, beyond_caches_bytes(), session.seed());
            return Ratio{compare(cold_walked(rivals, std::move(copies)), session.effort())};
          }};
}

std::vector<std::size_t> every_size(std::size_t first, std::size_t last) {
  std::vector<std::size_t> sizes(last - first + 1);
  std::iota(sizes.begin(), sizes.end(), first);
  return sizes;
}

Session copy_session(int argc, char** argv) {
  Session session = started_session("copy", argc, argv);
  session.report_setting("policy", policy_json());
  return session;
}

}  // namespace vm_bench
