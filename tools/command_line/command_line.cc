#include "tools/command_line/command_line.h"

#include <charconv>

#include <fmt/format.h>

namespace command_line {
namespace {

// Of "", "K", "KiB", "KB" and so on: a power of two.
std::optional<unsigned> parse_unit(std::string_view unit) {
  unsigned shift = 0;
  if (!unit.empty()) {
    constexpr std::string_view kUnits = "KMG";
    const std::size_t index = kUnits.find(unit.front() & ~0x20);
    if (index == std::string_view::npos) return std::nullopt;
    shift = 10 * (static_cast<unsigned>(index) + 1);
    unit.remove_prefix(1);
  }
  if (!unit.empty() && unit != "iB" && unit != "B") return std::nullopt;
  return shift;
}

}  // namespace

Exit usage_error(std::string_view program, std::string_view text) {
  return {.status = 2, .text = fmt::format("{}: {}\n", program, text)};
}

std::optional<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t most) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) return std::nullopt;
  const auto shift = parse_unit(std::string_view(rest, static_cast<std::size_t>(end - rest)));
  if (!shift || number > (most >> *shift)) return std::nullopt;
  return number << *shift;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  if (is_hex) text.remove_prefix(2);
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, is_hex ? 16 : 10);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

}  // namespace command_line
