#include "tools/vmmem/guarded_arena.h"

#include <sys/mman.h>
#include <unistd.h>

namespace vmmem {

sigjmp_buf FaultTrap::landing_;
volatile bool FaultTrap::armed_ = false;

GuardedArena::GuardedArena(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapped_bytes_ = bytes + 2 * page;
  mapping_ = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) return;
  std::byte* const begin = static_cast<std::byte*>(mapping_) + page;
  if (mprotect(begin, bytes, PROT_READ | PROT_WRITE) == 0) bytes_ = {begin, bytes};
}

GuardedArena::~GuardedArena() {
  if (mapping_ != MAP_FAILED) munmap(mapping_, mapped_bytes_);
}

FaultTrap::FaultTrap() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  // The handler leaves by a jump that restores no mask: nothing is to be blocked.
  action.sa_flags = SA_NODEFER;
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &found_[i]);
}

FaultTrap::~FaultTrap() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &found_[i], nullptr);
}

void FaultTrap::on_signal(int number) {
  if (!armed_) {
    // Not a kernel's doing: ends the process the usual way.
    std::signal(number, SIG_DFL);
    std::raise(number);
    return;
  }
  armed_ = false;
  siglongjmp(landing_, 1);
}

}  // namespace vmmem
