#include "bench/peers/peer_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "bench/harness/process.h"

namespace vm_bench {

bool takes_direct(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
  if (descriptor >= 0) ::close(descriptor);
  return descriptor >= 0;
}

PeerFile::PeerFile(std::string path, int flags)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), flags | O_CLOEXEC, 0600)) {
  if (descriptor_ < 0) give_up_on("open");
}

PeerFile::~PeerFile() { ::close(descriptor_); }

std::uint64_t PeerFile::bytes() const {
  struct stat about = {};
  if (::fstat(descriptor_, &about) != 0) give_up_on("fstat");
  return static_cast<std::uint64_t>(about.st_size);
}

void PeerFile::resize(std::uint64_t bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) give_up_on("ftruncate");
}

void PeerFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor_, bytes.data(), bytes.size());
    if (done <= 0) give_up_on("write");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void PeerFile::skip(std::uint64_t bytes) {
  if (::lseek(descriptor_, static_cast<off_t>(bytes), SEEK_CUR) < 0) give_up_on("lseek");
}

void PeerFile::write_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t done =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done <= 0) give_up_on("pwrite");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
}

void PeerFile::read_at(std::span<std::byte> bytes, std::uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t done =
        ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done <= 0) give_up_on("pread");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
}

void PeerFile::sync() {
  if (::fsync(descriptor_) != 0) give_up_on("fsync");
}

bool PeerFile::next_extent(std::uint64_t& begin, std::uint64_t& end) const {
  const off_t data = ::lseek(descriptor_, static_cast<off_t>(end), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return false;
  const off_t hole = data < 0 ? data : ::lseek(descriptor_, data, SEEK_HOLE);
  if (hole < 0) give_up_on("SEEK_DATA");
  begin = static_cast<std::uint64_t>(data);
  end = static_cast<std::uint64_t>(hole);
  return true;
}

void PeerFile::give_up_on(const char* what) const {
  give_up(fmt::format("{}: {}: {}", path_, what, std::strerror(errno)));
}

}  // namespace vm_bench
