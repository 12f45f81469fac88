#include "vm_mem/internal/fault_ranges.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/support/faulty_memory.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/host_fault.h"

namespace vm_mem::internal {
namespace {

using vm_test::FaultyMemory;
using vm_test::HostFailure;

constexpr std::size_t kPage = FaultyMemory::kPage;

// A memfd of `pages` pages that was truncated to nothing.
class Truncated {
 public:
  explicit Truncated(std::size_t pages) {
    const int fd = memfd_create("truncated", MFD_CLOEXEC);
    if (ftruncate(fd, static_cast<off_t>(pages * kPage)) != 0) return;
    void* at = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) bytes_ = {static_cast<std::byte*>(at), pages * kPage};
    if (ftruncate(fd, 0) != 0) bytes_ = {};
    close(fd);
  }
  Truncated(const Truncated&) = delete;
  Truncated& operator=(const Truncated&) = delete;
  ~Truncated() {
    unregister_fault_range(bytes_);
    munmap(bytes_.data(), bytes_.size());
  }
  std::span<std::byte> bytes() const { return bytes_; }
  volatile std::byte& at(std::size_t i) const { return bytes_[i]; }
  std::byte load(std::size_t i) const { return at(i); }

 private:
  std::span<std::byte> bytes_;
};

class FaultRangesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("VM_TEST_EMULATED") != nullptr) {
      GTEST_SKIP() << "QEMU's user mode does not survive a system call on a page that fails";
    }
    EXPECT_TRUE(install_host_fault_handler().ok());
  }
};
using FaultRangesDeathTest = FaultRangesTest;

TEST_F(FaultRangesTest, MissingPagesReadAsZeroAndKeepWhatIsWritten) {
  const Truncated memory(4);
  ASSERT_TRUE(register_fault_range(memory.bytes(), kPage, Protection::kReadWrite).ok());
  EXPECT_EQ(memory.load(5), std::byte{0});
  memory.at(kPage + 9) = std::byte{7};
  EXPECT_EQ(memory.load(kPage + 9), std::byte{7});
  EXPECT_EQ(memory.load(3 * kPage), std::byte{0});
}

TEST_F(FaultRangesTest, PlainKernelsGoOnOverMissingPages) {
  const Truncated memory(8);
  ASSERT_TRUE(register_fault_range(memory.bytes(), kPage, Protection::kReadWrite).ok());
  std::vector<std::byte> buffer(memory.bytes().size(), std::byte{3});
  copy_from_guest(buffer.data(), memory.bytes().data(), buffer.size());
  EXPECT_EQ(buffer, std::vector<std::byte>(buffer.size()));
  fill_guest(memory.bytes().data() + 100, std::byte{9}, 5000);
  EXPECT_EQ(memory.load(99), std::byte{0});
  EXPECT_EQ(memory.load(5099), std::byte{9});
  EXPECT_EQ(memory.load(5100), std::byte{0});
}

TEST_F(FaultRangesTest, WhatOneThreadWroteIsNotReplacedForAnother) {
  constexpr std::size_t kPages = 200;
  constexpr std::size_t kThreads = 4;
  const Truncated memory(kPages);
  ASSERT_TRUE(register_fault_range(memory.bytes(), kPage, Protection::kReadWrite).ok());
  std::atomic<std::size_t> arrived{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t page = 0; page < kPages; ++page) {
        ++arrived;
        while (arrived < kThreads * (page + 1)) std::this_thread::yield();
        memory.at(page * kPage + t) = std::byte{0xaa};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t page = 0; page < kPages; ++page) {
    for (std::size_t t = 0; t < kThreads; ++t) {
      ASSERT_EQ(memory.load(page * kPage + t), std::byte{0xaa}) << "page " << page;
    }
  }
}

TEST_F(FaultRangesTest, HugePagesAreReplacedWhole) {
  const FaultyMemory memory(HostFailure::kHugePageHole);
  if (!memory.fails()) GTEST_SKIP() << "the host has huge pages to fill the hole with";
  const std::span bytes(memory.bad(), memory.bad_end());
  ASSERT_TRUE(register_fault_range(bytes, bytes.size(), Protection::kReadWrite).ok());
  bytes[bytes.size() / 2] = std::byte{1};
  EXPECT_EQ(bytes[bytes.size() / 2], std::byte{1});
  EXPECT_EQ(bytes[0], std::byte{0});
  EXPECT_EQ(bytes.back(), std::byte{0});
  unregister_fault_range(bytes);
}

TEST_F(FaultRangesDeathTest, ARangeThatIsGoneFailsAgain) {
  EXPECT_DEATH(
      {
        const Truncated memory(2);
        if (!register_fault_range(memory.bytes(), kPage, Protection::kReadWrite).ok()) _exit(0);
        memory.at(0) = std::byte{1};
        unregister_fault_range(memory.bytes());
        memory.at(kPage) = std::byte{1};
        _exit(0);
      },
      "");
}

TEST_F(FaultRangesDeathTest, WhatPermissionsForbidStaysForbidden) {
  EXPECT_DEATH(
      {
        const FaultyMemory memory(HostFailure::kReadOnly);
        const std::span bytes(memory.bad(), memory.bad_end());
        if (!register_fault_range(bytes, kPage, Protection::kReadWrite).ok()) _exit(0);
        *const_cast<volatile std::byte*>(bytes.data()) = std::byte{1};
        _exit(0);
      },
      "");
}

TEST_F(FaultRangesTest, RefusesWhatIsNotWholePages) {
  const Truncated memory(2);
  const auto refused = [](std::span<std::byte> bytes, std::size_t page) {
    return register_fault_range(bytes, page, Protection::kReadWrite).code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused(memory.bytes().subspan(1), kPage));
  EXPECT_TRUE(refused(memory.bytes().first(kPage + 1), kPage));
  EXPECT_TRUE(refused(memory.bytes().first(0), kPage));
  EXPECT_TRUE(refused(memory.bytes(), 0));
  EXPECT_TRUE(refused(memory.bytes(), 4 * kPage));
}

TEST_F(FaultRangesTest, OneTooManyIsRefusedUntilAnotherIsGone) {
  const Truncated memory(kMostFaultRanges + 1);
  const auto page = [&](std::size_t i) { return memory.bytes().subspan(i * kPage, kPage); };
  for (std::size_t i = 0; i < kMostFaultRanges; ++i) {
    ASSERT_TRUE(register_fault_range(page(i), kPage, Protection::kReadWrite).ok()) << i;
  }
  EXPECT_EQ(register_fault_range(page(kMostFaultRanges), kPage, Protection::kReadWrite).code(),
            absl::StatusCode::kResourceExhausted);
  unregister_fault_range(page(17));
  EXPECT_TRUE(register_fault_range(page(kMostFaultRanges), kPage, Protection::kReadWrite).ok());
  memory.at(kMostFaultRanges * kPage) = std::byte{1};
  memory.at(0) = std::byte{2};
  for (std::size_t i = 0; i <= kMostFaultRanges; ++i) unregister_fault_range(page(i));
}

}  // namespace
}  // namespace vm_mem::internal
