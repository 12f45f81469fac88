#include "tools/command_line/signals.h"

#include <csignal>
#include <initializer_list>

namespace command_line {
namespace {

volatile std::sig_atomic_t g_signal = 0;

void note(int number) { g_signal = number; }

}  // namespace

void note_signals() {
  struct sigaction action {};
  action.sa_handler = note;  // no SA_RESTART: a wait for input ends
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaction(number, &action, nullptr);
  action.sa_handler = SIG_IGN;
  for (const int number : {SIGPIPE, SIGXFSZ}) sigaction(number, &action, nullptr);
}

int noted_signal() { return g_signal; }

}  // namespace command_line
