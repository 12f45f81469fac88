// A file with a path, gone at the end of the test.
#ifndef TESTS_SUPPORT_TEMPORARY_FILE_H_
#define TESTS_SUPPORT_TEMPORARY_FILE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>

namespace vm_test {

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content) : path_(testing::TempDir() + "vm_XXXXXX") {
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

}  // namespace vm_test

#endif  // TESTS_SUPPORT_TEMPORARY_FILE_H_
