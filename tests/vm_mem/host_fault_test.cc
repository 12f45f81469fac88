#include "vm_mem/host_fault.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "tests/support/faulty_memory.h"
#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/fault_fixups.h"
#include "vm_mem/internal/recoverable_copy.h"

namespace vm_mem {
namespace {

using internal::copy_from_guest_or_fault;
using internal::copy_to_guest_or_fault;
using vm_test::FaultyMemory;
using vm_test::HostFailure;

constexpr int kCaught = 42;

// Each handler ends its process, so that the test sees that it was called.
void exit_by_handler(int) { _exit(kCaught); }
void exit_by_action(int signal, siginfo_t* information, void* context) {
  const bool complete = signal == SIGSEGV && information->si_addr != nullptr && context != nullptr;
  _exit(complete ? kCaught : 1);
}

void set_handler(int signal, void (*handler)(int), int flags = 0) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(signal, &action, nullptr);
}
void set_action(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigaction(signal, &action, nullptr);
}

volatile std::byte* foreign_page() {
  static const FaultyMemory memory(HostFailure::kNoAccess);
  return memory.bad();
}
void fault_in_foreign_code() { *foreign_page() = std::byte{1}; }

// What a recoverable copy says of memory whose last half fails.
bool recovers() {
  internal::copy_state();  // as a manager does for a region that can fault
  const FaultyMemory memory(HostFailure::kTruncatedMemfd);
  const std::array<std::byte, 64> source{};
  return copy_to_guest_or_fault(memory.bad() - 32, source.data(), source.size()) == 32;
}

// At the first fault another vCPU changes a byte that is done already.
std::byte* changed_byte = nullptr;
void change_and_recover(int signal, siginfo_t* information, void* context) {
  if (changed_byte != nullptr) *changed_byte = std::byte{7};
  changed_byte = nullptr;
  if (!recover_host_fault(signal, information, context)) _exit(1);
}

bool is_emulated() { return std::getenv("VM_TEST_EMULATED") != nullptr; }

// Death tests run first, before any other test has installed our handler for good.

TEST(HostFaultTest, RecoversAfterRepeatedInstallation) {
  ASSERT_TRUE(install_host_fault_handler().ok());
  ASSERT_TRUE(install_host_fault_handler().ok());
  EXPECT_TRUE(recovers());
}

TEST(HostFaultTest, TheTableNamesEveryInstructionOnce) {
  std::vector<std::uintptr_t> addresses;
  for (const internal::FaultFixup& fixup : internal::fault_fixups()) {
    addresses.push_back(fixup.instruction_address());
    EXPECT_EQ(internal::landing_of(fixup.instruction_address()), fixup.landing_address());
  }
  ASSERT_GT(addresses.size(), 100u);
  std::sort(addresses.begin(), addresses.end());
  EXPECT_EQ(std::adjacent_find(addresses.begin(), addresses.end()), addresses.end());
  EXPECT_EQ(internal::landing_of(addresses.front() - 1), 0u);
}

TEST(HostFaultTest, KeepsErrno) {
  ASSERT_TRUE(install_host_fault_handler().ok());
  const FaultyMemory memory(HostFailure::kTruncatedFile);
  std::byte held{};
  errno = 77;
  EXPECT_EQ(copy_from_guest_or_fault(&held, memory.bad(), 1), 0u);
  EXPECT_EQ(errno, 77);
}

TEST(HostFaultDeathTest, UpToSixteenBytesNothingIsStoredTwice) {
  EXPECT_EXIT(
      {
        if (!install_host_fault_handler().ok()) _exit(2);
        const FaultyMemory memory(HostFailure::kNoAccess);
        set_action(SIGSEGV, change_and_recover);
        const std::vector<std::byte> source(16);
        for (std::size_t bytes = 9; bytes <= 16; ++bytes) {
          changed_byte = memory.bad() - 8;
          if (copy_to_guest_or_fault(memory.bad() - 8, source.data(), bytes) != 8) _exit(3);
          if (memory.bad()[-8] != std::byte{7}) _exit(4);
        }
        _exit(kCaught);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(HostFaultDeathTest, AFaultInForeignCodeKillsAsWithoutTheHandler) {
  EXPECT_DEATH(
      {
        if (!install_host_fault_handler().ok()) _exit(0);
        fault_in_foreign_code();
        _exit(0);
      },
      "");
}

TEST(HostFaultDeathTest, TheDefaultActionEndsTheProcessBySignal) {
  EXPECT_EXIT(
      {
        set_handler(SIGSEGV, SIG_DFL);
        if (!install_host_fault_handler().ok()) _exit(0);
        fault_in_foreign_code();
        _exit(0);
      },
      testing::KilledBySignal(SIGSEGV), "");
}

TEST(HostFaultDeathTest, AnIgnoredFaultEndsTheProcessBySignal) {
  EXPECT_EXIT(
      {
        set_handler(SIGSEGV, SIG_IGN);
        if (!install_host_fault_handler().ok()) _exit(0);
        fault_in_foreign_code();
        _exit(0);
      },
      testing::KilledBySignal(SIGSEGV), "");
}

TEST(HostFaultDeathTest, ASentSignalThatWasIgnoredStaysIgnored) {
  EXPECT_EXIT(
      {
        set_handler(SIGBUS, SIG_IGN);
        if (!install_host_fault_handler().ok()) _exit(1);
        raise(SIGBUS);
        raise(SIGBUS);
        _exit(recovers() ? 0 : 2);
      },
      testing::ExitedWithCode(0), "");
}

TEST(HostFaultDeathTest, ASentSignalOfDefaultActionEndsTheProcess) {
  EXPECT_EXIT(
      {
        set_handler(SIGBUS, SIG_DFL);
        if (!install_host_fault_handler().ok()) _exit(0);
        raise(SIGBUS);
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

// What the kernel sends a process that wants to know of damaged memory early.
void notify_of_damaged_memory() {
  siginfo_t information{};
  information.si_signo = SIGBUS;
  information.si_code = BUS_MCEERR_AO;
  syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &information);
}

TEST(HostFaultDeathTest, ANoticeOfDamagedMemoryThatWasIgnoredStaysIgnored) {
  if (is_emulated()) GTEST_SKIP() << "the emulator delivers no such notice";
  EXPECT_EXIT(
      {
        set_handler(SIGBUS, SIG_IGN);
        if (!install_host_fault_handler().ok()) _exit(1);
        notify_of_damaged_memory();
        _exit(recovers() ? 0 : 2);
      },
      testing::ExitedWithCode(0), "");
}

TEST(HostFaultDeathTest, ANoticeOfDamagedMemoryOfDefaultActionEndsTheProcess) {
  if (is_emulated()) GTEST_SKIP() << "the emulator delivers no such notice";
  EXPECT_EXIT(
      {
        set_handler(SIGBUS, SIG_DFL);
        if (!install_host_fault_handler().ok()) _exit(0);
        notify_of_damaged_memory();
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(HostFaultDeathTest, APreviousHandlerIsCalledForForeignFaults) {
  EXPECT_EXIT(
      {
        set_handler(SIGSEGV, exit_by_handler);
        if (!install_host_fault_handler().ok() || !recovers()) _exit(1);
        fault_in_foreign_code();
        _exit(0);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(HostFaultDeathTest, APreviousActionGetsAllArguments) {
  EXPECT_EXIT(
      {
        set_action(SIGSEGV, exit_by_action);
        if (!install_host_fault_handler().ok() || !recovers()) _exit(1);
        fault_in_foreign_code();
        _exit(0);
      },
      testing::ExitedWithCode(kCaught), "");
}

std::atomic<int> calls{0};
void count_and_permit(int) {
  ++calls;
  mprotect(const_cast<std::byte*>(foreign_page()), FaultyMemory::kPage, PROT_READ | PROT_WRITE);
}

TEST(HostFaultDeathTest, APreviousHandlerMayResolveTheFault) {
  EXPECT_EXIT(
      {
        foreign_page();
        set_handler(SIGSEGV, count_and_permit);
        if (!install_host_fault_handler().ok()) _exit(1);
        fault_in_foreign_code();
        _exit(calls == 1 && *foreign_page() == std::byte{1} ? kCaught : 1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(HostFaultDeathTest, APreviousHandlerForOneSignalRunsOnce) {
  EXPECT_EXIT(
      {
        foreign_page();
        set_handler(SIGSEGV, count_and_permit, static_cast<int>(SA_RESETHAND));
        if (!install_host_fault_handler().ok()) _exit(1);
        fault_in_foreign_code();
        if (calls != 1) _exit(2);
        mprotect(const_cast<std::byte*>(foreign_page()), FaultyMemory::kPage, PROT_NONE);
        fault_in_foreign_code();
        _exit(3);
      },
      testing::KilledBySignal(SIGSEGV), "");
}

void exit_by_mask(int) {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  // Its own mask and signal, and no more.
  _exit(sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGSEGV) && !sigismember(&mask, SIGUSR2)
            ? kCaught
            : 1);
}

TEST(HostFaultDeathTest, APreviousHandlerRunsWithItsOwnMask) {
  EXPECT_EXIT(
      {
        struct sigaction action {};
        action.sa_handler = exit_by_mask;
        sigaddset(&action.sa_mask, SIGUSR1);
        sigaction(SIGSEGV, &action, nullptr);
        if (!install_host_fault_handler().ok()) _exit(1);
        fault_in_foreign_code();
        _exit(0);
      },
      testing::ExitedWithCode(kCaught), "");
}

void embedders_handler(int signal, siginfo_t* information, void* context) {
  if (!recover_host_fault(signal, information, context)) _exit(kCaught);
}

TEST(HostFaultDeathTest, AnEmbeddersOwnHandlerRecovers) {
  EXPECT_EXIT(
      {
        set_action(SIGBUS, embedders_handler);
        set_action(SIGSEGV, embedders_handler);
        if (!recovers()) _exit(1);
        fault_in_foreign_code();
        _exit(2);
      },
      testing::ExitedWithCode(kCaught), "");
}

std::array<std::byte, 65536> other_stack;
void exit_by_stack(int) {
  std::byte here{};
  const std::byte* const at = &here;
  const std::less<const std::byte*> before;
  const bool inside =
      !before(at, other_stack.data()) && before(at, other_stack.data() + other_stack.size());
  _exit(inside ? kCaught : 1);
}

TEST(HostFaultDeathTest, RunsOnTheAlternateStack) {
  EXPECT_EXIT(
      {
        stack_t stack{};
        stack.ss_sp = other_stack.data();
        stack.ss_size = other_stack.size();
        sigaltstack(&stack, nullptr);
        set_handler(SIGSEGV, exit_by_stack);
        if (!install_host_fault_handler().ok() || !recovers()) _exit(2);
        fault_in_foreign_code();
        _exit(0);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(HostFaultTest, AThreadThatBlocksEverySignalRecovers) {
  ASSERT_TRUE(install_host_fault_handler().ok());
  bool recovered = false;
  std::thread([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    recovered = recovers();
    // Whoever blocks them later says so.
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    prepare_thread_for_host_faults();
    recovered = recovered && recovers();
  }).join();
  EXPECT_TRUE(recovered);
}

TEST(HostFaultTest, ManyThreadsFaultAtTheSameTime) {
  ASSERT_TRUE(install_host_fault_handler().ok());
  const FaultyMemory memory(HostFailure::kTruncatedMemfd);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::array<std::byte, 256> buffer{};
      for (std::size_t i = 0; i < 500; ++i) {
        const std::size_t before = (t * 61 + i) % 200;
        const std::size_t done =
            copy_from_guest_or_fault(buffer.data(), memory.bad() - before, buffer.size());
        if (done != before) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace vm_mem
