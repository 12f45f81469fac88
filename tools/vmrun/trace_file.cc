#include "tools/vmrun/trace_file.h"

#include <utility>

namespace vmrun {

absl::StatusOr<std::unique_ptr<TraceFile>> TraceFile::open(const std::string& path,
                                                           TraceKinds kinds) {
  absl::StatusOr<std::unique_ptr<OutputFile>> file;
  if (path == "-") {
    file = OutputFile::standard_error("the trace on standard error");
  } else {
    file = OutputFile::open(path);
  }
  if (!file.ok()) return file.status();
  return std::unique_ptr<TraceFile>(new TraceFile(*std::move(file), kinds));
}

}  // namespace vmrun
