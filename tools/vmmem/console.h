// How results look: sizes, colours, bars, and a line of progress.
#ifndef VMMEM_CONSOLE_H_
#define VMMEM_CONSOLE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace vmmem {

enum class Charset : std::uint8_t { kAscii, kUtf8 };
enum class Colour : std::uint8_t { kPlain, kGood, kBad, kStrong };

// What standard output shows.
struct Style {
  Charset charset = Charset::kAscii;
  bool coloured = false;
};
// UTF-8 where the locale says so; colours on a terminal without NO_COLOR.
Style style_of_output();

std::string painted(std::string_view text, Colour colour, const Style& style);

// A bar for `value`, `full` filling `columns`; of eighths of a column in UTF-8.
std::string bar(double value, double full, std::size_t columns, Charset charset);

// "64", "4K", "1M"; "never".
std::string size_name(std::size_t bytes);

// The same for a field of CopyPolicy, whose upper end may be "none".
std::string limit_name(std::string_view field, std::size_t limit);

// `text` with its blanks turned into line ends where a line would pass 79 columns, each
// line behind three blanks.
std::string wrapped(std::string_view text);

// "512 B", "4.0 KiB", "1.5 GiB".
std::string amount(std::uint64_t bytes);

// "1 file", "2 files".
std::string counted(std::uint64_t number, std::string_view what);

// "verify  [#####     ]  50 %  3 s".
std::string progress_line(std::string_view label, double fraction, double seconds);

// "merge  [#####     ]  50 %  512.0 MiB/s  3 s left", after `seconds`.
std::string progress_line(std::string_view label, std::uint64_t done_bytes,
                          std::uint64_t total_bytes, double seconds);

// Such as it is. Abseil's string_view may be a type of its own.
std::string message_of(const absl::Status& status);

// A line of this program on standard error.
void complain(std::string_view text);

// On standard output: 1 where that takes no more, which is complained of: a full disk, a
// closed pipe.
int publish(const std::string& text);

// Shows progress on a descriptor, if that is a terminal, from two seconds on or where
// so long a time is to be expected, and wipes it away at the end.
class Progress {
 public:
  Progress(std::string_view label, int descriptor);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  void show(double fraction);
  void show(std::uint64_t done_bytes, std::uint64_t total_bytes);

 private:
  using Clock = std::chrono::steady_clock;

  // `line(seconds)`, where it is time for one.
  template <typename Line>
  void show_line(Line line);

  std::string label_;
  int descriptor_;  // -1: no terminal
  bool shown_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

}  // namespace vmmem

#endif  // VMMEM_CONSOLE_H_
