// What the host did with a piece of memory, as /proc and the kernel tell it.
#ifndef TESTS_SUPPORT_HOST_PROBES_H_
#define TESTS_SUPPORT_HOST_PROBES_H_

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
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

// The line of /proc/self/`file` that begins with the range of the mapping at `at`, and the
// lines after it up to the next range; empty where nothing is mapped there.
inline std::string mapping_entry(const char* file, const std::byte* at) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(at);
  std::ifstream maps(std::string("/proc/self/") + file);
  std::string entry;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      inside = begin <= wanted && wanted < end;
    }
    if (inside) entry += line + "\n";
  }
  return entry;
}

// Whether the mapping exists, accessible or not.
inline bool is_mapped(const std::byte* page) { return !mapping_entry("maps", page).empty(); }

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

// Whether smaps shows a flag, two letters, of the mapping at `at`.
inline bool has_flag(const std::byte* at, const std::string& flag) {
  const std::string entry = mapping_entry("smaps", at);
  const std::size_t flags = entry.find("VmFlags:");
  return flags != std::string::npos && entry.find(" " + flag + " ", flags) != std::string::npos;
}

// Emulators of other processors, and some sandboxes, accept an advice and do nothing.
inline bool advice_reaches_the_host() {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  void* page = ::mmap(nullptr, page_bytes(), PROT_READ, kFlags, -1, 0);
  const bool reaches = page != MAP_FAILED && ::madvise(page, page_bytes(), MADV_DONTDUMP) == 0 &&
                       has_flag(static_cast<const std::byte*>(page), "dd");
  if (page != MAP_FAILED) ::munmap(page, page_bytes());
  return reaches;
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_HOST_PROBES_H_
