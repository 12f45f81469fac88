// The framing of GDB's remote serial protocol: packets from bytes, bytes from packets. Knows
// nothing of what packets say.
#ifndef VMRUN_GDB_PROTOCOL_H_
#define VMRUN_GDB_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vmrun {

// The longest packet, either way, without its frame.
inline constexpr std::size_t kGdbPacketBytes = 0x4000;

enum class GdbEventKind : std::uint8_t {
  kPacket,     // `payload`, still escaped
  kDamaged,    // a packet whose checksum is wrong
  kOverlong,   // a packet of more than kGdbPacketBytes
  kInterrupt,  // Ctrl-C
  kResend,     // the client wants the last packet again
};

struct GdbEvent {
  GdbEventKind kind = GdbEventKind::kPacket;
  std::string payload;
};

// Source:  "Debugging with GDB", appendix E.1.
class GdbPacketReader {
 public:
  // Takes bytes in from the front of `bytes`, up to and with those that make an event;
  // nullopt: all were taken, and none has come yet. Acknowledgements and whatever lies
  // between packets are no events.
  std::optional<GdbEvent> take(std::string_view& bytes);

 private:
  enum class State : std::uint8_t { kBetween, kPayload, kFirstDigit, kSecondDigit };

  std::optional<GdbEvent> take_byte(char byte);
  std::optional<GdbEvent> take_between(char byte);
  void take_payload(char byte);
  GdbEvent finish(char last_digit);
  void begin();

  State state_ = State::kBetween;
  std::string payload_;
  std::uint8_t sum_ = 0;
  char first_digit_ = 0;
  bool overlong_ = false;
};

// $payload#checksum. The payload has no '$' and no '#' of its own.
std::string gdb_frame(std::string_view payload);

// Binary data within a payload.
std::string gdb_escape(std::string_view data);
// nullopt: it ends within an escape.
std::optional<std::string> gdb_unescape(std::string_view payload);

// Two digits a byte.
std::string hex_of(std::span<const std::byte> bytes);
std::string hex_of(std::string_view text);
// As many bytes as there are pairs of digits; nullopt where something else is there.
std::optional<std::string> bytes_of_hex(std::string_view hex);

// Reads the fields of a payload one after the other. What is not there is nullopt, and
// nothing is taken then.
class GdbFields {
 public:
  explicit GdbFields(std::string_view text) : text_(text) {}

  // A number of 1 to 16 hexadecimal digits.
  std::optional<std::uint64_t> number();
  bool skip(char expected);
  bool skip(std::string_view expected);
  // Up to `end` or the end of the text; what ends it is taken as well.
  std::string_view until(char end);
  std::string_view rest() const { return text_; }
  bool empty() const { return text_.empty(); }

 private:
  std::string_view text_;
};

}  // namespace vmrun

#endif  // VMRUN_GDB_PROTOCOL_H_
