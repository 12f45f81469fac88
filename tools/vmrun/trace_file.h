// Where a trace goes.
#ifndef VMRUN_TRACE_FILE_H_
#define VMRUN_TRACE_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tools/vmrun/output_file.h"
#include "tools/vmrun/trace.h"

namespace vmrun {

class TraceFile {
 public:
  // "-" is standard error.
  // Errors:  those of OutputFile::open
  static absl::StatusOr<std::unique_ptr<TraceFile>> open(const std::string& path, TraceKinds kinds);

  Trace& trace() { return trace_; }
  OutputFile& file() { return *file_; }

 private:
  TraceFile(std::unique_ptr<OutputFile> file, TraceKinds kinds)
      : file_(std::move(file)), trace_(file_->output(), kinds) {}

  std::unique_ptr<OutputFile> file_;
  Trace trace_;
};

}  // namespace vmrun

#endif  // VMRUN_TRACE_FILE_H_
