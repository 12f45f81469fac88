#include "vm_mem/statistics.h"

#include "absl/strings/str_format.h"

namespace vm_mem {
namespace {

const char* separator(int index) { return index == 0 ? "" : ","; }

void append_path(std::string& json, std::string_view name, const PathCount& count) {
  absl::StrAppendFormat(&json, "\"%s\":{\"operations\":%u,\"bytes\":%u}", std::string(name),
                        count.operations, count.bytes);
}

void append_route(std::string& json, const Statistics& statistics, Route route) {
  absl::StrAppendFormat(&json, "\"%s\":{", std::string(route_name(route)));
  for (int path = 0; path < kCopyPathCount; ++path) {
    const auto copy_path = static_cast<CopyPath>(path);
    json += separator(path);
    append_path(json, copy_path_name(copy_path), statistics.at(route, copy_path));
  }
  json += "}";
}

}  // namespace

std::string_view route_name(Route route) {
  switch (route) {
    case Route::kCpu: return "cpu";
    case Route::kDma: return "dma";
    case Route::kEngine: return "engine";
    case Route::kSnapshot: return "snapshot";
  }
  return "unknown";
}

std::string_view copy_path_name(CopyPath path) {
  switch (path) {
    case CopyPath::kInline: return "inline";
    case CopyPath::kVector: return "vector";
    case CopyPath::kStream: return "stream";
  }
  return "unknown";
}

std::string statistics_json(const Statistics& statistics) {
  std::string json = "{\"routes\":{";
  for (int route = 0; route < kRouteCount; ++route) {
    json += separator(route);
    append_route(json, statistics, static_cast<Route>(route));
  }
  absl::StrAppendFormat(&json, "},\"leases\":%u}", statistics.leases);
  return json;
}

}  // namespace vm_mem
