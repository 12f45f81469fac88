// What goes to standard output: the guest's console, gathered into larger writes.
#ifndef VMRUN_OUTPUT_H_
#define VMRUN_OUTPUT_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace vmrun {

class Output {
 public:
  explicit Output(int descriptor) : descriptor_(descriptor) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { flush(); }

  // A reader that has stopped reading is waited for until then, or until a signal has
  // been noted; after that it counts as gone. No deadline: nullopt.
  void set_deadline(std::optional<std::chrono::steady_clock::time_point> deadline) {
    deadline_ = deadline;
  }

  void put(char byte);
  void put(std::string_view text);
  void flush();
  // The reader has gone away; everything written since is lost.
  bool broken() const { return broken_; }
  // Why: an errno; EPIPE where the reader has stopped reading.
  int error() const { return error_; }
  // Whether the last byte ended a line, or there was none.
  bool at_line_start() const { return last_ == '\n'; }

 private:
  void fail(int error);
  bool wait_for_room() const;
  bool waited_enough() const;

  int descriptor_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::string pending_;
  char last_ = '\n';
  bool broken_ = false;
  int error_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_OUTPUT_H_
