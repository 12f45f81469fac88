#include "tools/vmrun/gdb_protocol.h"

#include <array>
#include <utility>

namespace vmrun {
namespace {

constexpr char kEscape = '}';
constexpr char kEscapeBit = 0x20;
constexpr char kControlC = 3;
constexpr std::size_t kMostDigits = 16;

constexpr int digit_of(char byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

void append_hex(std::string& out, std::uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out.push_back(kDigits[byte >> 4]);
  out.push_back(kDigits[byte & 15]);
}

std::uint8_t sum_of(std::string_view payload) {
  unsigned sum = 0;
  for (const char byte : payload) sum += static_cast<std::uint8_t>(byte);
  return static_cast<std::uint8_t>(sum);
}

}  // namespace

std::optional<GdbEvent> GdbPacketReader::take(std::string_view& bytes) {
  while (!bytes.empty()) {
    const char byte = bytes.front();
    bytes.remove_prefix(1);
    if (auto event = take_byte(byte)) return event;
  }
  return std::nullopt;
}

// A packet that begins within another one takes its place, as GDB itself has it.
std::optional<GdbEvent> GdbPacketReader::take_byte(char byte) {
  if (state_ != State::kBetween && byte == '$') return begin(), std::nullopt;
  switch (state_) {
    case State::kBetween: return take_between(byte);
    case State::kPayload: return take_payload(byte), std::nullopt;
    case State::kFirstDigit:
      first_digit_ = byte;
      state_ = State::kSecondDigit;
      return std::nullopt;
    default: return finish(byte);
  }
}

std::optional<GdbEvent> GdbPacketReader::take_between(char byte) {
  switch (byte) {
    case '$': begin(); return std::nullopt;
    case '-': return GdbEvent{GdbEventKind::kResend, {}};
    case kControlC: return GdbEvent{GdbEventKind::kInterrupt, {}};
    default: return std::nullopt;
  }
}

void GdbPacketReader::begin() {
  state_ = State::kPayload;
  payload_.clear();
  sum_ = 0;
  overlong_ = false;
}

void GdbPacketReader::take_payload(char byte) {
  if (byte == '#') {
    state_ = State::kFirstDigit;
    return;
  }
  sum_ = static_cast<std::uint8_t>(sum_ + static_cast<std::uint8_t>(byte));
  overlong_ = overlong_ || payload_.size() == kGdbPacketBytes;
  if (!overlong_) payload_.push_back(byte);
}

GdbEvent GdbPacketReader::finish(char last_digit) {
  state_ = State::kBetween;
  if (digit_of(first_digit_) * 16 + digit_of(last_digit) != sum_ || digit_of(first_digit_) < 0 ||
      digit_of(last_digit) < 0) {
    return {GdbEventKind::kDamaged, {}};
  }
  if (overlong_) return {GdbEventKind::kOverlong, {}};
  return {GdbEventKind::kPacket, std::exchange(payload_, {})};
}

std::string gdb_frame(std::string_view payload) {
  std::string out = "$";
  out.append(payload);
  out.push_back('#');
  append_hex(out, sum_of(payload));
  return out;
}

std::string gdb_escape(std::string_view data) {
  std::string out;
  for (const char byte : data) {
    const bool special = byte == '#' || byte == '$' || byte == kEscape || byte == '*';
    if (special) out.push_back(kEscape);
    out.push_back(special ? static_cast<char>(byte ^ kEscapeBit) : byte);
  }
  return out;
}

std::optional<std::string> gdb_unescape(std::string_view payload) {
  std::string out;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    if (payload[i] != kEscape) {
      out.push_back(payload[i]);
      continue;
    }
    if (++i == payload.size()) return std::nullopt;
    out.push_back(static_cast<char>(payload[i] ^ kEscapeBit));
  }
  return out;
}

std::string hex_of(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte byte : bytes) append_hex(out, std::to_integer<std::uint8_t>(byte));
  return out;
}

std::string hex_of(std::string_view text) { return hex_of(std::as_bytes(std::span(text))); }

std::optional<std::string> bytes_of_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const int high = digit_of(hex[i]);
    const int low = digit_of(hex[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
  }
  return out;
}

std::optional<std::uint64_t> GdbFields::number() {
  std::uint64_t value = 0;
  std::size_t digits = 0;
  while (digits < text_.size() && digit_of(text_[digits]) >= 0) {
    if (digits == kMostDigits) return std::nullopt;
    value = value << 4 | static_cast<std::uint64_t>(digit_of(text_[digits]));
    ++digits;
  }
  if (digits == 0) return std::nullopt;
  text_.remove_prefix(digits);
  return value;
}

bool GdbFields::skip(char expected) { return skip(std::string_view(&expected, 1)); }

bool GdbFields::skip(std::string_view expected) {
  if (!text_.starts_with(expected)) return false;
  text_.remove_prefix(expected.size());
  return true;
}

std::string_view GdbFields::until(char end) {
  const std::size_t length = text_.find(end);
  const std::string_view field = text_.substr(0, length);
  text_.remove_prefix(length == std::string_view::npos ? text_.size() : length + 1);
  return field;
}

}  // namespace vmrun
