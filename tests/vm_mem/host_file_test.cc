#include "vm_mem/host_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "tests/support/host_probes.h"
#include "tests/support/temporary_file.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/host_memory_fd.h"

namespace vm_mem {
namespace {

using internal::HostFd;
using vm_test::open_descriptors;
using vm_test::TemporaryFile;

constexpr std::size_t kBytes = 0x40000;

std::string text_at(const HostMapping& mapping, std::size_t offset, std::size_t bytes) {
  return {reinterpret_cast<const char*>(mapping.bytes().data()) + offset, bytes};
}

void put(HostMapping& mapping, std::size_t offset, const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    mapping.bytes()[offset + i] = static_cast<std::byte>(text[i]);
  }
}

void expect_refused(const absl::StatusOr<HostMapping>& mapping, absl::StatusCode code,
                    const std::string& part) {
  EXPECT_EQ(mapping.status().code(), code) << mapping.status();
  EXPECT_NE(std::string(mapping.status().message()).find(part), std::string::npos)
      << mapping.status();
}

class HostFileTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(open_descriptors(), descriptors_); }

  HostFile named(FileSharing sharing = FileSharing::kShared,
                 FileAccess access = FileAccess::kReadWrite) const {
    return {.path = file_.path(), .sharing = sharing, .access = access};
  }

  TemporaryFile file_{std::string(kBytes, 'f')};
  const int descriptors_ = open_descriptors();
};

TEST_F(HostFileTest, SharedMemoryIsTheFile) {
  HostMapping mapping = HostMapping::file(kBytes, named()).value();
  EXPECT_EQ(text_at(mapping, 0x123, 3), "fff");
  put(mapping, 0x20, "guest");
  EXPECT_EQ(file_.content().substr(0x20, 5), "guest");
  EXPECT_GE(mapping.fd(), 0);
  EXPECT_TRUE(mapping.writable());
}

TEST_F(HostFileTest, PrivateMemoryStaysHere) {
  HostMapping mapping = HostMapping::file(kBytes, named(FileSharing::kPrivate)).value();
  EXPECT_EQ(text_at(mapping, 0x123, 3), "fff");
  put(mapping, 0x20, "guest");
  EXPECT_EQ(text_at(mapping, 0x20, 5), "guest");
  EXPECT_EQ(file_.content(), std::string(kBytes, 'f'));
  EXPECT_EQ(mapping.fd(), -1);
}

TEST_F(HostFileTest, TheOffsetIsWhereTheMemoryBegins) {
  HostFile later = named();
  later.offset = 0x20000;
  HostMapping mapping = HostMapping::file(0x10000, later).value();
  EXPECT_EQ(mapping.fd_offset(), 0x20000u);
  put(mapping, 1, "x");
  EXPECT_EQ(file_.content()[0x20001], 'x');
}

TEST_F(HostFileTest, ADescriptorStaysTheCallers) {
  const HostFd own(::open(file_.path().c_str(), O_RDWR));
  {
    HostMapping mapping = HostMapping::file(kBytes, {.fd = own.get()}).value();
    EXPECT_NE(mapping.fd(), own.get());
    put(mapping, 0, "through");
  }
  EXPECT_NE(::fcntl(own.get(), F_GETFD), -1);
  EXPECT_EQ(file_.content().substr(0, 7), "through");
}

TEST_F(HostFileTest, AFileThatMayOnlyBeReadServesPrivateAndReadOnlyMemory) {
  const HostFd own(::open(file_.path().c_str(), O_RDONLY));
  HostMapping copy =
      HostMapping::file(kBytes, {.fd = own.get(), .sharing = FileSharing::kPrivate}).value();
  put(copy, 0, "mine");
  const HostMapping rom =
      HostMapping::file(kBytes, {.fd = own.get(), .access = FileAccess::kReadOnly}).value();
  EXPECT_FALSE(rom.writable());
  EXPECT_EQ(text_at(rom, 0, 4), "ffff");
  expect_refused(HostMapping::file(kBytes, {.fd = own.get()}), absl::StatusCode::kPermissionDenied,
                 "may not be written");
}

// In a child, which gives up the privilege to write any file.
[[noreturn]] void exit_with_what_opening_says(const std::string& path) {
  if (::chmod(path.c_str(), 0444) != 0 || (::geteuid() == 0 && ::setuid(65534) != 0)) {
    std::_Exit(2);
  }
  const absl::Status written = HostMapping::file(kBytes, {.path = path}).status();
  const bool clear = absl::IsPermissionDenied(written) &&
                     written.message().find(path + " may not be written (errno 13)") == 0;
  const HostFile copy = {.path = path, .sharing = FileSharing::kPrivate};
  const HostFile rom = {.path = path, .access = FileAccess::kReadOnly};
  const bool read = HostMapping::file(kBytes, copy).ok() && HostMapping::file(kBytes, rom).ok();
  std::_Exit(clear && read ? 0 : 1);
}

TEST_F(HostFileTest, AReadOnlyFileIsRefusedForSharedWritableMemoryAlone) {
  EXPECT_EXIT(exit_with_what_opening_says(file_.path()), testing::ExitedWithCode(0), "");
}

TEST_F(HostFileTest, ReadOnlyMemoryCannotBeWritten) {
  for (const FileSharing sharing : {FileSharing::kShared, FileSharing::kPrivate}) {
    HostMapping rom = HostMapping::file(kBytes, named(sharing, FileAccess::kReadOnly)).value();
    EXPECT_DEATH(rom.bytes()[0] = std::byte{1}, "");
    EXPECT_EQ(rom.discard(0, kBytes).code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(HostFileTest, RefusesADescriptorThatCannotBeRead) {
  for (const int mode : {O_WRONLY, O_PATH}) {
    const HostFd own(::open(file_.path().c_str(), mode));
    for (const FileSharing sharing : {FileSharing::kShared, FileSharing::kPrivate}) {
      EXPECT_EQ(HostMapping::file(kBytes, {.fd = own.get(), .sharing = sharing}).status().code(),
                absl::StatusCode::kPermissionDenied);
    }
  }
  expect_refused(HostMapping::file(kBytes, {.fd = 9999}), absl::StatusCode::kInvalidArgument,
                 "descriptor 9999 is not open");
}

TEST_F(HostFileTest, RefusesAMemfdThatIsSealedAgainstWrites) {
  const HostFd sealed(::memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(sealed.get(), kBytes), 0);
  ASSERT_EQ(::fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(HostMapping::file(kBytes, {.fd = sealed.get()}).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(HostFileTest, RefusesWhatIsNotAFile) {
  expect_refused(HostMapping::file(kBytes, {.path = file_.path() + ".none"}),
                 absl::StatusCode::kNotFound, "there is no file " + file_.path() + ".none");
  expect_refused(HostMapping::file(kBytes, {.path = file_.path() + "/below"}),
                 absl::StatusCode::kNotFound, "errno 20");
  for (const FileSharing sharing : {FileSharing::kShared, FileSharing::kPrivate}) {
    expect_refused(HostMapping::file(kBytes, {.path = testing::TempDir(), .sharing = sharing}),
                   absl::StatusCode::kInvalidArgument, "is a directory");
    expect_refused(HostMapping::file(kBytes, {.path = "/dev/zero", .sharing = sharing}),
                   absl::StatusCode::kInvalidArgument, "not a regular file");
  }
}

TEST_F(HostFileTest, RefusesAFifoWithoutWaitingForItsOtherEnd) {
  const std::string path = file_.path() + ".fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  for (const FileSharing sharing : {FileSharing::kShared, FileSharing::kPrivate}) {
    expect_refused(HostMapping::file(kBytes, {.path = path, .sharing = sharing}),
                   absl::StatusCode::kInvalidArgument, "not a regular file");
  }
  ::unlink(path.c_str());
}

TEST_F(HostFileTest, RefusesAPathAndADescriptorOrNeither) {
  expect_refused(HostMapping::file(kBytes, {}), absl::StatusCode::kInvalidArgument,
                 "either a path or a descriptor");
  expect_refused(HostMapping::file(kBytes, {.path = file_.path(), .fd = 0}),
                 absl::StatusCode::kInvalidArgument, "either a path or a descriptor");
}

TEST_F(HostFileTest, RefusesAFileThatIsTooShort) {
  expect_refused(HostMapping::file(kBytes + 1, named()), absl::StatusCode::kInvalidArgument,
                 "has 0x40000 bytes: too short for 0x40001 bytes from offset 0x0 on");
  HostFile later = named();
  later.offset = 0x10000;
  expect_refused(HostMapping::file(kBytes, later), absl::StatusCode::kInvalidArgument,
                 "too short for 0x40000 bytes from offset 0x10000 on");
  for (const std::uint64_t offset : {std::uint64_t{0x80000}, ~std::uint64_t{0xffff}}) {
    later.offset = offset;
    EXPECT_EQ(HostMapping::file(0x10000, later).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(HostFileTest, TheLastPageMayBePartOfThePageOnly) {
  file_.resize(0x10064);
  const HostMapping mapping = HostMapping::file(0x10064, named()).value();
  EXPECT_EQ(text_at(mapping, 0x10060, 4), "ffff");
  EXPECT_EQ(mapping.bytes()[0x10064], std::byte{0});
}

TEST_F(HostFileTest, RefusesAMisalignedOffset) {
  HostFile odd = named();
  odd.offset = 0x200;
  expect_refused(HostMapping::file(0x1000, odd), absl::StatusCode::kInvalidArgument,
                 "offset 0x200 of " + file_.path() + " is not a multiple");
}

TEST_F(HostFileTest, ADiscardPunchesAHoleIntoASharedFile) {
  HostMapping mapping = HostMapping::file(kBytes, named()).value();
  const absl::Status status = mapping.discard(0x10000, 0x10000);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  ASSERT_TRUE(status.ok()) << status;
  const std::string content = file_.content();
  ASSERT_EQ(content.size(), kBytes);
  EXPECT_EQ(content.substr(0x10000, 0x10000), std::string(0x10000, '\0'));
  EXPECT_EQ(content.substr(0x20000), std::string(0x20000, 'f'));
  EXPECT_EQ(text_at(mapping, 0x10000, 4), std::string(4, '\0'));
}

TEST_F(HostFileTest, APrivateFileIsNotDiscarded) {
  HostMapping mapping = HostMapping::file(kBytes, named(FileSharing::kPrivate)).value();
  put(mapping, 0, "guest");
  EXPECT_EQ(mapping.discard(0, 0x10000).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(text_at(mapping, 0, 5), "guest");
}

TEST_F(HostFileTest, GrowsOnlyAsFarAsTheFileGoes) {
  HostMapping mapping = HostMapping::file(kBytes, named(), {.max_bytes = 2 * kBytes}).value();
  EXPECT_EQ(mapping.resize(2 * kBytes).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(mapping.bytes().size(), kBytes);
  file_.resize(2 * kBytes);
  ASSERT_TRUE(mapping.resize(2 * kBytes).ok());
  put(mapping, 2 * kBytes - 3, "end");
  EXPECT_EQ(file_.content().substr(2 * kBytes - 3), "end");
}

TEST_F(HostFileTest, WhatIsCutOffStaysInTheFile) {
  HostMapping mapping = HostMapping::file(kBytes, named()).value();
  put(mapping, 0x30000, "kept");
  ASSERT_TRUE(mapping.resize(0x10000).ok());
  EXPECT_EQ(file_.content().substr(0x30000, 4), "kept");
  ASSERT_TRUE(mapping.resize(kBytes).ok());
  EXPECT_EQ(text_at(mapping, 0x30000, 4), "kept");
}

}  // namespace
}  // namespace vm_mem
