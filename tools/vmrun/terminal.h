// The user's terminal, or whatever standard input is, as the guest's console.
#ifndef VMRUN_TERMINAL_H_
#define VMRUN_TERMINAL_H_

#include <termios.h>

#include <atomic>
#include <deque>

#include "tools/vmrun/console_peer.h"

namespace vmrun {

// Puts a terminal into raw mode while it lives; does nothing to another descriptor.
class RawMode {
 public:
  explicit RawMode(int descriptor);
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
  ~RawMode();

  bool active() const { return active_; }

  // Gives the terminal back, by whoever ends the process without more ado. Any thread.
  static void give_back();

 private:
  static std::atomic<const RawMode*> in_force_;

  int descriptor_;
  bool active_ = false;
  termios saved_{};
};

// On a terminal every key goes to the guest, but for Ctrl-A, which begins a command:
// x quits, another Ctrl-A is one for the guest. Otherwise bytes go through as they are.
class Terminal final : public ConsolePeer {
 public:
  explicit Terminal(int descriptor) : descriptor_(descriptor), raw_(descriptor) {}

  void hear(char) override {}
  // Reads ahead, so that the escape works on a guest that does not read.
  void attend() override;
  std::optional<char> say() override;
  void wait(std::chrono::milliseconds limit) override;
  PeerState state() const override;

 private:
  void accept(char byte);

  int descriptor_;
  RawMode raw_;
  std::deque<char> typed_;
  bool escape_ = false;
  bool closed_ = false;
  bool quit_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_TERMINAL_H_
