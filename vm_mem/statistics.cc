#include "vm_mem/statistics.h"

namespace vm_mem {

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

}  // namespace vm_mem
