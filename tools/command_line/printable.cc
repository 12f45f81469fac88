#include "tools/command_line/printable.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

namespace command_line {
namespace {

// How many bytes of a character that can be shown the text begins with; 0: none.
std::size_t shown_bytes(std::string_view text) {
  const auto at = [&](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
  const unsigned first = at(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return 0;
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  // U+0080 to U+009F are control characters; then what UTF-8 does not permit: longer forms than
  // needed, surrogates, what is above U+10FFFF.
  const bool is_bad = (first == 0xc2 && at(1) < 0xa0) || (first == 0xe0 && at(1) < 0xa0) ||
                      (first == 0xed && at(1) >= 0xa0) || (first == 0xf0 && at(1) < 0x90) ||
                      (first == 0xf4 && at(1) >= 0x90);
  return is_bad ? 0 : bytes;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t bytes = shown_bytes(text);
    if (bytes == 0) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(text[0])));
    } else {
      shown += text.substr(0, bytes);
    }
    text.remove_prefix(std::max<std::size_t>(bytes, 1));
  }
  return shown;
}

}  // namespace command_line
