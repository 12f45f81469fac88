#include "bench/vm_mem/snapshot/scratch_folder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "bench/harness/process.h"
#include "bench/peers/peer_file.h"
#include "bench/peers/snapshot_saves.h"

namespace vm_bench {
namespace {

namespace fs = std::filesystem;

// give_up() runs no destructor of its callers.
struct Leftovers {
  std::vector<std::string> folders;
  ~Leftovers() {
    std::error_code ignored;
    for (const std::string& folder : folders) fs::remove_all(folder, ignored);
  }
};

Leftovers& leftovers() {
  static Leftovers all;
  return all;
}

constexpr const char* kPrefix = "vm-bench-snapshot-";

// Folders of programs that were killed: nobody holds their locks any more.
void remove_abandoned() {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(scratch_place(), ignored)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    const int lock = ::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0) continue;
    if (::flock(lock, LOCK_EX | LOCK_NB) == 0) fs::remove_all(entry.path(), ignored);
    ::close(lock);
  }
}

std::uint64_t free_bytes() {
  struct statvfs about = {};
  if (::statvfs(scratch_place().c_str(), &about) != 0) return 0;
  return std::uint64_t{about.f_bavail} * about.f_frsize;
}

double gibibytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(std::uint64_t{1} << 30);
}

// Units:  pages of the page cache.
std::size_t cached_pages(const PeerFile& file) {
  const std::uint64_t bytes = file.bytes();
  void* const memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (memory == MAP_FAILED) give_up(fmt::format("mmap: {}", std::strerror(errno)));
  std::vector<unsigned char> pages((bytes + kGuestPage - 1) / kGuestPage);
  const bool known = ::mincore(memory, bytes, pages.data()) == 0;
  ::munmap(memory, bytes);
  if (!known) give_up(fmt::format("mincore: {}", std::strerror(errno)));
  return static_cast<std::size_t>(std::count_if(
      pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

}  // namespace

std::string scratch_place() { return fs::temp_directory_path().string(); }

ScratchFolder::ScratchFolder() : path_(scratch_place() + "/" + kPrefix + "XXXXXX") {
  remove_abandoned();
  if (::mkdtemp(path_.data()) == nullptr) {
    give_up(fmt::format("{}: {}", path_, std::strerror(errno)));
  }
  leftovers().folders.push_back(path_);
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0 || ::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    give_up(fmt::format("{}: flock: {}", path_, std::strerror(errno)));
  }
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  ::close(lock_);
}

void ScratchFolder::remove(const std::string& name) const { fs::remove(path_of(name)); }

void ScratchFolder::settle() const {
  const PeerFile folder(path_, O_RDONLY | O_DIRECTORY);
  if (::syncfs(folder.descriptor()) != 0) {
    give_up(fmt::format("{}: syncfs: {}", path_, std::strerror(errno)));
  }
}

std::string room_missing(std::uint64_t bytes) {
  if (free_bytes() >= bytes) return "";
  return fmt::format("{} has {:.1f} GiB of room, of {:.1f} that this takes (TMPDIR names another)",
                     scratch_place(), gibibytes(free_bytes()), gibibytes(bytes));
}

bool is_on_tmpfs() {
  struct statfs about = {};
  return ::statfs(scratch_place().c_str(), &about) == 0 && about.f_type == TMPFS_MAGIC;
}

std::string folder_setting() {
  struct statfs about = {};
  (void)::statfs(scratch_place().c_str(), &about);
  return fmt::format(R"({{"path":"{}","file_system":"{:#x}","free_gib":{:.1f}}})", scratch_place(),
                     static_cast<unsigned long>(about.f_type), gibibytes(free_bytes()));
}

void make_cold(const std::string& path) {
  PeerFile file(path, O_RDONLY);
  std::size_t left = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    file.sync();
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    left = cached_pages(file);
    if (left == 0) return;
  }
  give_up(fmt::format("{}: {} pages stay in the page cache", path, left));
}

void make_hot(const std::string& path) {
  const PeerFile file(path, O_RDONLY);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  file.each_extent([&](std::uint64_t begin, std::uint64_t end) {
    for (; begin < end; begin += buffer.size()) {
      const auto bytes = std::min<std::uint64_t>(end - begin, buffer.size());
      file.read_at(std::span(buffer).first(bytes), begin);
    }
  });
}

}  // namespace vm_bench
