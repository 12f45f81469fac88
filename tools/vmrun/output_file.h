// A file that is written while the guest runs: a trace, a second console.
#ifndef VMRUN_OUTPUT_FILE_H_
#define VMRUN_OUTPUT_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/vmrun/output.h"

namespace vmrun {

class OutputFile {
 public:
  // Made where it is not there; what is in it stays until begin(). The name is for messages.
  // Errors:  kUnavailable  the host refused; the message is "<path>: <reason>"
  static absl::StatusOr<std::unique_ptr<OutputFile>> open(const std::string& path);
  static std::unique_ptr<OutputFile> standard_error(std::string name);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  // Empties it, once nothing else can refuse the run, and keeps others from writing it.
  // Errors:  kFailedPrecondition  somebody else has it open: the machine, as a disk
  absl::Status begin();
  Output& output() { return output_; }
  // What is lost, as open() says it: a full disk, a reader that has gone. OK: nothing is.
  absl::Status state() const;
  // Writes what is still to be written.
  absl::Status finish();

 private:
  OutputFile(std::string name, int descriptor);

  std::string name_;
  int descriptor_;
  Output output_;
};

}  // namespace vmrun

#endif  // VMRUN_OUTPUT_FILE_H_
