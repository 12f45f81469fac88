// Faults of emitted code among other users of signals: earlier handlers, embedders' own,
// alternate stacks, timers, forks, and threads that register meanwhile.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/emulator.h"
#include "tests/support/faulty_memory.h"
#include "tests/support/sanitizers.h"
#include "tests/vm_engine/fault_guest.h"

namespace {

using vm_test::FaultCode;
using vm_test::FaultSignalsTest;
using vm_test::FaultyMemory;
using vm_test::HostFailure;
using vm_test::kHostPointer;
using vm_test::load;
using vm_test::Machine;

constexpr int kCaught = 42;

void exit_by_handler(int) { _exit(kCaught); }
void exit_by_action(int signal, siginfo_t* information, void* context) {
  const bool complete = signal == SIGSEGV && information->si_addr != nullptr && context != nullptr;
  _exit(complete ? kCaught : 1);
}
void try_or_exit(int signal, siginfo_t* information, void* context) {
  if (vme_fault_try(signal, information, context) != 1) _exit(kCaught);
}

void set_handler(void (*handler)(int), int flags = 0) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(SIGSEGV, &action, nullptr);
}
void set_action(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
}

// A guest whose code is registered, on an attached thread, and memory that fails.
struct Guarded {
  explicit Guarded(std::uint8_t flags = kHostPointer) : code(machine.engine.get(), flags) {
    if (vme_fault_install(0) != VME_OK) _exit(2);
    if (vme_thread_attach(machine.cpu.get()) != VME_OK) _exit(3);
  }

  Machine machine;
  FaultCode code;
  FaultyMemory memory{HostFailure::kNoAccess};
};

void fault_elsewhere(const FaultyMemory& memory) {
  *static_cast<volatile std::byte*>(memory.bad()) = std::byte{1};
}

// What the previous handler does not get ends in exit 1.

TEST(FaultSignalsDeathTest, APreviousHandlerGetsFaultsElsewhere) {
  EXPECT_EXIT(
      {
        set_handler(exit_by_handler);
        const Guarded guarded;
        if (load(guarded.memory.bad()) != 1) _exit(4);
        fault_elsewhere(guarded.memory);
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(FaultSignalsDeathTest, APreviousActionGetsFaultsOfAThreadWithoutAVcpu) {
  EXPECT_EXIT(
      {
        set_action(exit_by_action);
        const Guarded guarded;
        vme_thread_detach();
        load(guarded.memory.bad());
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(FaultSignalsDeathTest, TheCodeOfAnotherEngineIsForeign) {
  EXPECT_EXIT(
      {
        set_action(exit_by_action);
        const Guarded guarded;
        const Machine other;
        if (vme_thread_attach(other.cpu.get()) != VME_OK) _exit(4);
        load(guarded.memory.bad());
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(FaultSignalsDeathTest, AnAddressOutsideOfTheArenaIsForeign) {
  EXPECT_EXIT(
      {
        set_action(exit_by_action);
        const Guarded guarded(0);
        guarded.machine.cpu->fastmem_base = guarded.memory.begin();
        load(guarded.memory.bad());
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(FaultSignalsDeathTest, UnregisteredCodeIsForeign) {
  EXPECT_EXIT(
      {
        set_handler(exit_by_handler);
        Guarded guarded;
        if (load(guarded.memory.bad()) != 1 || guarded.code.unregister() != VME_OK) _exit(4);
        load(guarded.memory.bad());
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(FaultSignalsDeathTest, ASentSignalIsForeign) {
  EXPECT_EXIT(
      {
        set_handler(exit_by_handler);
        const Guarded guarded;
        raise(SIGSEGV);
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

TEST(FaultSignalsDeathTest, AnEmbeddersHandlerTriesTheLibrary) {
  EXPECT_EXIT(
      {
        const Machine machine;
        set_action(try_or_exit);
        if (vme_thread_attach(machine.cpu.get()) != VME_OK) _exit(3);
        const FaultCode code(machine.engine.get(), kHostPointer);
        const FaultyMemory memory(HostFailure::kNoAccess);
        if (load(memory.bad()) != 1) _exit(4);
        fault_elsewhere(memory);
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

// A previous handler that runs emitted code itself, which faults in it.
const std::byte* inner_fault = nullptr;
void fault_inside(int) { _exit(load(inner_fault) == 1 ? kCaught : 1); }

TEST(FaultSignalsDeathTest, AFaultInsideOfAPreviousHandlerIsTaken) {
  EXPECT_EXIT(
      {
        set_handler(fault_inside, SA_NODEFER);
        const Guarded guarded;
        inner_fault = guarded.memory.bad();
        fault_elsewhere(guarded.memory);
        _exit(1);
      },
      testing::ExitedWithCode(kCaught), "");
}

// Its host tells no address, and it passes on a made-up one.
bool emulator_makes_up_addresses() { return vm_test::is_emulated(); }

TEST_F(FaultSignalsTest, AnIndexThatIsNoAddressIsLostAndCaught) {
  if (emulator_makes_up_addresses()) GTEST_SKIP() << "the emulator does not tell the address";
  const FaultCode code(engine());
  cpu().fastmem_base = &machine_;
  for (const std::uint64_t index : vm_test::lost_indexes()) {
    EXPECT_EQ(load(&machine_, index), 1u) << index;
    EXPECT_EQ(cpu().fault.rc, std::uint32_t{VME_UNMAPPED});
    // x86-64 does not tell addresses that no page table could hold; AArch64 tells.
    EXPECT_TRUE(cpu().fault.gva == ~0ull || cpu().fault.gva == index) << cpu().fault.gva;
  }
}

// x86-64 has another fault for it, which Linux makes another signal.
TEST_F(FaultSignalsTest, AnIndexThatIsNoAddressIsCaughtFromTheFramesRegisterToo) {
  if (emulator_makes_up_addresses()) GTEST_SKIP() << "the emulator does not tell the address";
  cpu().fastmem_base = &machine_;
  for (const std::uint8_t flags : {std::uint8_t{0}, kHostPointer}) {
    const FaultCode code(engine(), flags);
    cpu().fault = {};
    EXPECT_EQ(vm_test_frame_load(&machine_, vm_test::lost_indexes().front()), 1u);
    EXPECT_EQ(cpu().fault.site, 75u);
    if (cpu().fault.gva != ~0ull) continue;  // a host that tells the address
    EXPECT_EQ(cpu().fault.rc, std::uint32_t{VME_UNMAPPED});
  }
}

TEST_F(FaultSignalsTest, ErrnoAndTheSignalMaskAreKept) {
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  sigset_t before;
  sigset_t after;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  errno = 77;
  EXPECT_EQ(load(memory.bad()), 1u);
  EXPECT_EQ(errno, 77);
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (int signal = 1; signal < 32; ++signal) {
    EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << signal;
  }
}

stack_t stack_now() {
  stack_t stack{};
  sigaltstack(nullptr, &stack);
  return stack;
}

TEST_F(FaultSignalsTest, AThreadWithoutAnAlternateStackHasOneWhileAttached) {
  const vm_engine::CpuPtr other = machine_.new_cpu();
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  std::thread([&] {
    const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    const stack_t before = stack_now();
    sigaltstack(&none, nullptr);
    EXPECT_EQ(vme_thread_attach(other.get()), VME_OK);
    EXPECT_EQ(stack_now().ss_flags & SS_DISABLE, 0);
    EXPECT_EQ(load(memory.bad()), 1u);
    vme_thread_detach();
    EXPECT_NE(stack_now().ss_flags & SS_DISABLE, 0);
    sigaltstack(&before, nullptr);
  }).join();
}

TEST_F(FaultSignalsTest, AThreadsOwnAlternateStackStays) {
  const vm_engine::CpuPtr other = machine_.new_cpu();
  std::thread([&] {
    std::vector<std::byte> own(1 << 16);
    const stack_t before = stack_now();
    const stack_t mine = {.ss_sp = own.data(), .ss_flags = 0, .ss_size = own.size()};
    sigaltstack(&mine, nullptr);
    EXPECT_EQ(vme_thread_attach(other.get()), VME_OK);
    EXPECT_EQ(stack_now().ss_sp, own.data());
    vme_thread_detach();
    EXPECT_EQ(stack_now().ss_sp, own.data());
    sigaltstack(&before, nullptr);
  }).join();
}

TEST_F(FaultSignalsTest, AThreadThatBlocksEverySignalIsPreparedByAttaching) {
  const vm_engine::CpuPtr other = machine_.new_cpu();
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  std::thread([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    EXPECT_EQ(vme_thread_attach(other.get()), VME_OK);
    EXPECT_EQ(load(memory.bad()), 1u);
  }).join();
}

TEST_F(FaultSignalsTest, AVcpuThatGoesIsDetached) {
  vm_engine::CpuPtr going = machine_.new_cpu();
  ASSERT_EQ(vme_thread_attach(going.get()), VME_OK);
  going.reset();
  const FaultCode code(engine(), kHostPointer);
  const FaultyMemory memory(HostFailure::kNoAccess);
  ASSERT_EQ(vme_thread_attach(machine_.cpu.get()), VME_OK);
  EXPECT_EQ(load(memory.bad()), 1u);
}

// Copies that stop at every distance from the first bad byte, of every kind of failure,
// compared with a loop over bytes; `wrong` counts bytes.
std::uint64_t wrong_bytes(HostFailure failure, std::size_t most, std::size_t step) {
  const FaultyMemory memory(failure);
  const std::vector<std::byte> source = vm_test::noise(most, 1);
  std::uint64_t wrong = 0;
  for (std::size_t bytes = 0; bytes < most; bytes += step) {
    for (std::size_t room = 0; room < 24; ++room) {
      std::byte* const to = memory.bad() - room;
      std::memset(to - 64, 0x5a, room + 64);
      const std::uint64_t expected = std::min<std::uint64_t>(bytes, room);
      if (vm_test_copy(to, source.data(), bytes) != expected) ++wrong;
      if (std::memcmp(to, source.data(), expected) != 0) ++wrong;
      for (std::byte* at = to - 64; at != memory.bad(); ++at) {
        const bool inside = at >= to && at < to + expected;
        if (!inside && *at != std::byte{0x5a}) ++wrong;
      }
    }
  }
  return wrong;
}

TEST_F(FaultSignalsTest, NoByteIsWrongWhereverACopyStops) {
  const FaultCode code(engine(), kHostPointer);
  for (const HostFailure failure : {HostFailure::kTruncatedFile, HostFailure::kTruncatedMemfd,
                                    HostFailure::kNoAccess, HostFailure::kReadOnly}) {
    EXPECT_EQ(wrong_bytes(failure, 300, 7), 0u) << vm_test::name_of(failure);
  }
}

std::atomic<std::uint64_t> alarms{0};
void count_alarm(int) { ++alarms; }

TEST_F(FaultSignalsTest, AStormOfTimerSignalsChangesNothing) {
  if (vm_test::kWithTsan) GTEST_SKIP() << "ThreadSanitizer puts signals off";
  const FaultCode code(engine(), kHostPointer);
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = count_alarm;
  sigaction(SIGALRM, &action, &before);
  const itimerval often = {.it_interval = {0, 50}, .it_value = {0, 50}};
  setitimer(ITIMER_REAL, &often, nullptr);
  std::uint64_t wrong = 0;
  for (alarms = 0; alarms < 200;) wrong += wrong_bytes(HostFailure::kNoAccess, 60, 13);
  const itimerval never = {};
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
