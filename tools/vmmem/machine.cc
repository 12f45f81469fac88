#include "tools/vmmem/machine.h"

#include <gnu/libc-version.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include <fmt/format.h>

namespace vmmem {
namespace {

constexpr std::string_view kPoolPrefix = "hugepages-";

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

std::uint64_t number_in(const std::string& path) {
  std::uint64_t number = 0;
  std::ifstream(path) >> number;
  return number;
}

// Of "hugepages-2048kB".
std::optional<std::size_t> pool_page_bytes(const std::string& name) {
  if (name.rfind(kPoolPrefix, 0) != 0) return std::nullopt;
  std::size_t kib = 0;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPoolPrefix.size(), end, kib);
  if (error != std::errc{} || std::string_view(rest) != "kB") return std::nullopt;
  return kib << 10;
}

std::string kernel_name() {
  utsname name{};
  return uname(&name) == 0 ? fmt::format("{} {}", name.sysname, name.release) : "unknown";
}

}  // namespace

std::string chosen_word(const std::string& line) {
  const std::size_t begin = line.find('[');
  const std::size_t end = line.find(']', begin);
  if (begin == std::string::npos || end == std::string::npos) return "absent";
  return line.substr(begin + 1, end - begin - 1);
}

std::vector<HugePagePool> read_pools(const std::string& folder) {
  std::vector<HugePagePool> pools;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const auto page_bytes = pool_page_bytes(entry.path().filename());
    if (!page_bytes) continue;
    pools.push_back({.page_bytes = *page_bytes,
                     .pages = number_in(entry.path() / "nr_hugepages"),
                     .free_pages = number_in(entry.path() / "free_hugepages")});
  }
  std::sort(pools.begin(), pools.end(),
            [](const auto& a, const auto& b) { return a.page_bytes < b.page_bytes; });
  return pools;
}

std::string saved_register_files(std::uint64_t xcr0) {
  struct File {
    std::uint64_t bits;
    const char* name;
  };
  // Source:  Intel SDM vol. 1, 13.3: XCR0.
  constexpr File kFiles[] = {
      {0x2, "SSE"}, {0x4, "YMM"}, {0x20, "mask"}, {0xc0, "ZMM"}, {0x60000, "AMX"}};
  std::string names;
  for (const File& file : kFiles) {
    if ((xcr0 & file.bits) != file.bits) continue;
    names += names.empty() ? file.name : fmt::format(", {}", file.name);
  }
  return names.empty() ? "nothing that XCR0 names" : names;
}

Machine look_at_machine() {
  return {.page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)),
          .transparent_huge_pages =
              chosen_word(first_line("/sys/kernel/mm/transparent_hugepage/enabled")),
          .pools = read_pools("/sys/kernel/mm/hugepages"),
          .libc = fmt::format("glibc {}", gnu_get_libc_version()),
          .kernel = kernel_name()};
}

}  // namespace vmmem
