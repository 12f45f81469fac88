#include "vm_mem/internal/cpu_identity.h"

#include <fstream>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

constexpr int kMostCaches = 16;

std::string first_word(const std::string& path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

// "48K", "32768K" or "1M".
std::size_t kernel_size(const std::string& text) {
  std::size_t number = 0;
  std::size_t i = 0;
  for (; i < text.size() && i < 9 && text[i] >= '0' && text[i] <= '9'; ++i) {
    number = 10 * number + static_cast<std::size_t>(text[i] - '0');
  }
  const std::string unit = text.substr(i);
  if (unit == "K") return number << 10;
  if (unit == "M") return number << 20;
  return unit.empty() ? number : 0;
}

}  // namespace

CacheSizes read_cache_folder(const std::string& folder) {
  CacheSizes found;
  for (int i = 0; i < kMostCaches; ++i) {
    const std::string cache = absl::StrFormat("%s/index%d/", folder, i);
    const std::string level = first_word(cache + "level");
    if (level.empty()) break;
    if (first_word(cache + "type") == "Instruction") continue;
    const std::size_t bytes = kernel_size(first_word(cache + "size"));
    if (level == "1") found.l1d = bytes;
    if (level == "2") found.l2 = bytes;
    if (level == "3") found.l3 = bytes;
    if (level == "1") found.line = kernel_size(first_word(cache + "coherency_line_size"));
  }
  return found;
}

HostCpu with_caches_of_kernel(HostCpu cpu) {
  CacheSizes& caches = cpu.caches;
  if (caches.l1d != 0 && caches.l2 != 0 && caches.l3 != 0 && caches.line != 0) return cpu;
  const CacheSizes kernel = read_cache_folder("/sys/devices/system/cpu/cpu0/cache");
  if (caches.l1d == 0) caches.l1d = kernel.l1d;
  if (caches.l2 == 0) caches.l2 = kernel.l2;
  if (caches.l3 == 0) caches.l3 = kernel.l3;
  if (caches.line == 0) caches.line = kernel.line;
  return cpu;
}

}  // namespace vm_mem::internal
