// Code that is registered and unregistered while other threads fault, attach and fork.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/support/emulator.h"
#include "tests/support/faulty_memory.h"
#include "tests/support/sanitizers.h"
#include "tests/vm_engine/fault_guest.h"

namespace {

using vm_test::FaultCode;
using vm_test::FaultyMemory;
using vm_test::HostFailure;
using vm_test::kHostPointer;
using vm_test::load;

using FaultRegistrationTest = vm_test::FaultSignalsTest;

constexpr int kCaught = 42;

// Two pages of code that returns, for registrations that are not run.
class SpareCode {
 public:
  SpareCode()
      : memory_(static_cast<std::byte*>(
            mmap(nullptr, kBytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  SpareCode(const SpareCode&) = delete;
  SpareCode& operator=(const SpareCode&) = delete;
  ~SpareCode() { munmap(memory_, kBytes); }

  static constexpr std::size_t kBytes = std::size_t{1} << 16;
  std::byte* at(std::size_t offset) const { return memory_ + offset; }

 private:
  std::byte* memory_;
};

// Blocks of 64 bytes with a site at their start.
vme_code* register_block(vme_engine* engine, std::byte* at) {
  const vme_site site = {.pc_off = 0,
                         .land_off = 4,
                         .access = VME_ACCESS_READ,
                         .size_log2 = 2,
                         .side = VME_SIDE_SOURCE,
                         .flags = kHostPointer,
                         .cookie = 1,
                         .adj = 0,
                         .guest_pc = 0};
  vme_code* code = nullptr;
  return vme_code_register(engine, at, 64, &site, 1, &code) == VME_OK ? code : nullptr;
}

TEST_F(FaultRegistrationTest, ManyBlocksAreRegisteredInAnyOrder) {
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  const SpareCode spare;
  std::array<vme_code*, SpareCode::kBytes / 64> blocks{};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::size_t at = i * 397 % blocks.size();
    blocks[at] = register_block(engine(), spare.at(at * 64));
    ASSERT_NE(blocks[at], nullptr) << at;
  }
  for (std::size_t i = 0; i < blocks.size(); i += 97) {
    EXPECT_EQ(register_block(engine(), spare.at(i * 64 + 32)), nullptr) << "overlap at " << i;
  }
  EXPECT_EQ(load(memory.bad()), 1u);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(vme_code_unregister(blocks[i * 211 % blocks.size()]), VME_OK);
  }
  EXPECT_EQ(load(memory.bad()), 1u);
}

TEST_F(FaultRegistrationTest, CodeComesAndGoesWhileThreadsFault) {
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  const SpareCode spare;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> faults{0};
  std::vector<vm_engine::CpuPtr> cpus;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) cpus.push_back(machine_.new_cpu());
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, cpu = cpus[static_cast<std::size_t>(i)].get()] {
      if (vme_thread_attach(cpu) != VME_OK) ++wrong;
      while (!stop) {
        if (load(memory.bad()) != 1 || cpu->fault.site != vm_test::kLoadCookie) ++wrong;
        ++faults;
      }
    });
  }
  for (std::uint64_t round = 0; round < 300 || faults < 1000; ++round) {
    vme_code* block = register_block(engine(), spare.at(round % 64 * 64));
    if (block == nullptr || vme_code_unregister(block) != VME_OK) ++wrong;
    if (vme_hot_take(
            engine(), [](void*, const vme_hot_site*) {}, nullptr) > 1)
      ++wrong;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

// Every child answers true, and is ended by a signal where it waits for what nobody gives it.
template <typename Answer>
void expect_of_children(int children, Answer answer) {
  for (int i = 0; i < children; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      _exit(answer() ? kCaught : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == kCaught) << status;
  }
}

// Every lock of the guard is taken at some fork.
TEST_F(FaultRegistrationTest, AForkBesideRegistrationsLeavesTheChildNoLock) {
  if (vm_test::kWithTsan) GTEST_SKIP() << "a child of many threads is none of TSan's";
  if (vm_test::is_emulated()) GTEST_SKIP() << "qemu's own locks may be held in a child";
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  const SpareCode spare;
  const vm_engine::CpuPtr other = machine_.new_cpu();
  const vm_engine::CpuPtr third = machine_.new_cpu();
  std::atomic<bool> stop{false};
  std::atomic<bool> attached{false};
  std::thread registers([&] {
    EXPECT_EQ(vme_thread_attach(other.get()), VME_OK);
    attached = true;
    while (!stop) {
      vme_code* const block = register_block(engine(), spare.at(4096));
      EXPECT_NE(block, nullptr);
      EXPECT_EQ(vme_code_unregister(block), VME_OK);
    }
  });
  std::thread attaches([&] {
    while (!stop) {
      EXPECT_EQ(vme_thread_attach(third.get()), VME_OK);
      vme_thread_detach();
    }
  });
  while (!attached) std::this_thread::yield();
  expect_of_children(10, [&] {
    vme_code* const block = register_block(engine(), spare.at(0));
    const bool registered = block != nullptr && vme_code_unregister(block) == VME_OK;
    const bool faults = load(memory.bad()) == 1;
    const bool taken_over = vme_thread_attach(other.get()) == VME_OK;
    return registered && faults && taken_over && load(memory.bad()) == 1;
  });
  stop = true;
  registers.join();
  attaches.join();
}

TEST_F(FaultRegistrationTest, AForkedChildFaultsRegistersAndUnregisters) {
  if (vm_test::kWithTsan) GTEST_SKIP() << "a child of many threads is none of TSan's";
  if (vm_test::is_emulated()) GTEST_SKIP() << "qemu's own locks may be held in a child";
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  const SpareCode spare;
  const vm_engine::CpuPtr other = machine_.new_cpu();
  std::atomic<bool> stop{false};
  std::thread beside([&] {
    EXPECT_EQ(vme_thread_attach(other.get()), VME_OK);
    while (!stop) EXPECT_EQ(load(memory.bad()), 1u);
  });
  expect_of_children(8, [&] {
    vme_code* const block = register_block(engine(), spare.at(0));
    return load(memory.bad()) == 1 && block != nullptr && vme_code_unregister(block) == VME_OK;
  });
  stop = true;
  beside.join();
}

}  // namespace
