#include "vm_engine/code_memory.h"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine {

struct CodeMemory::Views {
  explicit Views(vm_mem::HostMapping mapping) : writable(std::move(mapping)) {}
  ~Views() {
    if (executable != MAP_FAILED) munmap(executable, bytes());
  }
  Views(const Views&) = delete;
  Views& operator=(const Views&) = delete;

  std::size_t bytes() const { return writable.bytes().size(); }
  absl::Status map_executable() {
    executable = mmap(nullptr, bytes(), PROT_READ | PROT_EXEC, MAP_SHARED, writable.fd(),
                      static_cast<off_t>(writable.fd_offset()));
    if (executable != MAP_FAILED) return absl::OkStatus();
    const int error = errno;
    const std::string text =
        absl::StrFormat("0x%x bytes of code memory: mmap(PROT_EXEC): errno %d", bytes(), error);
    if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
    return absl::ResourceExhaustedError(text);
  }

  vm_mem::HostMapping writable;
  void* executable = MAP_FAILED;
};

CodeMemory::CodeMemory(std::unique_ptr<Views> views) : views_(std::move(views)) {}
CodeMemory::CodeMemory(CodeMemory&&) noexcept = default;
CodeMemory& CodeMemory::operator=(CodeMemory&&) noexcept = default;
CodeMemory::~CodeMemory() = default;

absl::StatusOr<CodeMemory> CodeMemory::create(std::size_t bytes) {
  absl::StatusOr<vm_mem::HostMapping> mapping = vm_mem::HostMapping::memfd(bytes);
  if (!mapping.ok()) return mapping.status();
  std::unique_ptr<Views> views(new (std::nothrow) Views(*std::move(mapping)));
  if (views == nullptr) return absl::ResourceExhaustedError("no host memory for code memory");
  if (absl::Status mapped = views->map_executable(); !mapped.ok()) return mapped;
  return CodeMemory(std::move(views));
}

std::span<std::byte> CodeMemory::writable() const { return views_->writable.bytes(); }

std::span<const std::byte> CodeMemory::executable() const {
  return {static_cast<const std::byte*>(views_->executable), views_->bytes()};
}

absl::Status CodeMemory::check_inside(std::size_t offset, std::size_t bytes) const {
  const std::size_t size = views_->bytes();
  if (offset <= size && bytes <= size - offset) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrFormat(
      "0x%x bytes at offset 0x%x of code memory of 0x%x bytes", bytes, offset, size));
}

absl::Status CodeMemory::write(std::size_t offset, std::span<const std::byte> code) {
  if (absl::Status inside = check_inside(offset, code.size()); !inside.ok()) return inside;
  vm_mem::memcpy_raw(writable().data() + offset, code.data(), code.size());
  return publish(offset, code.size());
}

// Both views: the data cache is cleaned by the one address, the instruction cache
// invalidated by the other. x86 does both by itself.
absl::Status CodeMemory::publish(std::size_t offset, std::size_t bytes) {
  if (absl::Status inside = check_inside(offset, bytes); !inside.ok()) return inside;
  const auto clear = [=](std::byte* view) {
    auto* const begin = reinterpret_cast<char*>(view) + offset;
    __builtin___clear_cache(begin, begin + bytes);
  };
  clear(writable().data());
  clear(static_cast<std::byte*>(views_->executable));
  return absl::OkStatus();
}

absl::Status CodeMemory::synchronize_threads() {
  const auto membarrier = [](int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; };
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)) return absl::OkStatus();
  if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) &&
      membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(
      absl::StrFormat("membarrier(PRIVATE_EXPEDITED_SYNC_CORE): errno %d", errno));
}

}  // namespace vm_engine
