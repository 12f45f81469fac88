// Where a trace goes.
#ifndef VMRUN_TRACE_FILE_H_
#define VMRUN_TRACE_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/vmrun/output.h"
#include "tools/vmrun/trace.h"

namespace vmrun {

class TraceFile {
 public:
  // `path` is made anew; "-" is standard error.
  // Errors:  kUnavailable  the host refused; the message is "<path>: <reason>"
  static absl::StatusOr<std::unique_ptr<TraceFile>> open(std::string path, TraceKinds kinds);
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;
  ~TraceFile();

  Trace& trace() { return trace_; }
  Output& output() { return output_; }
  // What is lost, as open() says it: a full disk, a reader that has gone. OK: nothing is.
  absl::Status state() const;
  // Writes what is still to be written.
  absl::Status finish();

 private:
  TraceFile(std::string path, int descriptor, TraceKinds kinds);

  std::string path_;
  int descriptor_;
  Output output_;
  Trace trace_;
};

}  // namespace vmrun

#endif  // VMRUN_TRACE_FILE_H_
