// Code memory: two views of the same bytes, neither writable and executable.
#include "vm_engine/code_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/vm_engine/return_code.h"

namespace vm_engine {
namespace {

using vm_test::function_returning;

CodeMemory code_memory(std::size_t bytes = 64 << 10) { return CodeMemory::create(bytes).value(); }

int call(const CodeMemory& memory, std::size_t offset) {
  return reinterpret_cast<int (*)()>(
      reinterpret_cast<std::uintptr_t>(memory.executable().data() + offset))();
}

// As /proc/self/maps has it: "rw-s".
std::string permissions_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::string permissions;
    fields >> std::hex >> begin >> dash >> end >> permissions;
    if (begin <= wanted && wanted < end) return permissions;
  }
  return "";
}

TEST(CodeMemoryTest, RunsWhatWasWritten) {
  CodeMemory memory = code_memory();
  ASSERT_TRUE(memory.write(128, function_returning(41)).ok());
  EXPECT_EQ(call(memory, 128), 41);
}

TEST(CodeMemoryTest, RunsWhatWasWrittenInPlaceAndPublished) {
  CodeMemory memory = code_memory();
  const std::vector<std::byte> code = function_returning(7);
  std::ranges::copy(code, memory.writable().begin());
  ASSERT_TRUE(memory.publish(0, code.size()).ok());
  EXPECT_EQ(call(memory, 0), 7);
}

TEST(CodeMemoryTest, NoViewIsWritableAndExecutable) {
  const CodeMemory memory = code_memory();
  EXPECT_EQ(permissions_of(memory.writable().data()), "rw-s");
  EXPECT_EQ(permissions_of(memory.executable().data()), "r-xs");
}

// QEMU in user mode does not see that code changes by way of another mapping.
bool sees_code_change() { return std::getenv("VM_TEST_EMULATED") == nullptr; }

TEST(CodeMemoryTest, CodeThatReplacesOtherCodeRuns) {
  if (!sees_code_change()) GTEST_SKIP() << "under an emulator";
  CodeMemory memory = code_memory();
  for (int value = 1; value < 50; ++value) {
    ASSERT_TRUE(memory.write(0, function_returning(value)).ok());
    ASSERT_EQ(call(memory, 0), value);
  }
}

TEST(CodeMemoryTest, AnotherThreadRunsReusedMemoryAfterItWasSynchronized) {
  if (!sees_code_change()) GTEST_SKIP() << "under an emulator";
  CodeMemory memory = code_memory();
  if (const absl::Status possible = CodeMemory::synchronize_threads(); !possible.ok()) {
    GTEST_SKIP() << possible;
  }
  constexpr int kRounds = 200;
  std::atomic<int> written{0};
  std::atomic<int> run{0};
  int wrong = 0;
  std::thread runner([&] {
    for (int round = 1; round <= kRounds; ++round) {
      while (written.load(std::memory_order_acquire) != round) std::this_thread::yield();
      if (call(memory, 0) != round) ++wrong;
      run.store(round, std::memory_order_release);
    }
  });
  for (int round = 1; round <= kRounds; ++round) {
    EXPECT_TRUE(memory.write(0, function_returning(round)).ok());
    EXPECT_TRUE(CodeMemory::synchronize_threads().ok());
    written.store(round, std::memory_order_release);
    while (run.load(std::memory_order_acquire) != round) std::this_thread::yield();
  }
  runner.join();
  EXPECT_EQ(wrong, 0);
}

TEST(CodeMemoryTest, WhatDoesNotFitIsRefusedWithNothingWritten) {
  CodeMemory memory = code_memory(4096);
  const std::size_t size = memory.writable().size();
  const std::vector<std::byte> code(16, std::byte{0x5a});
  const absl::Status refused = memory.write(size - 8, code);
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_NE(refused.message().find("0x10 bytes at offset"), std::string::npos) << refused;
  EXPECT_EQ(memory.writable()[size - 8], std::byte{0});
  EXPECT_EQ(memory.publish(std::numeric_limits<std::size_t>::max(), 2).code(),
            absl::StatusCode::kOutOfRange);
}

TEST(CodeMemoryTest, NoBytesAreRefused) {
  EXPECT_EQ(CodeMemory::create(0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CodeMemoryTest, MoreThanTheHostHasIsRefused) {
  EXPECT_EQ(CodeMemory::create(std::size_t{1} << 62).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(CodeMemoryTest, MovesWithItsViews) {
  CodeMemory memory = code_memory();
  ASSERT_TRUE(memory.write(0, function_returning(3)).ok());
  const CodeMemory moved = std::move(memory);
  EXPECT_EQ(call(moved, 0), 3);
}

}  // namespace
}  // namespace vm_engine
