#include "tools/vmrun/save_point.h"

#include <algorithm>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "tools/command_line/printable.h"
#include "tools/vmrun/options.h"

namespace vmrun {
namespace {

constexpr std::string_view kInstructions = "instructions:";
constexpr std::string_view kText = "text:";

std::string text_of(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte byte : bytes) out.push_back(static_cast<char>(byte));
  return out;
}

}  // namespace

std::optional<SaveMark> parse_save_mark(std::string_view text) {
  if (text.starts_with(kInstructions)) {
    const auto number = parse_number(text.substr(kInstructions.size()));
    if (number.value_or(0) == 0) return std::nullopt;
    return SaveMark{.instructions = *number};
  }
  if (text.starts_with(kText)) text.remove_prefix(kText.size());
  if (text.empty()) return std::nullopt;
  return SaveMark{.text = std::string(text)};
}

void ConsoleLine::hear(char byte) {
  if (byte == '\n') {
    text_.clear();
  } else if (byte != '\r' && text_.size() < kMostLineBytes) {
    text_.push_back(byte);
  }
}

void SavedSession::save(vm_device::StateWriter& to) const {
  to(slice_left, polls_before, idle_slices);
  to.bytes(std::as_bytes(std::span(console_line)), kMostLineBytes);
  to(typing.has_value());
  const std::string rest = typing.value_or("");
  to.bytes(std::as_bytes(std::span(rest)), kMostLineBytes);
}

void SavedSession::load(vm_device::StateReader& from) {
  from(slice_left, polls_before, idle_slices);
  bool is_typing = false;
  console_line = text_of(from.bytes(kMostLineBytes));
  from(is_typing);
  std::string rest = text_of(from.bytes(kMostLineBytes));
  if (is_typing) typing = std::move(rest);
}

void SavePoint::hear(char byte) {
  line_.hear(byte);
  if (mark_.text.empty() || is_printed_) return;
  recent_.push_back(byte);
  if (recent_.size() > mark_.text.size()) recent_.erase(0, 1);
  if (recent_ != mark_.text) return;
  is_printed_ = true;
  reached_();
}

void SavePoint::go_on(const std::string& console_line) {
  for (const char byte : console_line) line_.hear(byte);
}

std::optional<std::uint64_t> SavePoint::instructions() const {
  return mark_.text.empty() ? std::optional(mark_.instructions) : std::nullopt;
}

bool SavePoint::is_due(std::uint64_t retired) const {
  return mark_.text.empty() ? retired >= mark_.instructions : is_printed_;
}

absl::StatusOr<std::string> SavePoint::save(SavedSession session) {
  session.console_line = line_.text();
  return save_(session);
}

std::string SavePoint::missed() const {
  if (mark_.text.empty())
    return fmt::format("{} instructions were not reached", mark_.instructions);
  return fmt::format("the guest never printed '{}'", command_line::printable(mark_.text));
}

}  // namespace vmrun
