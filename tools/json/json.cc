#include "tools/json/json.h"

#include <cmath>

#include <fmt/format.h>

namespace json_text {

std::string quoted(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      text += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      text += c;
    }
  }
  return text + '"';
}

void Json::begin(std::string_view key) {
  if (!first_) text_ += ", ";
  first_ = false;
  if (!key.empty()) text_ += quoted(key) + ": ";
}

void Json::open(std::string_view key, char bracket) {
  begin(key);
  text_ += bracket;
  open_ += bracket == '{' ? '}' : ']';
  first_ = true;
}

void Json::close() {
  text_ += open_.back();
  open_.pop_back();
  first_ = false;
}

void Json::add(std::string_view key, std::string_view value) {
  begin(key);
  text_ += quoted(value);
}

void Json::add(std::string_view key, double value) {
  begin(key);
  text_ += std::isfinite(value) ? fmt::format("{:.6g}", value) : "null";
}

void Json::add(std::string_view key, std::uint64_t value) {
  begin(key);
  text_ += fmt::format("{}", value);
}

void Json::add_flag(std::string_view key, bool value) {
  begin(key);
  text_ += value ? "true" : "false";
}

std::string Json::text() && {
  while (!open_.empty()) close();
  return std::move(text_) + "\n";
}

}  // namespace json_text
