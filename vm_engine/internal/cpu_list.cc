#include "vm_engine/internal/cpu_list.h"

#include <algorithm>
#include <chrono>

#include "vm_engine/internal/cpu.h"

namespace vm_engine::internal {
namespace {

// How long an exit_request that another thread sets can go unseen by who waits here.
constexpr std::chrono::microseconds kLook{200};

}  // namespace

void CpuMailbox::post(const CpuRequest& request, std::uint64_t ticket) {
  posted_ = ticket;
  if (request.bytes == 0) return;
  if (count_ < kMost) requests_[count_] = request;
  if (count_ <= kMost) ++count_;
}

void CpuList::add(Cpu& cpu) {
  const std::lock_guard lock(mutex_);
  cpu.next_ = first_;
  first_ = &cpu;
}

void CpuList::remove(Cpu& cpu) {
  const std::lock_guard lock(mutex_);
  Cpu** link = &first_;
  while (*link != &cpu) link = &(*link)->next_;
  *link = cpu.next_;
  changed_.notify_all();
}

bool CpuList::has(const Cpu& cpu) {
  const std::lock_guard lock(mutex_);
  for (const Cpu* at = first_; at != nullptr; at = at->next_) {
    if (at == &cpu) return true;
  }
  return false;
}

bool CpuList::all_done(std::uint64_t ticket, const Cpu* self) const {
  for (const Cpu* cpu = first_; cpu != nullptr; cpu = cpu->next_) {
    if (cpu != self && !cpu->is_parked() && !cpu->mailbox_.is_done(ticket)) return false;
  }
  return true;
}

vme_rc CpuList::ask(const CpuRequest& request, Cpu* self, Patience patience,
                    const OpenPages::Words* open) {
  std::unique_lock lock(mutex_);
  const std::uint64_t ticket = ++tickets_;
  for (Cpu* cpu = first_; cpu != nullptr; cpu = cpu->next_) {
    if (cpu == self || cpu->is_parked()) continue;
    if (open != nullptr && !cpu->open_pages().may_hold_one_of(*open)) continue;
    cpu->mailbox_.post(request, ticket);
    cpu->call_in();
  }
  changed_.notify_all();
  const auto end = std::chrono::steady_clock::now() + kMostPatience;
  while (!all_done(ticket, self)) {
    if (patience == Patience::kLimited && std::chrono::steady_clock::now() > end) return VME_EBUSY;
    if (self != nullptr && self->is_called()) {
      lock.unlock();
      self->engine().cpus.attend(*self);
      lock.lock();
    } else if (self != nullptr && self->exit_requested()) {
      return VME_INTR;
    } else {
      changed_.wait_for(lock, kLook);
    }
  }
  return VME_OK;
}

vme_rc CpuList::close_everywhere(const OpenPages::Words& buckets, Cpu* self) {
  __sync_synchronize();  // against OpenPages::note()
  if (self != nullptr) self->close_guarded_pages();
  return ask({}, self, Patience::kLimited, &buckets);
}

// The requests are done without the lock: marking a page may run a watcher's code.
void CpuList::attend(Cpu& cpu) {
  std::unique_lock lock(mutex_);
  CpuMailbox& mailbox = cpu.mailbox_;
  const CpuMailbox taken = mailbox;
  mailbox.count_ = 0;
  cpu.answer();
  if (taken.done_ == taken.posted_) return;
  lock.unlock();
  if (taken.count_ > CpuMailbox::kMost) {
    cpu.flush();
  } else {
    for (std::size_t i = 0; i < taken.count_; ++i) {
      cpu.flush_range(taken.requests_[i].gva, taken.requests_[i].bytes);
    }
  }
  cpu.close_guarded_pages();
  lock.lock();
  mailbox.done_ = std::max(mailbox.done_, taken.posted_);
  changed_.notify_all();
}

void CpuList::park(Cpu& cpu) {
  const std::lock_guard lock(mutex_);
  cpu.mailbox_.count_ = 0;
  cpu.mailbox_.done_ = cpu.mailbox_.posted_;
  cpu.set_parked();
  changed_.notify_all();
}

}  // namespace vm_engine::internal
