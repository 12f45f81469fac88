#include "tools/vmrun/script.h"

#include <utility>

#include "absl/strings/str_split.h"

namespace vmrun {

std::vector<std::string> script_lines(std::string_view text) {
  std::vector<std::string> lines;
  const std::vector<std::string> split = absl::StrSplit(std::string(text), '\n');
  for (std::string line : split) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line.front() != '#') lines.push_back(std::move(line));
  }
  return lines;
}

Script::Script(std::vector<std::string> lines)
    : lines_(std::make_move_iterator(lines.begin()), std::make_move_iterator(lines.end())) {}

void Script::hear(char byte) {
  // A carriage return begins the line anew on a terminal, but a prompt that follows
  // one without a line feed is a redrawn line, not a new prompt.
  if (byte == '\r') return;
  if (byte == '\n') {
    heard_.clear();
    has_begun_ = has_begun_ && !typed_.empty();
    return;
  }
  heard_.push_back(byte);
  if (heard_ == kPrompt) return type_next();
  if (heard_ == kAutobootNotice) stop_autoboot();
}

void Script::stop_autoboot() {
  if (std::exchange(autoboot_stopped_, true)) return;
  has_begun_ = false;
  typed_.push_back(' ');
}

// A line of which the guest has nothing is the next script's.
std::optional<std::string> Script::unfinished() const {
  if (!has_begun_) return std::nullopt;
  return std::string(typed_.begin(), typed_.end());
}

void Script::take_over(const std::string& line, const std::optional<std::string>& unfinished) {
  heard_ = line;
  has_begun_ = unfinished.has_value();
  if (unfinished) {
    typed_.assign(unfinished->begin(), unfinished->end());
  } else if (heard_ == kPrompt) {
    type_next();
  } else if (heard_.starts_with(kAutobootNotice)) {
    stop_autoboot();
  }
}

void Script::type_next() {
  has_begun_ = false;
  if (lines_.empty()) {
    done_ = true;
    return;
  }
  typed_.insert(typed_.end(), lines_.front().begin(), lines_.front().end());
  typed_.push_back('\r');
  lines_.pop_front();
}

std::optional<char> Script::say() {
  if (typed_.empty()) return std::nullopt;
  const char byte = typed_.front();
  typed_.pop_front();
  has_begun_ = true;
  return byte;
}

}  // namespace vmrun
