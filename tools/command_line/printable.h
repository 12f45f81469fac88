// Text of somebody else's in messages.
#ifndef TOOLS_COMMAND_LINE_PRINTABLE_H_
#define TOOLS_COMMAND_LINE_PRINTABLE_H_

#include <string>
#include <string_view>

namespace command_line {

// Text of somebody else's, such as a name in a file, for a terminal: what is no character that
// can be printed, and no UTF-8, is told as "\x1b".
std::string printable(std::string_view text);

}  // namespace command_line

#endif  // TOOLS_COMMAND_LINE_PRINTABLE_H_
