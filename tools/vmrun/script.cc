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
    return;
  }
  heard_.push_back(byte);
  if (heard_ == kPrompt) return type_next();
  if (!autoboot_stopped_ && heard_ == kAutobootNotice) {
    autoboot_stopped_ = true;
    typed_.push_back(' ');
  }
}

void Script::type_next() {
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
  return byte;
}

}  // namespace vmrun
