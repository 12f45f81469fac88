// Memory of a front end's, in a file that a back end maps, too.
#ifndef TESTS_VM_DEVICE_SHARED_FILE_H_
#define TESTS_VM_DEVICE_SHARED_FILE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <span>

namespace vm_device {

class SharedFile {
 public:
  // Nobody can cut off one that is sealed.
  explicit SharedFile(std::size_t bytes, bool sealed = false)
      : fd_(::memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING)), bytes_(bytes) {
    EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(bytes)), 0);
    if (sealed) {
      EXPECT_EQ(::fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    }
    view_ =
        static_cast<std::byte*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  ~SharedFile() {
    ::munmap(view_, bytes_);
    ::close(fd_);
  }

  int fd() const { return fd_; }
  std::span<std::byte> bytes() const { return {view_, bytes_}; }
  void cut(std::size_t bytes) { EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(bytes)), 0); }

 private:
  int fd_;
  std::size_t bytes_;
  std::byte* view_ = nullptr;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_SHARED_FILE_H_
