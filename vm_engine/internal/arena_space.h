// The host addresses of a fastmem arena, its guards included, and what is mapped there.
#ifndef VM_ENGINE_INTERNAL_ARENA_SPACE_H_
#define VM_ENGINE_INTERNAL_ARENA_SPACE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "vm_mem/region_info.h"

namespace vm_engine::internal {

enum class ArenaAccess : std::uint8_t { kNone, kRead, kReadWrite };

// Everything is inaccessible at first. Positions count from base(). Of all calls that
// return bool, false is that the host refused: errno says why, and the pages are as before.
class ArenaSpace {
 public:
  // Units:   whole pages.
  // Errors:  kResourceExhausted; the message names RLIMIT_AS where there is one.
  static absl::StatusOr<ArenaSpace> reserve(std::uint64_t bytes, std::uint64_t guard_bytes);

  ArenaSpace(ArenaSpace&& other) noexcept;
  ArenaSpace& operator=(ArenaSpace&& other) noexcept;
  ~ArenaSpace();

  std::byte* base() const { return base_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t guard_bytes() const { return guard_bytes_; }

  bool show(std::uint64_t at, std::uint64_t bytes, const vm_mem::RegionFile& file,
            std::uint64_t offset, ArenaAccess access);
  // A copy, read-only, which nobody else sees.
  bool show_copy(std::uint64_t at, std::span<const std::byte> content);
  bool hide(std::uint64_t at, std::uint64_t bytes);
  // Memory:  async-signal-safe.
  bool permit(std::uint64_t at, std::uint64_t bytes, ArenaAccess access);

 private:
  ArenaSpace(std::span<std::byte> reserved, std::byte* base, std::uint64_t bytes,
             std::uint64_t guard_bytes)
      : reserved_(reserved), base_(base), bytes_(bytes), guard_bytes_(guard_bytes) {}

  std::span<std::byte> reserved_;
  std::byte* base_;
  std::uint64_t bytes_;
  std::uint64_t guard_bytes_;
};

// Why this host can have no arena at all; empty where it can.
std::string unfit_host(std::size_t host_page_bytes);

// Half of what the host allows a process.
std::size_t default_mapping_budget();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_ARENA_SPACE_H_
