#include "tools/vmmem/console.h"

#include <langinfo.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cmath>
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

std::string progress_line(std::string_view label, double fraction, double seconds) {
  const std::string done = bar(fraction, 1, kProgressColumns, Charset::kAscii);
  return fmt::format("{}  [{:<{}}] {:3.0f} %  {:.0f} s", label, done, kProgressColumns,
                     100 * std::clamp(fraction, 0.0, 1.0), seconds);
}

Progress::Progress(std::string_view label, int descriptor)
    : label_(label), descriptor_(isatty(descriptor) != 0 ? descriptor : -1) {}

Progress::~Progress() {
  if (shown_) put(descriptor_, "\r\x1b[K");
}

void Progress::show(double fraction) {
  const auto now = Clock::now();
  if (descriptor_ < 0 || now - last_ < kBetweenLines) return;
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  put(descriptor_, fmt::format("\r{}\x1b[K", progress_line(label_, fraction, seconds)));
}

}  // namespace vmmem
