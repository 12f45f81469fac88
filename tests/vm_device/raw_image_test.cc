#include "vm_device/raw_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/temporary_file.h"

namespace {

int interruptions = 0;
int fallocate_error = 0;
std::function<void()> after_look, after_truncation;  // once each

}  // namespace

// These take libc's place in this binary.
extern "C" int fdatasync(int file) {
  if (interruptions > 0) {
    --interruptions;
    errno = EINTR;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, file));
}

extern "C" int fallocate(int file, int mode, off_t offset, off_t bytes) {
  if (fallocate_error != 0) {
    errno = fallocate_error;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fallocate, file, mode, offset, bytes));
}

extern "C" off_t lseek(int file, off_t offset, int whence) noexcept {
  const off_t result = ::syscall(SYS_lseek, file, offset, whence);
  if (const auto hook = std::exchange(after_look, nullptr); hook != nullptr) hook();
  return result;
}

extern "C" int ftruncate(int file, off_t bytes) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_ftruncate, file, bytes));
  if (const auto hook = std::exchange(after_truncation, nullptr); hook != nullptr) hook();
  return result;
}

namespace vm_device {
namespace {

// Lets another thread do something now, as far as it gets: it may be that it has to wait for
// this one.
class Meanwhile {
 public:
  void operator()(std::function<void()> work) {
    thread_ = std::thread([this, work] {
      work();
      done_ = true;
    });
    for (int patience = 0; patience < 2'000 && !done_; ++patience) std::this_thread::yield();
  }
  void join() { thread_.join(); }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

class RawImageTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.file(name); }
  std::string file(const std::string& name, std::size_t bytes) const {
    std::ofstream(path(name)) << std::string(bytes, 'x');
    return path(name);
  }
  blkcnt_t blocks(const std::string& name) const {
    struct stat status = {};
    EXPECT_EQ(::stat(path(name).c_str(), &status), 0);
    return status.st_blocks;
  }
  static void expect_refused(const std::string& path, ImageAccess access, absl::StatusCode code,
                             const std::string& reason) {
    const auto image = RawImage::open(path, access);
    EXPECT_EQ(image.status().code(), code);
    EXPECT_EQ(std::string(image.status().message()), path + ": " + reason);
  }

 private:
  vm_test::TemporaryFolder folder_;
};

TEST_F(RawImageTest, WhatIsWrittenIsRead) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ((*image)->bytes(), 4096u);
  std::array<std::byte, 512> out{}, in{};
  out.fill(std::byte{'a'});
  EXPECT_EQ((*image)->write_at(512, out), 0);
  EXPECT_EQ((*image)->flush(), 0);
  EXPECT_EQ((*image)->read_at(512, in), 0);
  EXPECT_EQ(in, out);
  EXPECT_EQ((*image)->read_at(0, in), 0);
  EXPECT_EQ(in[511], std::byte{'x'});
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 4096u);
}

TEST_F(RawImageTest, AFlushThatASignalInterruptsGoesOn) {
  auto image = RawImage::open(file("disk", 512), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok()) << image.status();
  interruptions = 2;
  EXPECT_EQ((*image)->flush(), 0);
  EXPECT_EQ(interruptions, 0);
}

TEST_F(RawImageTest, AMissingFileIsNamed) {
  expect_refused(path("none"), ImageAccess::kReadWrite, absl::StatusCode::kNotFound,
                 "No such file or directory");
}

TEST_F(RawImageTest, ADirectoryIsNoDisk) {
  for (const ImageAccess access : {ImageAccess::kReadOnly, ImageAccess::kReadWrite}) {
    expect_refused(path(""), access, absl::StatusCode::kInvalidArgument, "Is a directory");
  }
}

TEST_F(RawImageTest, AFifoIsNoDiskAndIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  expect_refused(path("fifo"), ImageAccess::kReadOnly, absl::StatusCode::kInvalidArgument,
                 "Not a regular file or block device");
}

TEST_F(RawImageTest, AnEmptyFileIsRefused) {
  expect_refused(file("empty", 0), ImageAccess::kReadWrite, absl::StatusCode::kInvalidArgument,
                 "The image is empty");
}

TEST_F(RawImageTest, ASizeThatIsNoNumberOfSectorsIsRefused) {
  expect_refused(file("odd", 1000), ImageAccess::kReadWrite, absl::StatusCode::kInvalidArgument,
                 "The size of 1000 bytes is not a multiple of 512");
}

TEST_F(RawImageTest, AnUnreadableFileIsRefused) {
  const std::string disk = file("secret", 512);
  ASSERT_EQ(::chmod(disk.c_str(), 0), 0);
  ASSERT_EQ(::chmod(path("").c_str(), 0755), 0);
  // Root reads everything: be nobody for a moment.
  const bool root = ::geteuid() == 0;
  ASSERT_EQ(::seteuid(root ? 65534 : ::geteuid()), 0);
  expect_refused(disk, ImageAccess::kReadOnly, absl::StatusCode::kPermissionDenied,
                 "Permission denied");
  ASSERT_EQ(::seteuid(root ? 0 : ::geteuid()), 0);
}

TEST_F(RawImageTest, AFileTheHostWillNotWriteIsRefused) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const int writable = ::open(self.c_str(), O_WRONLY | O_CLOEXEC);
  if (writable >= 0) {
    ::close(writable);
    GTEST_SKIP() << "an emulator runs this program: its file is not busy";
  }
  expect_refused(self, ImageAccess::kReadWrite, absl::StatusCode::kPermissionDenied,
                 "Text file busy");
}

TEST_F(RawImageTest, TwoWritersAreRefused) {
  const std::string disk = file("disk", 512);
  auto first = RawImage::open(disk, ImageAccess::kReadWrite);
  ASSERT_TRUE(first.ok());
  expect_refused(disk, ImageAccess::kReadWrite, absl::StatusCode::kFailedPrecondition,
                 "The image is in use (locked)");
  expect_refused(disk, ImageAccess::kReadOnly, absl::StatusCode::kFailedPrecondition,
                 "The image is in use (locked)");
  first->reset();
  EXPECT_TRUE(RawImage::open(disk, ImageAccess::kReadWrite).ok());
}

TEST_F(RawImageTest, ReadersShareTheImage) {
  const std::string disk = file("disk", 512);
  const auto first = RawImage::open(disk, ImageAccess::kReadOnly);
  const auto second = RawImage::open(disk, ImageAccess::kReadOnly);
  EXPECT_TRUE(first.ok());
  EXPECT_TRUE(second.ok());
  EXPECT_FALSE(RawImage::open(disk, ImageAccess::kReadWrite).ok());
}

TEST_F(RawImageTest, ARefusedImageIsLeftUnlocked) {
  const std::string odd = file("odd", 1000);
  EXPECT_FALSE(RawImage::open(odd, ImageAccess::kReadWrite).ok());
  std::filesystem::resize_file(odd, 1024);
  EXPECT_TRUE(RawImage::open(odd, ImageAccess::kReadWrite).ok());
}

TEST_F(RawImageTest, ALockByCallPassesFromOneWriterToTheNext) {
  const std::string disk = file("disk", 512);
  auto first = RawImage::open(disk, ImageAccess::kReadWrite, ImageLock::kByCall);
  auto second = RawImage::open(disk, ImageAccess::kReadWrite, ImageLock::kByCall);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE((*first)->lock().ok());
  EXPECT_TRUE((*first)->lock().ok());
  EXPECT_EQ((*second)->lock(),
            absl::FailedPreconditionError(disk + ": The image is in use (locked)"));
  expect_refused(disk, ImageAccess::kReadWrite, absl::StatusCode::kFailedPrecondition,
                 "The image is in use (locked)");
  ASSERT_TRUE((*first)->resize(1024).ok());
  (*first)->unlock();
  EXPECT_EQ((*second)->bytes(), 512u);
  EXPECT_TRUE((*second)->lock().ok());
  EXPECT_EQ((*second)->bytes(), 1024u);
  EXPECT_FALSE((*first)->lock().ok());
}

TEST_F(RawImageTest, AnImageOfNoSizeIsNotLocked) {
  const std::string disk = file("disk", 512);
  auto image = RawImage::open(disk, ImageAccess::kReadWrite, ImageLock::kByCall);
  ASSERT_TRUE(image.ok());
  std::filesystem::resize_file(disk, 700);
  EXPECT_EQ((*image)->lock().code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::resize_file(disk, 512);
  EXPECT_TRUE(RawImage::open(disk, ImageAccess::kReadWrite).ok());
}

TEST_F(RawImageTest, ATruncatedFileReadsAsAnError) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  std::filesystem::resize_file(path("disk"), 700);
  std::array<std::byte, 512> in{};
  EXPECT_EQ((*image)->read_at(0, in), 0);
  EXPECT_EQ((*image)->read_at(512, in), EIO);
  EXPECT_EQ((*image)->read_at(2048, in), EIO);
}

TEST_F(RawImageTest, AWriteDoesNotMakeATruncatedFileLongerAgain) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  std::filesystem::resize_file(path("disk"), 700);
  const std::array<std::byte, 512> out{};
  EXPECT_EQ((*image)->write_at(0, out), 0);
  EXPECT_EQ((*image)->write_at(512, out), EIO);
  EXPECT_EQ((*image)->write_at(2048, out), EIO);
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 700u);
}

TEST_F(RawImageTest, AWriteToAReadOnlyImageIsTheHostsError) {
  auto image = RawImage::open(file("disk", 512), ImageAccess::kReadOnly);
  ASSERT_TRUE(image.ok());
  const std::array<std::byte, 512> out{};
  EXPECT_EQ((*image)->write_at(0, out), EBADF);
}

TEST_F(RawImageTest, ADiscardedRangeBecomesAHole) {
  auto image = RawImage::open(file("disk", 1 << 20), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  EXPECT_TRUE((*image)->can_discard());
  EXPECT_EQ((*image)->flush(), 0);
  const auto before = blocks("disk");
  EXPECT_EQ((*image)->discard(4096, 512 << 10), 0);
  EXPECT_LT(blocks("disk"), before);
  std::array<std::byte, 512> in{};
  EXPECT_EQ((*image)->read_at(4096, in), 0);
  EXPECT_EQ(in[0], std::byte{0});
  EXPECT_EQ((*image)->read_at(3584, in), 0);
  EXPECT_EQ(in[511], std::byte{'x'});
  EXPECT_EQ((*image)->discard(0, 0), 0);
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 1u << 20);
}

TEST_F(RawImageTest, ZeroedRangesReadAsZerosAndKeepTheirSpaceIfTheyMust) {
  auto image = RawImage::open(file("disk", 1 << 20), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  EXPECT_EQ((*image)->flush(), 0);
  const auto before = blocks("disk");
  EXPECT_EQ((*image)->write_zeroes(512, 300 << 10, ZeroSpace::kKeep), 0);
  EXPECT_EQ((*image)->flush(), 0);
  EXPECT_GE(blocks("disk"), before);
  EXPECT_EQ((*image)->write_zeroes(512 << 10, 300 << 10, ZeroSpace::kMayFree), 0);
  std::vector<std::byte> in(1 << 20);
  EXPECT_EQ((*image)->read_at(0, in), 0);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const bool zeroed =
        (i >= 512 && i < 512 + (300u << 10)) || (i >= (512u << 10) && i < (812u << 10));
    ASSERT_EQ(in[i], zeroed ? std::byte{0} : std::byte{'x'}) << i;
  }
}

// A tmpfs has holes and cannot zero a range: the zeros are written.
TEST_F(RawImageTest, WhereTheFileSystemCannotZeroTheZerosAreWritten) {
  const std::string memory = "/proc/self/fd/" + std::to_string(::memfd_create("disk", MFD_CLOEXEC));
  std::ofstream(memory) << std::string(256 << 10, 'x');
  auto image = RawImage::open(memory, ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ((*image)->write_zeroes(512, 200 << 10, ZeroSpace::kKeep), 0);
  std::vector<std::byte> in(256 << 10);
  EXPECT_EQ((*image)->read_at(0, in), 0);
  EXPECT_EQ(std::count(in.begin(), in.end(), std::byte{0}), 200 << 10);
  EXPECT_EQ(in[511], std::byte{'x'});
  EXPECT_EQ(in[512 + (200 << 10)], std::byte{'x'});
}

TEST_F(RawImageTest, ZeroingAndDiscardingDoNotMakeATruncatedFileLongerAgain) {
  auto image = RawImage::open(file("disk", 8192), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  std::filesystem::resize_file(path("disk"), 4096);
  const auto before = blocks("disk");
  EXPECT_EQ((*image)->discard(4096, 512), EIO);
  EXPECT_EQ((*image)->write_zeroes(2048, 4096, ZeroSpace::kKeep), EIO);
  EXPECT_EQ((*image)->write_zeroes(2048, 4096, ZeroSpace::kMayFree), EIO);
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 4096u);
  EXPECT_EQ(blocks("disk"), before);
}

TEST_F(RawImageTest, ResizedItAnnouncesItsSize) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  std::vector<std::uint64_t> announced;
  (*image)->set_resize_listener([&] { announced.push_back((*image)->bytes()); });
  EXPECT_TRUE((*image)->resize(8192).ok());
  EXPECT_TRUE((*image)->resize(8192).ok());
  EXPECT_TRUE((*image)->resize(1024).ok());
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 1024u);
  std::filesystem::resize_file(path("disk"), 2048);
  EXPECT_EQ((*image)->bytes(), 1024u);
  EXPECT_TRUE((*image)->refresh_size().ok());
  EXPECT_EQ(announced, (std::vector<std::uint64_t>{8192, 1024, 2048}));
  (*image)->set_resize_listener(nullptr);
  EXPECT_TRUE((*image)->resize(512).ok());
  EXPECT_EQ(announced.size(), 3u);
}

TEST_F(RawImageTest, TheSizeIsTheFilesWhenTwoResizeAtOnce) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  Meanwhile other;
  after_truncation = [&] { other([&] { EXPECT_TRUE((*image)->resize(1024).ok()); }); };
  EXPECT_TRUE((*image)->resize(8192).ok());
  other.join();
  EXPECT_EQ((*image)->bytes(), std::filesystem::file_size(path("disk")));
}

TEST_F(RawImageTest, TheSizeIsTheFilesWhenItIsResizedWhileItIsLookedAt) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  Meanwhile other;
  after_look = [&] { other([&] { EXPECT_TRUE((*image)->resize(1024).ok()); }); };
  EXPECT_TRUE((*image)->refresh_size().ok());
  other.join();
  EXPECT_EQ((*image)->bytes(), 1024u);
}

TEST_F(RawImageTest, AWriteDoesNotMakeAnImageLongerThatIsBeingResized) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  Meanwhile other;
  after_look = [&] { other([&] { EXPECT_TRUE((*image)->resize(1024).ok()); }); };
  EXPECT_EQ((*image)->write_at(2048, std::array<std::byte, 512>{}), 0);
  other.join();
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 1024u);
}

// File systems, block devices and sandboxes each have their own way to say it.
TEST_F(RawImageTest, WhereTheHostHasNoHolesZerosAreWrittenAndNothingIsDiscarded) {
  auto image = RawImage::open(file("disk", 8192), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  std::uint64_t at = 0;
  for (const int error : {EOPNOTSUPP, EINVAL, ENOSYS}) {
    fallocate_error = error;
    EXPECT_EQ((*image)->discard(4096, 512), 0) << error;
    EXPECT_EQ((*image)->write_zeroes(at, 512, ZeroSpace::kKeep), 0) << error;
    EXPECT_EQ((*image)->write_zeroes(at + 512, 512, ZeroSpace::kMayFree), 0) << error;
    at += 1024;
  }
  fallocate_error = ENOSPC;
  EXPECT_EQ((*image)->write_zeroes(0, 512, ZeroSpace::kKeep), ENOSPC);
  EXPECT_EQ((*image)->discard(0, 512), ENOSPC);
  fallocate_error = 0;
  std::vector<std::byte> in(8192);
  EXPECT_EQ((*image)->read_at(0, in), 0);
  EXPECT_EQ(std::count(in.begin(), in.end(), std::byte{0}), 3072);
  EXPECT_EQ(in[3072], std::byte{'x'});
}

TEST_F(RawImageTest, ASizeThatIsNoDisksIsRefusedAndNothingChanges) {
  auto image = RawImage::open(file("disk", 4096), ImageAccess::kReadWrite);
  ASSERT_TRUE(image.ok());
  EXPECT_EQ((*image)->resize(0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*image)->resize(1000).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*image)->resize(UINT64_MAX - 511).code(), absl::StatusCode::kUnavailable);
  std::filesystem::resize_file(path("disk"), 700);
  EXPECT_EQ((*image)->refresh_size().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*image)->bytes(), 4096u);
  image->reset();
  std::filesystem::resize_file(path("disk"), 1024);
  auto reader = RawImage::open(path("disk"), ImageAccess::kReadOnly);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ((*reader)->resize(2048).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(std::filesystem::file_size(path("disk")), 1024u);
}

}  // namespace
}  // namespace vm_device
