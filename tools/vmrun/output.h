// What goes to standard output: the guest's console, gathered into larger writes.
#ifndef VMRUN_OUTPUT_H_
#define VMRUN_OUTPUT_H_

#include <string>
#include <string_view>

namespace vmrun {

class Output {
 public:
  explicit Output(int descriptor) : descriptor_(descriptor) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { flush(); }

  void put(char byte);
  void put(std::string_view text);
  void flush();
  // The reader has gone away; everything written since is lost.
  bool broken() const { return broken_; }
  // Whether the last byte ended a line, or there was none.
  bool at_line_start() const { return last_ == '\n'; }

 private:
  int descriptor_;
  std::string pending_;
  char last_ = '\n';
  bool broken_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_OUTPUT_H_
