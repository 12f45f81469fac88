// For the one file of a tool that includes CLI11, which takes seconds to compile.
#ifndef TOOLS_COMMAND_LINE_PARSE_H_
#define TOOLS_COMMAND_LINE_PARSE_H_

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "tools/command_line/command_line.h"

namespace command_line {

// Fills in what `app` was told of. An exit where the user asked for help or the version,
// or where the command line is wrong; `want_command` is said where a command is missing.
inline std::optional<Exit> parse(CLI::App& app, int argc, const char* const* argv,
                                 std::string_view want_command = {}) {
  std::string wrong;
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    return Exit{.status = 0, .text = app.help()};
  } catch (const CLI::CallForVersion& version) {
    return Exit{.status = 0, .text = std::string(version.what()) + "\n"};
  } catch (const CLI::RequiredError& error) {
    wrong = want_command.empty() ? std::string_view(error.what()) : want_command;
  } catch (const CLI::ParseError& error) {
    wrong = error.what();
    wrong.resize(std::min(wrong.find('\n'), wrong.size()));  // the first line says it
  }
  return usage_error(app.get_name(), wrong + " (see " + app.get_name() + " --help)");
}

}  // namespace command_line

#endif  // TOOLS_COMMAND_LINE_PARSE_H_
