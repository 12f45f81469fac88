#include "bench/vm_mem/snapshot/limits.h"

#include <fmt/core.h>

#include <fstream>

#include "bench/vm_mem/snapshot/scratch_folder.h"

namespace vm_bench {
namespace {

constexpr std::size_t kQuickRounds = 3;

std::uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) << 10;
  }
  return 0;
}

}  // namespace

std::uint64_t guest_bytes(const Session& session) {
  return session.options().quick ? std::uint64_t{64} << 20 : std::uint64_t{4} << 30;
}

std::size_t rounds_of(const Session& session, std::size_t usual) {
  if (session.options().rounds != 0) return session.options().rounds;
  return session.options().quick ? kQuickRounds : usual;
}

std::string host_missing(const Session& session) {
  // The guest, what is warmed for the page cache, and the page cache.
  const std::uint64_t memory = guest_bytes(session) * 5 / 2;
  if (available_memory() < memory) {
    return fmt::format("{:.1f} GiB of memory are available, of {:.1f} that this takes",
                       static_cast<double>(available_memory()) / 0x1p30,
                       static_cast<double>(memory) / 0x1p30);
  }
  return room_missing(3 * guest_bytes(session));
}

std::string cold_files_missing() {
  return is_on_tmpfs() ? "the files of a tmpfs are always in memory (TMPDIR names another folder)"
                       : "";
}

}  // namespace vm_bench
