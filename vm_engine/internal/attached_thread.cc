#include "vm_engine/internal/attached_thread.h"

#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "vm_mem/host_fault.h"

namespace vm_engine::internal {
namespace {

// What our handler and those behind it need beyond the registers that the kernel saves.
constexpr std::size_t kStackBytes = 64 << 10;

// A signal stack of this thread, with a page below it that nobody can touch.
class SignalStack {
 public:
  SignalStack() = default;
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;
  ~SignalStack() { take_away(); }

  // False where the host has no memory for it. Does nothing where there is a stack.
  bool give() {
    stack_t now{};
    if (sigaltstack(nullptr, &now) != 0) return false;
    if ((now.ss_flags & SS_DISABLE) == 0) return true;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t frame = getauxval(AT_MINSIGSTKSZ);
    bytes_ = (kStackBytes + frame + 2 * page - 1) / page * page;
    void* const mapped =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return false;
    mapped_ = static_cast<std::byte*>(mapped);
    const stack_t ours = {.ss_sp = mapped_ + page, .ss_flags = 0, .ss_size = bytes_ - page};
    if (mprotect(mapped_, page, PROT_NONE) == 0 && sigaltstack(&ours, nullptr) == 0) return true;
    take_away();
    return false;
  }

 private:
  void take_away() {
    if (mapped_ == nullptr) return;
    stack_t now{};
    const bool known = sigaltstack(nullptr, &now) == 0;
    auto* const base = static_cast<std::byte*>(now.ss_sp);
    const bool in_use =
        known && (now.ss_flags & SS_DISABLE) == 0 && base >= mapped_ && base < mapped_ + bytes_;
    const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    // Kept where it could not be disabled: the thread runs on it.
    if (in_use && sigaltstack(&none, nullptr) != 0) return;
    munmap(mapped_, bytes_);
    mapped_ = nullptr;
  }

  std::byte* mapped_ = nullptr;
  std::size_t bytes_ = 0;
};

struct AttachedThread {
  std::atomic<Cpu*> cpu{nullptr};
  SignalStack stack;
};

// Initial-exec: one load in a handler, whatever the library is part of.
thread_local constinit AttachedThread* this_thread [[gnu::tls_model("initial-exec")]] = nullptr;

std::mutex threads_mutex;
std::vector<AttachedThread*>& threads() {
  static auto* const all = new std::vector<AttachedThread*>;
  return *all;
}

// Ends with the thread.
struct ThreadEnd {
  ThreadEnd() = default;
  ThreadEnd(const ThreadEnd&) = delete;
  ThreadEnd& operator=(const ThreadEnd&) = delete;
  ~ThreadEnd() { detach_this_thread(); }
};

// Under threads_mutex. Null: no thread has it.
AttachedThread* thread_of(const Cpu& cpu) {
  for (AttachedThread* thread : threads()) {
    if (thread->cpu.load(std::memory_order_relaxed) == &cpu) return thread;
  }
  return nullptr;
}

vme_rc make_this_thread() try {
  thread_local const ThreadEnd at_the_end;
  static_cast<void>(at_the_end);
  auto made = std::make_unique<AttachedThread>();
  if (!made->stack.give()) return VME_ENOMEM;
  const std::lock_guard lock(threads_mutex);
  threads().push_back(made.get());
  this_thread = made.release();
  return VME_OK;
} catch (const std::bad_alloc&) {
  return VME_ENOMEM;
}

std::uint64_t peek(std::uint64_t& field) {
  return std::atomic_ref<std::uint64_t>(field).load(std::memory_order_relaxed);
}

bool runs_one_of(Cpu& cpu, std::span<const vme_site> sites) {
  const std::uint64_t begin = peek(cpu.cur_blk_lo);
  const std::uint64_t end = peek(cpu.cur_blk_hi);
  return std::any_of(sites.begin(), sites.end(), [&](const vme_site& site) {
    return begin <= site.guest_pc && site.guest_pc < end;
  });
}

}  // namespace

Cpu* attached_cpu() {
  const AttachedThread* const thread = this_thread;
  return thread == nullptr ? nullptr : thread->cpu.load(std::memory_order_relaxed);
}

vme_rc attach_this_thread(Cpu& cpu) {
  {
    const std::lock_guard lock(threads_mutex);
    const AttachedThread* const owner = thread_of(cpu);
    if (owner != nullptr && owner != this_thread) return VME_EINVAL;
  }
  if (this_thread == nullptr) {
    if (const vme_rc made = make_this_thread(); made != VME_OK) return made;
  }
  vm_mem::prepare_thread_for_host_faults();
  const std::lock_guard lock(threads_mutex);
  const AttachedThread* const owner = thread_of(cpu);
  if (owner != nullptr && owner != this_thread) return VME_EINVAL;
  this_thread->cpu.store(&cpu, std::memory_order_relaxed);
  return VME_OK;
}

void detach_this_thread() {
  if (this_thread == nullptr) return;
  const std::unique_ptr<AttachedThread> ended(this_thread);
  const std::lock_guard lock(threads_mutex);
  std::erase(threads(), this_thread);
  this_thread = nullptr;
}

void detach_from_its_thread(const Cpu& cpu) {
  const std::lock_guard lock(threads_mutex);
  if (AttachedThread* const thread = thread_of(cpu); thread != nullptr) thread->cpu.store(nullptr);
}

bool runs_one_of(const vme_engine& engine, std::span<const vme_site> sites) {
  const std::lock_guard lock(threads_mutex);
  return std::any_of(threads().begin(), threads().end(), [&](const AttachedThread* thread) {
    Cpu* const cpu = thread->cpu.load(std::memory_order_relaxed);
    return cpu != nullptr && &cpu->engine() == &engine && runs_one_of(*cpu, sites);
  });
}

void lock_threads_for_fork() { threads_mutex.lock(); }
void unlock_threads_after_fork() { threads_mutex.unlock(); }

void forget_other_threads() {
  std::erase_if(threads(), [](AttachedThread* thread) {
    const std::unique_ptr<AttachedThread> gone(thread == this_thread ? nullptr : thread);
    return gone != nullptr;
  });
}

}  // namespace vm_engine::internal
