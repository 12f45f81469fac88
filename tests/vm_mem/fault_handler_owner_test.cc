// Who owns the handler of SIGBUS and SIGSEGV: the library, once it could install both, or
// the embedder.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>

#include "vm_mem/host_fault.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace {

// Installing an action for this signal fails; 0: for none.
std::atomic<int> refused_signal{0};

}  // namespace

// In place of the C library's.
extern "C" int sigaction(int signal, const struct sigaction* action,
                         struct sigaction* old) noexcept {
  using Call = int (*)(int, const struct sigaction*, struct sigaction*);
  static const auto real = reinterpret_cast<Call>(dlsym(RTLD_NEXT, "sigaction"));
  if (action == nullptr || signal != refused_signal) return real(signal, action, old);
  errno = EPERM;
  return -1;
}

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = 4096;

GuestRange first_pages(std::uint64_t count) {
  return GuestRange::make(GuestAddress{0}, count * kPage).value();
}

struct sigaction action_of(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action;
}

// Guest memory of two pages of a file, which can lose the second.
class FileGuest {
 public:
  explicit FileGuest(FaultHandler handler)
      : memory_(MemoryManager::create({.fault_handler = handler}).value()) {
    if (ftruncate(file_, 2 * kPage) != 0) _exit(90);
  }

  absl::Status add() {
    return memory_->add_ram(first_pages(2), {.backing = Backing::kFile, .fd = file_}).status();
  }
  // Whether an access across both pages says that one was done.
  bool recovers() {
    if (ftruncate(file_, kPage) != 0) _exit(91);
    std::array<std::byte, 100> data{};
    const AccessResult wanted{AccessFault::kHostFault, AccessSide::kDestination, false, 50,
                              GuestAddress{kPage}};
    if (memory_->write(GuestAddress{kPage - 50}, data) != wanted) return false;
    MemoryReader reader(*memory_);
    std::uint64_t word = 0;
    return reader.write(GuestAddress{kPage - 50}, data) == wanted &&
           reader.load(GuestAddress{kPage}, word).fault == AccessFault::kHostFault;
  }
  const MemoryManager& memory() const { return *memory_; }

 private:
  const int file_ = memfd_create("guest", MFD_CLOEXEC);
  std::unique_ptr<MemoryManager> memory_;
};

std::atomic<int> calls{0};
void embedders_handler(int signal, siginfo_t* information, void* context) {
  ++calls;
  if (!recover_host_fault(signal, information, context)) _exit(92);
}

void install_embedders_handler(int signal) {
  struct sigaction action {};
  action.sa_sigaction = embedders_handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(signal, &action, nullptr);
}

// In a process of its own each: what is installed stays.
TEST(FaultHandlerOwnerDeathTest, AManagerLeavesTheHandlerToTheEmbedder) {
  EXPECT_EXIT(
      {
        install_embedders_handler(SIGBUS);
        install_embedders_handler(SIGSEGV);
        FileGuest guest(FaultHandler::kEmbedder);
        if (!guest.add().ok()) _exit(1);
        if (!guest.recovers() || calls < 3) _exit(2);
        const bool kept = action_of(SIGBUS).sa_sigaction == embedders_handler &&
                          action_of(SIGSEGV).sa_sigaction == embedders_handler;
        _exit(kept ? 0 : 3);
      },
      testing::ExitedWithCode(0), "");
}

TEST(FaultHandlerOwnerDeathTest, WithoutAnyHandlerOfTheEmbeddersAFaultEndsTheProcess) {
  EXPECT_EXIT(
      {
        FileGuest guest(FaultHandler::kEmbedder);
        if (!guest.add().ok()) _exit(1);
        guest.recovers();
        _exit(2);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(FaultHandlerOwnerDeathTest, ARefusedHandlerIsAStatusAndTheMapIsAsBefore) {
  EXPECT_EXIT(
      {
        for (const int refused : {SIGBUS, SIGSEGV}) {
          refused_signal = refused;
          FileGuest guest(FaultHandler::kInstall);
          const absl::Status status = guest.add();
          if (status.code() != absl::StatusCode::kResourceExhausted) _exit(1);
          if (status.message().find("sigaction of signal") == absl::string_view::npos) _exit(2);
          if (!guest.memory().map()->sections().empty()) _exit(3);
        }
        refused_signal = 0;
        FileGuest guest(FaultHandler::kInstall);
        _exit(guest.add().ok() && guest.recovers() ? 0 : 4);
      },
      testing::ExitedWithCode(0), "");
}

TEST(FaultHandlerOwnerDeathTest, WhatWasInstalledIsNotInstalledBeforeItself) {
  EXPECT_EXIT(
      {
        install_embedders_handler(SIGBUS);
        refused_signal = SIGSEGV;
        if (install_host_fault_handler().ok()) _exit(1);
        const auto of_bus = action_of(SIGBUS).sa_sigaction;
        if (of_bus == embedders_handler) _exit(2);
        if (action_of(SIGSEGV).sa_handler != SIG_DFL) _exit(3);
        refused_signal = 0;
        if (!install_host_fault_handler().ok()) _exit(4);
        if (action_of(SIGBUS).sa_sigaction != of_bus) _exit(5);
        if (action_of(SIGSEGV).sa_sigaction != of_bus) _exit(6);
        // What is not the library's reaches the embedder's handler, once.
        raise(SIGBUS);
        _exit(7);
      },
      testing::ExitedWithCode(92), "");
}

}  // namespace
}  // namespace vm_mem
