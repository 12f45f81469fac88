#include "tools/vmmem/demo.h"

#include <algorithm>
#include <array>
#include <chrono>

#include <fmt/format.h>

#include "tools/vmmem/limit_json.h"
#include "tools/vmmem/measure.h"
#include "vm_mem/simd_memcpy.h"

namespace vmmem {
namespace {

constexpr std::size_t kRounds = 15;
constexpr auto kTimeEach = std::chrono::milliseconds(120);
constexpr std::size_t kBarColumns = 30;
constexpr double kFullBar = 3;
// Closer to 1 than this is no difference.
constexpr double kNoise = 0.03;

struct Entry {
  const char* name;
  std::size_t bytes;
  Copy libc;
  Copy ours;
};

DemoLine time_entry(const Entry& entry, Buffers& buffers) {
  const Walk walk{.bytes = entry.bytes, .step = 0, .span = entry.bytes};
  const Times times = time_interleaved(
      {{.name = "libc", .copy = entry.libc}, {.name = "vm_mem", .copy = entry.ours}}, buffers, walk,
      kRounds, kTimeEach);
  return {.name = entry.name,
          .libc_nanoseconds = median_of(times[0]),
          .nanoseconds = median_of(times[1]),
          .ratio = ratio_of(times[0], times[1]).median};
}

std::string time_name(double nanoseconds) {
  if (nanoseconds < 1e3) return fmt::format("{:.1f} ns", nanoseconds);
  if (nanoseconds < 1e6) return fmt::format("{:.1f} us", nanoseconds / 1e3);
  return fmt::format("{:.1f} ms", nanoseconds / 1e6);
}

std::string heading(std::string_view text, const Style& style) {
  return fmt::format("\n{}\n", painted(text, Colour::kStrong, style));
}

Colour colour_of(double ratio) {
  if (ratio > 1 + kNoise) return Colour::kGood;
  return ratio < 1 - kNoise ? Colour::kBad : Colour::kPlain;
}

std::string shorten(const std::string& text, std::size_t most) {
  return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

// Where we are slower, by name: a tour that hides it would be worth nothing.
std::string where_slower(const std::vector<DemoLine>& lines) {
  std::string names;
  for (const DemoLine& line : lines) {
    if (line.ratio >= 1 - kNoise) continue;
    names += fmt::format("{}{} ({:.2f})", names.empty() ? "" : ", ", line.name, line.ratio);
  }
  return wrapped(
      fmt::format("Slower than libc here: {}.", names.empty() ? "nothing in this table" : names));
}

}  // namespace

std::vector<DemoLine> time_demo(const std::function<void(double)>& on_progress) {
  const std::array entries = {
      Entry{"16", 16, LibcCopy{}, AdaptiveCopy{}},
      Entry{"64", 64, LibcCopy{}, AdaptiveCopy{}},
      Entry{"100", 100, LibcCopy{}, AdaptiveCopy{}},
      Entry{"256", 256, LibcCopy{}, AdaptiveCopy{}},
      Entry{"1K", 1 << 10, LibcCopy{}, AdaptiveCopy{}},
      Entry{"4K", 4 << 10, LibcCopy{}, AdaptiveCopy{}},
      Entry{"64K", 64 << 10, LibcCopy{}, AdaptiveCopy{}},
      Entry{"1M", 1 << 20, LibcCopy{}, AdaptiveCopy{}},
      Entry{"16M", 16 << 20, LibcCopy{}, AdaptiveCopy{}},
      Entry{"any 1-32", 32, DrawnSizes<LibcCopy>{32}, DrawnSizes<AdaptiveCopy>{32}},
      Entry{"any 1-256", 256, DrawnSizes<LibcCopy>{256}, DrawnSizes<AdaptiveCopy>{256}},
      Entry{"any 1-4096", 4096, DrawnSizes<LibcCopy>{4096}, DrawnSizes<AdaptiveCopy>{4096}},
  };
  Buffers buffers(16 << 20);
  std::vector<DemoLine> lines;
  for (const Entry& entry : entries) {
    lines.push_back(time_entry(entry, buffers));
    on_progress(static_cast<double>(lines.size()) / entries.size());
  }
  return lines;
}

std::string demo_found(const Description& description, const Style& style) {
  const vm_mem::CacheSizes& caches = description.cpu.caches;
  std::string text = heading("1  What was found", style);
  text += fmt::format("   {}\n", shorten(vm_mem::cpu_identity(description.cpu), 76));
  text += fmt::format("   caches: L1d {}, L2 {}, L3 {}; vectors: {}\n", size_name(caches.l1d),
                      size_name(caches.l2), size_name(caches.l3), description.simd);
  text += fmt::format(
      "   {}\n", shorten(fmt::format("kernels: {}, {}", description.row, why(description)), 76));
  return text + "   VM_MEM_ISA=sse2 would force others; `vmmem info` shows everything.\n";
}

std::string demo_verified(const VerifyResult& result, const Style& style) {
  std::string text = heading("2  Is it correct?", style);
  text += fmt::format(
      "   {} random copies, moves, fills, compares and zero scans between\n"
      "   unreadable pages, each held against a byte loop: {}\n",
      result.total,
      result.mismatch ? painted("A MISMATCH", Colour::kBad, style)
                      : painted("0 mismatches", Colour::kGood, style));
  return text + "   `vmmem verify --seconds 600` goes on for as long as you like.\n";
}

std::string demo_table(const std::vector<DemoLine>& lines, const Style& style) {
  std::string text = heading("3  How fast is it?", style);
  text +=
      "   memcpy_adaptive beside libc's memcpy, which is a SIMD copy already: 1.00 is\n"
      "   equal. One size at a time in cache flatters both; `any` sizes are as guests'.\n\n";
  text += fmt::format("   {:>10} {:>9} {:>9} {:>6}\n", "bytes", "libc", "vm_mem", "ratio");
  for (const DemoLine& line : lines) {
    text += fmt::format("   {:>10} {:>9} {:>9} {:>6.2f}  {}\n", line.name,
                        time_name(line.libc_nanoseconds), time_name(line.nanoseconds), line.ratio,
                        painted(bar(line.ratio, kFullBar, kBarColumns, style.charset),
                                colour_of(line.ratio), style));
  }
  // Below the column that a ratio of 1 reaches.
  const std::string under_one(3 + 10 + 1 + 9 + 1 + 9 + 1 + 6 + 2 + kBarColumns / 3 - 1, ' ');
  text += under_one + (style.charset == Charset::kUtf8 ? "\xe2\x86\x91" : "^") + " libc\n";
  return text + where_slower(lines);
}

std::string demo_next(const Style& style) {
  return heading("4  In your program", style) +
         "   #include \"vm_mem/simd_memcpy.h\"\n"
         "   vm_mem::memcpy_adaptive(dst, src);       // spans of equal length\n"
         "   vm_mem::memcpy_stream(dst, src, bytes);  // will not be read soon\n"
         "\n"
         "   find_package(vm 0.1 REQUIRED)            # CMake\n"
         "   target_link_libraries(emulator PRIVATE vm::mem)\n" +
         heading("5  From here", style) +
         "   vmmem calibrate              measure this machine's limits (20 s)\n"
         "   vmmem bench --sizes 4K,1M    every row beside libc\n"
         "   docs/usage_guide.md          which entry point for which copy\n";
}

std::string demo_json(const Description& description, const VerifyResult& result,
                      const std::vector<DemoLine>& lines) {
  Json json;
  json.add("cpu", vm_mem::cpu_identity(description.cpu));
  json.add("row", description.row);
  json.add("row_reason", why(description));
  json.add("verified_cases", result.total);
  json.add("mismatches", std::uint64_t{result.mismatch ? 1u : 0u});
  json.open_array("speed");
  for (const DemoLine& line : lines) {
    json.open_object("");
    json.add("bytes", line.name);
    json.add("libc_ns", line.libc_nanoseconds);
    json.add("vm_mem_ns", line.nanoseconds);
    json.add("ratio", line.ratio);
    json.close();
  }
  return std::move(json).text();
}

}  // namespace vmmem
