// What the host did with a piece of memory, as /proc and the kernel tell it.
#ifndef TESTS_SUPPORT_HOST_PROBES_H_
#define TESTS_SUPPORT_HOST_PROBES_H_

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace vm_test {

inline std::size_t page_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

inline int open_descriptors() {
  DIR* folder = ::opendir("/proc/self/fd");
  int count = 0;
  while (folder != nullptr && ::readdir(folder) != nullptr) ++count;
  if (folder != nullptr) ::closedir(folder);
  return count;
}

// Whether the mapping exists, accessible or not.
inline bool is_mapped(const std::byte* page) {
  unsigned char resident = 0;
  return ::mincore(const_cast<std::byte*>(page), 1, &resident) == 0 || errno != ENOMEM;
}

// Whether a load there would succeed; asked of the kernel, so that nothing faults.
inline bool is_readable(const std::byte* at) {
  int ends[2];
  if (::pipe(ends) != 0) return false;
  const bool readable = ::write(ends[1], at, 1) == 1;
  ::close(ends[0]);
  ::close(ends[1]);
  return readable;
}

inline std::size_t resident_pages(std::span<const std::byte> memory) {
  std::vector<unsigned char> resident(memory.size() / page_bytes());
  if (::mincore(const_cast<std::byte*>(memory.data()), memory.size(), resident.data()) != 0) {
    return 0;
  }
  return static_cast<std::size_t>(std::count_if(
      resident.begin(), resident.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

// The flags of the mapping at `at`, as /proc/self/smaps writes them ("rd wr mr ..");
// empty where it does not tell.
inline std::string vm_flags(const std::byte* at) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(at);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      inside = begin <= wanted && wanted < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return line.substr(8) + " ";
    }
  }
  return "";
}

inline bool has_flag(const std::byte* at, const std::string& flag) {
  return vm_flags(at).find(" " + flag + " ") != std::string::npos;
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_HOST_PROBES_H_
