#include "tools/vmmem/bench.h"

#include <algorithm>

#include <fmt/format.h>

#include "tools/vmmem/console.h"
#include "tools/vmmem/limit_json.h"
#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

constexpr std::size_t kLeastRounds = 5;

std::vector<Contender> contenders_of(const std::vector<vm_mem::CopyRow>& rows) {
  std::vector<Contender> contenders;
  contenders.push_back({.name = "libc", .copy = LibcCopy{}});
  contenders.push_back({.name = "memcpy_raw", .copy = RawCopy{}});
  for (const vm_mem::CopyRow& row : rows) {
    contenders.push_back({.name = std::string(row.name), .copy = row.copy});
  }
  return contenders;
}

BenchLine line_of(std::size_t bytes, const Times& times) {
  BenchLine line{.bytes = bytes, .libc_nanoseconds = median_of(times[0]), .ratios = {}};
  for (std::size_t i = 1; i < times.size(); ++i)
    line.ratios.push_back(ratio_of(times[0], times[i]));
  return line;
}

}  // namespace

std::vector<std::size_t> default_sizes() {
  return {8,       16,      32,       64,       100,       128,     256,     512,
          1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20};
}

BenchTable bench(const BenchPlan& plan, const std::function<void(double)>& on_progress) {
  const std::vector<Contender> contenders = contenders_of(plan.rows);
  BenchTable table;
  for (std::size_t i = 1; i < contenders.size(); ++i)
    table.contenders.push_back(contenders[i].name);
  Buffers buffers(*std::max_element(plan.sizes.begin(), plan.sizes.end()));
  const auto each = std::chrono::microseconds(plan.time) / plan.sizes.size();
  for (const std::size_t bytes : plan.sizes) {
    const Walk walk{.bytes = bytes, .step = 0, .span = bytes};
    table.lines.push_back(
        line_of(bytes, time_interleaved(contenders, buffers, walk, kLeastRounds, each)));
    on_progress(static_cast<double>(table.lines.size()) / static_cast<double>(plan.sizes.size()));
  }
  return table;
}

std::string bench_text(const BenchTable& table) {
  std::string text = fmt::format("{:>6} {:>10}", "bytes", "libc ns");
  for (const std::string& name : table.contenders) text += fmt::format("  {:<18}", name);
  while (text.back() == ' ') text.pop_back();
  text += '\n';
  for (const BenchLine& line : table.lines) {
    text += fmt::format("{:>6} {:>10.1f}", size_name(line.bytes), line.libc_nanoseconds);
    for (const Spread& ratio : line.ratios) {
      text += fmt::format(
          "  {:<18}", fmt::format("{:.2f} ({:.2f}-{:.2f})", ratio.median, ratio.least, ratio.most));
    }
    while (text.back() == ' ') text.pop_back();
    text += '\n';
  }
  return text +
         "libc's time over ours, median (least-most of five parts): above 1 is faster. One\n"
         "size, the same buffers again and again; tools/bench is the full suite.\n";
}

std::string bench_json(const BenchTable& table) {
  Json json;
  json.open_array("sizes");
  for (const BenchLine& line : table.lines) {
    json.open_object("");
    json.add("bytes", std::uint64_t{line.bytes});
    json.add("libc_ns", line.libc_nanoseconds);
    json.open_object("ratios");
    for (std::size_t i = 0; i < line.ratios.size(); ++i) {
      json.open_object(table.contenders[i]);
      json.add("median", line.ratios[i].median);
      json.add("least", line.ratios[i].least);
      json.add("most", line.ratios[i].most);
      json.close();
    }
    json.close();
    json.close();
  }
  return std::move(json).text();
}

}  // namespace vmmem
