// What the tools' command lines have in common.
#ifndef TOOLS_COMMAND_LINE_COMMAND_LINE_H_
#define TOOLS_COMMAND_LINE_COMMAND_LINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace command_line {

// What to do instead: print `text`, and exit with `status`.
struct Exit {
  int status = 0;
  std::string text;
};

// One line, and status 2.
Exit usage_error(std::string_view program, std::string_view text);

// "100", "4K", "2M", "1G", also as "4KiB"; nullopt where it is no size, or above `most`.
std::optional<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t most);

// "42" or "0x2a"; nullopt where it is no number of 64 bits.
std::optional<std::uint64_t> parse_number(std::string_view text);

}  // namespace command_line

#endif  // TOOLS_COMMAND_LINE_COMMAND_LINE_H_
