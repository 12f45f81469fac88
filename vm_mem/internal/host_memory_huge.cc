#include "vm_mem/internal/host_memory_huge.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/internal/host_memory_reservation.h"

namespace vm_mem::internal {
namespace {

std::string pool_folder(std::uint64_t huge_page_bytes) {
  return absl::StrFormat("/sys/kernel/mm/hugepages/hugepages-%ukB", huge_page_bytes >> 10);
}

std::optional<std::uint64_t> read_count(const std::string& path) {
  const HostFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return std::nullopt;
  char text[32];
  const ssize_t length = ::read(file.get(), text, sizeof text);
  if (length <= 0) return std::nullopt;
  std::uint64_t count = 0;
  const auto parsed = std::from_chars(text, text + length, count);
  return parsed.ec == std::errc() ? std::optional(count) : std::nullopt;
}

}  // namespace

absl::Status check_huge_page_size(std::uint64_t huge_page_bytes) {
  if (!std::has_single_bit(huge_page_bytes) || huge_page_bytes <= host_page_bytes()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("huge pages of 0x%x bytes: the size is a power of two above 0x%x",
                        huge_page_bytes, host_page_bytes()));
  }
  const std::string folder = pool_folder(huge_page_bytes);
  if (::access(folder.c_str(), F_OK) == 0) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrFormat(
      "the host has no huge pages of 0x%x bytes: there is no %s", huge_page_bytes, folder));
}

std::optional<HugePagePool> huge_page_pool(std::uint64_t huge_page_bytes) {
  const std::string folder = pool_folder(huge_page_bytes);
  const auto total = read_count(folder + "/nr_hugepages");
  const auto free = read_count(folder + "/free_hugepages");
  const auto reserved = read_count(folder + "/resv_hugepages");
  if (!total || !free || !reserved) return std::nullopt;
  return HugePagePool{*total, *free > *reserved ? *free - *reserved : 0};
}

std::string huge_page_file(std::uint64_t huge_page_bytes) {
  return pool_folder(huge_page_bytes) + "/nr_hugepages";
}

absl::Status huge_page_pool_refused(std::uint64_t bytes, std::uint64_t huge_page_bytes, int error) {
  const auto pool = huge_page_pool(huge_page_bytes);
  const std::uint64_t needed = bytes / huge_page_bytes;
  if (error != ENOMEM || !pool || pool->available_pages >= needed) {
    return host_refused("mmap(MFD_HUGETLB)", bytes, error);
  }
  const std::uint64_t missing = needed - pool->available_pages;
  return absl::ResourceExhaustedError(absl::StrFormat(
      "0x%x bytes need %u huge pages of 0x%x bytes; %u are available, %u are missing (errno %d): "
      "write %u to %s",
      bytes, needed, huge_page_bytes, pool->available_pages, missing, error,
      pool->total_pages + missing, huge_page_file(huge_page_bytes)));
}

}  // namespace vm_mem::internal
