// A file or a folder with a path, gone at the end of the test.
#ifndef TESTS_SUPPORT_TEMPORARY_FILE_H_
#define TESTS_SUPPORT_TEMPORARY_FILE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace vm_test {

inline std::vector<std::byte> file_bytes(const std::string& path) {
  std::vector<std::byte> bytes(std::filesystem::file_size(path));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content)
      : TemporaryFile(std::as_bytes(std::span(content))) {}
  explicit TemporaryFile(std::span<const std::byte> content)
      : path_(testing::TempDir() + "vm_XXXXXX") {
    const int fd = ::mkstemp(path_.data());
    EXPECT_GE(fd, 0) << path_;
    EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    ::close(fd);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }

  const std::string& path() const { return path_; }

  std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void resize(std::size_t bytes) const {
    EXPECT_EQ(::truncate(path_.c_str(), static_cast<off_t>(bytes)), 0);
  }

 private:
  std::string path_;
};

class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& parent = testing::TempDir())
      : path_(parent + "vm_XXXXXX") {
    EXPECT_NE(::mkdtemp(path_.data()), nullptr) << path_;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Where a test that makes many files, and brings each to the disk, does not wait for one.
inline std::string memory_folder() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : testing::TempDir();
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_TEMPORARY_FILE_H_
