#include "tools/vmmem/console.h"

#include <langinfo.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

constexpr auto kBetweenLines = std::chrono::milliseconds(200);
constexpr std::size_t kProgressColumns = 30;
constexpr std::size_t kWrapColumn = 79;

// One to eight eighths of a column: U+258F down to U+2588.
std::string block(std::size_t eighths) {
  return {'\xe2', '\x96', static_cast<char>(static_cast<unsigned char>(0x90 - eighths))};
}

void put(int descriptor, const std::string& text) {
  // Nobody is told where a progress line cannot be shown.
  [[maybe_unused]] const ssize_t wrote = write(descriptor, text.data(), text.size());
}

// "verify  [#####     ]  50 %".
std::string bar_line(std::string_view label, double fraction) {
  const std::string done = bar(fraction, 1, kProgressColumns, Charset::kAscii);
  return fmt::format("{}  [{:<{}}] {:3.0f} %", label, done, kProgressColumns,
                     100 * std::clamp(fraction, 0.0, 1.0));
}

}  // namespace

Style style_of_output() {
  std::setlocale(LC_CTYPE, "");
  const bool utf8 = std::string_view(nl_langinfo(CODESET)) == "UTF-8";
  const char* no_color = std::getenv("NO_COLOR");
  return {.charset = utf8 ? Charset::kUtf8 : Charset::kAscii,
          .coloured = isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0')};
}

std::string painted(std::string_view text, Colour colour, const Style& style) {
  if (!style.coloured || colour == Colour::kPlain) return std::string(text);
  const int code = colour == Colour::kGood ? 32 : colour == Colour::kBad ? 31 : 1;
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string bar(double value, double full, std::size_t columns, Charset charset) {
  const double share = std::clamp(value / full, 0.0, 1.0) * static_cast<double>(columns);
  if (charset == Charset::kAscii)
    return std::string(static_cast<std::size_t>(std::lround(share)), '#');
  const auto eighths = static_cast<std::size_t>(std::lround(share * 8));
  std::string text;
  for (std::size_t i = 0; i < eighths / 8; ++i) text += block(8);
  if (eighths % 8 != 0) text += block(eighths % 8);
  return text;
}

std::string size_name(std::size_t bytes) {
  if (bytes == vm_mem::kNever) return "never";
  if (bytes != 0 && bytes % (1 << 20) == 0) return fmt::format("{}M", bytes >> 20);
  if (bytes != 0 && bytes % (1 << 10) == 0) return fmt::format("{}K", bytes >> 10);
  return fmt::format("{}", bytes);
}

std::string limit_name(std::string_view field, std::size_t limit) {
  return limit == vm_mem::kNever && field == "rep_movsb_max" ? "none" : size_name(limit);
}

std::string wrapped(std::string_view text) {
  std::string lines;
  std::size_t column = kWrapColumn;
  while (!text.empty()) {
    const std::size_t end = text.find(' ');
    const std::string_view word = text.substr(0, end);
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
    const bool fits = column + 1 + word.size() <= kWrapColumn;
    lines += fits ? " " : lines.empty() ? "   " : "\n   ";
    column = (fits ? column + 1 : 3) + word.size();
    lines += word;
  }
  return lines + "\n";
}

std::string amount(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes) / 1024;
  std::string_view units = "KMGTPE";
  for (; value >= 1024 && units.size() > 1; units.remove_prefix(1)) value /= 1024;
  return fmt::format("{:.1f} {}iB", value, units.front());
}

std::string counted(std::uint64_t number, std::string_view what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

std::string progress_line(std::string_view label, double fraction, double seconds) {
  return bar_line(label, fraction) + fmt::format("  {:.0f} s", seconds);
}

std::string progress_line(std::string_view label, std::uint64_t done_bytes,
                          std::uint64_t total_bytes, double seconds) {
  const auto done = static_cast<double>(done_bytes);
  const auto total = static_cast<double>(total_bytes);
  const double rate = seconds > 0 ? done / seconds : 0;
  const double fraction = total > 0 ? std::clamp(done / total, 0.0, 1.0) : 1;
  std::string line = bar_line(label, fraction);
  if (rate > 0) {
    line += fmt::format("  {}/s  {:.0f} s left", amount(static_cast<std::uint64_t>(rate)),
                        (total - done) / rate);
  }
  return line;
}

std::string message_of(const absl::Status& status) { return std::string(status.message()); }

void complain(std::string_view text) {
  // fmt::print would throw where standard error cannot be written.
  std::fputs(fmt::format("vmmem: {}\n", text).c_str(), stderr);
}

int publish(const std::string& text) {
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!written) complain("standard output cannot be written");
  return written ? 0 : 1;
}

Progress::Progress(std::string_view label, int descriptor)
    : label_(label), descriptor_(isatty(descriptor) != 0 ? descriptor : -1) {}

Progress::~Progress() {
  if (shown_) put(descriptor_, "\r\x1b[K");
}

template <typename Line>
void Progress::show_line(Line line) {
  const auto now = Clock::now();
  if (descriptor_ < 0 || now - last_ < kBetweenLines) return;
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  put(descriptor_, fmt::format("\r{}\x1b[K", line(seconds)));
}

void Progress::show(double fraction) {
  show_line([&](double seconds) { return progress_line(label_, fraction, seconds); });
}

void Progress::show(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  show_line(
      [&](double seconds) { return progress_line(label_, done_bytes, total_bytes, seconds); });
}

}  // namespace vmmem
