#include "vm_mem/internal/process_barrier.h"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kPageBytes = 4096;

bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

absl::Status register_membarrier() {
  if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrFormat(
      "membarrier(PRIVATE_EXPEDITED) is refused: errno %d; it takes Linux 4.14, and a seccomp "
      "filter that lets it pass",
      errno));
}

// A process that was forked from one that is registered may have to do it again.
absl::Status run_membarrier() {
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return absl::OkStatus();
  if (register_membarrier().ok() && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrFormat("membarrier failed: errno %d", errno));
}

absl::StatusOr<void*> map_page() {
  void* const page =
      mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page != MAP_FAILED) return page;
  return absl::UnimplementedError(absl::StrFormat("no page for a barrier: errno %d", errno));
}

// The page is written in between, because the kernel interrupts nobody for a translation
// that cannot be in use. Other CPUs have finished the interrupt, which serializes them,
// when mprotect returns.
absl::Status toggle_protection(void* page) {
  if (mprotect(page, kPageBytes, PROT_READ | PROT_WRITE) == 0) {
    static_cast<std::atomic<std::uint32_t>*>(page)->fetch_add(1, std::memory_order_seq_cst);
    if (mprotect(page, kPageBytes, PROT_READ) == 0) {
      std::atomic<int> full{0};
      full.exchange(1, std::memory_order_seq_cst);  // for this thread
      return absl::OkStatus();
    }
  }
  return absl::UnavailableError(absl::StrFormat("mprotect failed: errno %d", errno));
}

void append_reason(const absl::Status& status, std::string& reasons) {
  if (!reasons.empty()) reasons += "; ";
  reasons += std::string(status.message());
}

}  // namespace

absl::StatusOr<ProcessBarrier> ProcessBarrier::make(std::span<const BarrierForm> allowed) {
  std::string reasons;
  for (const BarrierForm form : allowed) {
    absl::Status offered =
        form == BarrierForm::kMembarrier ? register_membarrier() : protection_change_interrupts();
    if (!offered.ok()) {
      append_reason(offered, reasons);
      continue;
    }
    if (form == BarrierForm::kMembarrier) return ProcessBarrier(form, nullptr);
    const absl::StatusOr<void*> page = map_page();
    if (page.ok()) return ProcessBarrier(form, *page);
    append_reason(page.status(), reasons);
  }
  return absl::UnimplementedError(
      absl::StrFormat("no barrier for all threads of the process: %s", reasons));
}

ProcessBarrier::ProcessBarrier(ProcessBarrier&& other) noexcept
    : form_(other.form_), page_(std::exchange(other.page_, nullptr)) {}

ProcessBarrier& ProcessBarrier::operator=(ProcessBarrier&& other) noexcept {
  std::swap(form_, other.form_);
  std::swap(page_, other.page_);
  return *this;
}

ProcessBarrier::~ProcessBarrier() {
  if (page_ != nullptr) munmap(page_, kPageBytes);
}

absl::Status ProcessBarrier::run() {
  return form_ == BarrierForm::kMembarrier ? run_membarrier() : toggle_protection(page_);
}

}  // namespace vm_mem::internal
