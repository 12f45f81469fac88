// What goes to standard output: the guest's console, gathered into larger writes.
#ifndef VMRUN_OUTPUT_H_
#define VMRUN_OUTPUT_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmrun {

class Output {
 public:
  explicit Output(int descriptor) : descriptor_(descriptor) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() {
    clear_status();
    flush();
  }

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
  std::uint64_t bytes_put() const { return bytes_put_; }

  // For a terminal: a line that is no part of the output. What is flushed next takes its
  // place, another status as well.
  // Needs:  at_line_start().
  void show_status(std::string_view line);
  void clear_status();

 private:
  void fail(int error);
  bool wait_for_room() const;
  bool waited_enough() const;
  void write_pending();

  int descriptor_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::string pending_;
  char last_ = '\n';
  std::uint64_t bytes_put_ = 0;
  bool has_status_ = false;
  bool broken_ = false;
  int error_ = 0;
};

}  // namespace vmrun

#endif  // VMRUN_OUTPUT_H_
