// The signals that ask a program to end. They are noted, so that it ends in good order:
// terminal restored, report written, no half of a file left behind.
#ifndef TOOLS_COMMAND_LINE_SIGNALS_H_
#define TOOLS_COMMAND_LINE_SIGNALS_H_

namespace command_line {

// SIGINT, SIGTERM, SIGHUP and SIGQUIT are noted from then on, SIGPIPE and
// SIGXFSZ are ignored: a file that may not grow is an I/O error.
void note_signals();

// The signal that came, or 0.
int noted_signal();

}  // namespace command_line

#endif  // TOOLS_COMMAND_LINE_SIGNALS_H_
