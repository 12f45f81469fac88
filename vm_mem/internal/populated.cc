#include "vm_mem/internal/populated.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "vm_mem/internal/file_calls.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/internal/pagemap_scan.h"

namespace vm_mem::internal {
namespace {

// The pages that mincore() is asked about at a time.
constexpr std::size_t kMincorePages = 1 << 16;

void append(std::vector<ByteRun>& runs, std::uint64_t begin, std::uint64_t end) {
  if (!runs.empty() && runs.back().end == begin) {
    runs.back().end = end;
  } else {
    runs.push_back({.begin = begin, .end = end});
  }
}

// A file system's blocks may be smaller than pages.
void append_pages(std::vector<ByteRun>& runs, std::uint64_t begin, std::uint64_t end,
                  std::uint64_t bytes) {
  constexpr std::uint64_t kPage = 4096;
  begin -= begin % kPage;
  end = std::min((end + kPage - 1) / kPage * kPage, bytes);
  if (!runs.empty()) begin = std::max(begin, runs.back().end);
  if (begin < end) append(runs, begin, end);
}

bool host_has_swap() {
  struct sysinfo about = {};
  return ::sysinfo(&about) != 0 || about.totalswap != 0;
}

// Those that mincore() says are there; false where it refuses.
bool append_present(std::span<const std::byte> memory, std::vector<ByteRun>& runs) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> present(kMincorePages);
  for (std::size_t at = 0; at < memory.size(); at += kMincorePages * page) {
    const std::size_t bytes = std::min(kMincorePages * page, memory.size() - at);
    auto* const from = const_cast<std::byte*>(memory.data() + at);
    if (::mincore(from, bytes, present.data()) != 0) return false;
    for (std::size_t i = 0; i * page < bytes; ++i) {
      if ((present[i] & 1) != 0) append(runs, at + i * page, at + (i + 1) * page);
    }
  }
  return true;
}

}  // namespace

// Write protection (ForeignWriteTracker) leaves marks in the place of pages that nobody has
// touched. The kernel calls those swapped; without swap mincore() tells.
std::optional<std::vector<ByteRun>> populated_by_scan(std::span<const std::byte> memory) {
  const HostFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (pagemap.get() < 0) return std::nullopt;
  std::vector<ByteRun> runs;
  bool has_marks = false;
  constexpr PagemapQuery kPopulated{.any_of = kPageIsPresent | kPageIsSwapped};
  const int error =
      scan_pagemap(pagemap.get(), memory, kPopulated,
                   [&](std::uint64_t begin, std::uint64_t end, std::uint64_t categories) {
                     append(runs, begin, end);
                     has_marks = has_marks || (categories & kPageIsPresent) == 0;
                   });
  if (error != 0) return std::nullopt;
  return has_marks ? populated_by_mincore(memory).value_or(std::move(runs)) : std::move(runs);
}

// Looks for swap in the end: what was swapped out meanwhile is not there any more.
std::optional<std::vector<ByteRun>> populated_by_mincore(std::span<const std::byte> memory) {
  std::vector<ByteRun> runs;
  if (host_has_swap() || !append_present(memory, runs) || host_has_swap()) {
    return std::nullopt;
  }
  return runs;
}

std::vector<ByteRun> populated_private(std::span<const std::byte> memory) {
  if (auto runs = populated_by_scan(memory)) return *std::move(runs);
  if (auto runs = populated_by_mincore(memory)) return *std::move(runs);
  return {{.begin = 0, .end = memory.size()}};
}

// By a descriptor of its own: somebody may use the position of the other.
std::vector<ByteRun> populated_file(int fd, std::uint64_t offset, std::uint64_t bytes) {
  const std::vector<ByteRun> all = {{.begin = 0, .end = bytes}};
  const HostFd own(::open(name_of_descriptor(fd).c_str(), O_RDONLY | O_CLOEXEC));
  // What a file has lost is no hole: reading it tells.
  struct stat about = {};
  if (own.get() < 0 || ::fstat(own.get(), &about) != 0 ||
      static_cast<std::uint64_t>(about.st_size) < offset + bytes) {
    return all;
  }
  std::vector<ByteRun> runs;
  const std::uint64_t end = offset + bytes;
  for (std::uint64_t at = offset; at < end;) {
    const off_t data = ::lseek(own.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return runs;  // no more
    if (data < 0) return all;
    const auto from = static_cast<std::uint64_t>(data);
    if (from >= end) return runs;
    const off_t hole = ::lseek(own.get(), data, SEEK_HOLE);
    if (hole < 0) return all;
    at = std::min(static_cast<std::uint64_t>(hole), end);
    append_pages(runs, from - offset, at - offset, bytes);
  }
  return runs;
}

}  // namespace vm_mem::internal
