#include "tools/vmmem/verify.h"

#include <fmt/format.h>

#include "tools/vmmem/limit_json.h"
#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

using Clock = std::chrono::steady_clock;

// So many cases between two looks at the clock.
constexpr std::uint64_t kCasesPerLook = 96;

// False: a row failed.
bool run_case(const VerifyPlan& plan, std::uint64_t number, VerifyBench& bench,
              VerifyResult& result) {
  const VerifyCase drawn = draw_case(plan.seed, number);
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    ++result.cases[i].second;
    ++result.total;
    if (auto wrong = bench.check(plan.rows[i], drawn)) {
      result.mismatch = {std::string(plan.rows[i].name), drawn, std::move(*wrong)};
      return false;
    }
  }
  return true;
}

void raw(std::byte* dst, const std::byte* src, std::size_t n) { vm_mem::memcpy_raw(dst, src, n); }
void adaptive(std::byte* dst, const std::byte* src, std::size_t n) {
  vm_mem::memcpy_adaptive({dst, n}, {src, n});
}
void move(std::byte* dst, const std::byte* src, std::size_t n) { vm_mem::memmove_raw(dst, src, n); }
void set(std::byte* dst, std::byte value, std::size_t n) {
  vm_mem::memset_raw(dst, std::to_integer<int>(value), n);
}
int compare(const std::byte* a, const std::byte* b, std::size_t n) {
  return vm_mem::memcmp_raw(a, b, n);
}
bool equal(const std::byte* a, const std::byte* b, std::size_t n) {
  return vm_mem::equal_raw(a, b, n);
}
bool is_zero(const std::byte* p, std::size_t n) { return vm_mem::is_zero({p, n}); }
void stream(std::byte* dst, const std::byte* src, std::size_t n) {
  vm_mem::memcpy_stream(dst, src, n);
}

}  // namespace

std::vector<vm_mem::CopyRow> entry_rows() {
  vm_mem::CopyRow row{.name = "memcpy_raw",
                      .vector_width = vm_mem::copy_policy().vector_width,
                      .supported = true,
                      .copy = raw,
                      .copy_words = raw,
                      .move = move,
                      .set = set,
                      .compare = compare,
                      .equal = equal,
                      .is_zero = is_zero,
                      .stream = stream};
  vm_mem::CopyRow second = row;
  second.name = "memcpy_adaptive";
  second.copy = second.copy_words = adaptive;
  return {row, second};
}

VerifyResult verify(const VerifyPlan& plan, const std::function<void(double)>& on_progress) {
  VerifyResult result{.seed = plan.seed, .cases = {}, .total = 0, .mismatch = {}};
  for (const vm_mem::CopyRow& row : plan.rows) result.cases.emplace_back(row.name, 0);
  VerifyBench bench;
  if (!bench.ready()) return result;
  if (plan.one_case) {
    run_case(plan, *plan.one_case, bench, result);
    return result;
  }
  const auto start = Clock::now();
  for (std::uint64_t number = 0;; ++number) {
    if (number % kCasesPerLook == 0) {
      const auto passed = Clock::now() - start;
      if (passed >= plan.time) return result;
      on_progress(std::chrono::duration<double>(passed) / std::chrono::duration<double>(plan.time));
    }
    if (!run_case(plan, number, bench, result)) return result;
  }
}

std::string reproducer(const Mismatch& mismatch, std::uint64_t seed) {
  const VerifyCase& drawn = mismatch.drawn;
  return fmt::format(
      "{} {}: {} bytes, destination offset {}, source offset {}: {}; again with: vmmem verify "
      "--isa {} --seed {} --case {}",
      mismatch.row, operation_name(drawn.operation), drawn.bytes, drawn.dst, drawn.src,
      mismatch.what, mismatch.row, seed, drawn.number);
}

std::string verify_text(const VerifyResult& result) {
  std::string text;
  for (const auto& [row, cases] : result.cases)
    text += fmt::format("{:<15} {:>12} cases\n", row, cases);
  text += fmt::format("{:<15} {:>12} cases, seed {}, {} mismatches\n", "total", result.total,
                      result.seed, result.mismatch ? 1 : 0);
  return text;
}

std::string verify_json(const VerifyResult& result) {
  Json json;
  json.add("seed", result.seed);
  json.open_object("cases");
  for (const auto& [row, cases] : result.cases) json.add(row, cases);
  json.close();
  json.add("total", result.total);
  json.add("mismatches", std::uint64_t{result.mismatch ? 1u : 0u});
  if (result.mismatch) {
    const Mismatch& mismatch = *result.mismatch;
    json.open_object("mismatch");
    json.add("row", mismatch.row);
    json.add("operation", operation_name(mismatch.drawn.operation));
    json.add("bytes", std::uint64_t{mismatch.drawn.bytes});
    json.add("destination_offset", std::uint64_t{mismatch.drawn.dst});
    json.add("source_offset", std::uint64_t{mismatch.drawn.src});
    json.add("case", mismatch.drawn.number);
    json.add("what", mismatch.what);
    json.close();
  }
  return std::move(json).text();
}

}  // namespace vmmem
