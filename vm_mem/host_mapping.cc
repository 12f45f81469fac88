#include "vm_mem/host_mapping.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_advice.h"
#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_huge.h"
#include "vm_mem/internal/host_memory_reservation.h"
#include "vm_mem/internal/host_memory_source.h"

namespace vm_mem {
namespace {

using internal::host_page_bytes;
using internal::host_refused;
using internal::PageSource;
using internal::PageTraits;

using Made = absl::StatusOr<HostMapping>;
using MadeSource = absl::StatusOr<std::unique_ptr<PageSource>>;

// 0 where the size does not fit once rounded up.
std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
  if (bytes > std::numeric_limits<std::size_t>::max() - unit) return 0;
  return (bytes + unit - 1) / unit * unit;
}

// How much address space the mapping takes.
absl::StatusOr<std::size_t> capacity_of(std::size_t bytes, std::size_t max_bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("a host mapping of 0x0 bytes");
  if (max_bytes != 0 && max_bytes < bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_bytes 0x%x is below the size 0x%x", max_bytes, bytes));
  }
  const std::size_t capacity = rounded_up(std::max(bytes, max_bytes), host_page_bytes());
  if (capacity == 0) return host_refused("mmap", bytes, ENOMEM);
  return capacity;
}

internal::ReservationShape shape_of(std::size_t capacity, const PageTraits& traits,
                                    const HostMemoryOptions& options) {
  const bool huge =
      options.huge_pages == HugePageAdvice::kAlways || capacity >= internal::kHugeAlignment;
  return {.bytes = capacity,
          .alignment = std::max(traits.page_bytes, huge ? internal::kHugeAlignment : 0),
          .guard_bytes = options.guards == GuardPages::kBothSides ? host_page_bytes() : 0};
}

absl::Status protect(std::span<std::byte> part) {
  if (::mprotect(part.data(), part.size(), PROT_READ) == 0) return absl::OkStatus();
  return host_refused("mprotect", part.size(), errno);
}

absl::Status check_huge_multiple(std::size_t bytes, std::uint64_t huge_page_bytes) {
  if (bytes % huge_page_bytes == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "0x%x bytes are not a multiple of the huge page of 0x%x", bytes, huge_page_bytes));
}

absl::Status check_caller_memory(std::span<std::byte> memory, std::size_t capacity) {
  if (memory.empty() || memory.size() < capacity) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the caller's memory has 0x%x bytes, where 0x%x are needed", memory.size(), capacity));
  }
  const auto past = reinterpret_cast<std::uintptr_t>(memory.data()) % host_page_bytes();
  if (past == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "the caller's memory begins 0x%x bytes past a page of the host (0x%x bytes): allocate it "
      "with mmap or aligned_alloc",
      past, host_page_bytes()));
}

}  // namespace

Made HostMapping::anonymous(std::size_t bytes, const HostMappingOptions& options) {
  return make(nullptr, bytes, options);
}

Made HostMapping::memfd(std::size_t bytes, const HostMappingOptions& options) {
  const absl::StatusOr<std::size_t> capacity = capacity_of(bytes, options.max_bytes);
  if (!capacity.ok()) return capacity.status();
  MadeSource source = internal::memfd_source(*capacity);
  if (!source.ok()) return source.status();
  return make(*std::move(source), bytes, options);
}

Made HostMapping::file(std::size_t bytes, const HostFile& file, const HostMappingOptions& options) {
  MadeSource source = internal::file_source(file);
  if (!source.ok()) return source.status();
  return make(*std::move(source), bytes, options);
}

Made HostMapping::hugetlb(std::size_t bytes, std::uint64_t huge_page_bytes,
                          const HostMappingOptions& options) {
  const absl::StatusOr<std::size_t> capacity = capacity_of(bytes, options.max_bytes);
  if (!capacity.ok()) return capacity.status();
  absl::Status known = internal::check_huge_page_size(huge_page_bytes);
  if (known.ok()) known = check_huge_multiple(bytes, huge_page_bytes);
  if (known.ok()) known = check_huge_multiple(*capacity, huge_page_bytes);
  if (!known.ok()) return known;
  MadeSource source = internal::hugetlb_source(*capacity, huge_page_bytes);
  if (!source.ok()) return source.status();
  return make(*std::move(source), bytes, options);
}

Made HostMapping::caller_owned(std::span<std::byte> memory, std::size_t bytes,
                               const HostMappingOptions& options) {
  const absl::StatusOr<std::size_t> capacity = capacity_of(bytes, options.max_bytes);
  if (!capacity.ok()) return capacity.status();
  absl::Status usable = check_caller_memory(memory, *capacity);
  if (usable.ok()) usable = internal::check_caller_owned(options.host);
  if (!usable.ok()) return usable;
  HostMapping mapping;
  mapping.source_ = internal::caller_owned_source();
  mapping.bytes_ = memory.first(0);
  mapping.max_bytes_ = *capacity;
  mapping.host_ = options.host;
  if (absl::Status grown = mapping.grow(bytes); !grown.ok()) return grown;
  return mapping;
}

// On every error the mapping takes what it has got with it.
Made HostMapping::make(std::unique_ptr<PageSource> source, std::size_t bytes,
                       const HostMappingOptions& options) {
  const absl::StatusOr<std::size_t> capacity = capacity_of(bytes, options.max_bytes);
  if (!capacity.ok()) return capacity.status();
  HostMapping mapping;
  mapping.source_ = std::move(source);
  mapping.max_bytes_ = *capacity;
  mapping.host_ = options.host;
  const PageTraits traits = mapping.source().traits();
  mapping.writable_ = traits.access == FileAccess::kReadWrite;
  absl::Status status = internal::check_options(options.host, traits);
  if (status.ok()) status = mapping.source().check_length(bytes);
  if (!status.ok()) return status;
  const auto reserved = internal::reserve_addresses(shape_of(*capacity, traits, options.host));
  if (!reserved.ok()) return reserved.status();
  mapping.reserved_ = reserved->whole;
  mapping.bytes_ = reserved->content.first(0);
  if (absl::Status grown = mapping.grow(bytes); !grown.ok()) return grown;
  return mapping;
}

HostMapping::HostMapping() = default;

HostMapping::HostMapping(HostMapping&& other) noexcept
    : reserved_(std::exchange(other.reserved_, {})),
      bytes_(std::exchange(other.bytes_, {})),
      max_bytes_(std::exchange(other.max_bytes_, 0)),
      writable_(other.writable_),
      source_(std::move(other.source_)),
      host_(std::move(other.host_)) {}

HostMapping& HostMapping::operator=(HostMapping&& other) noexcept {
  if (this == &other) return *this;
  release();
  reserved_ = std::exchange(other.reserved_, {});
  bytes_ = std::exchange(other.bytes_, {});
  max_bytes_ = std::exchange(other.max_bytes_, 0);
  writable_ = other.writable_;
  source_ = std::move(other.source_);
  host_ = std::move(other.host_);
  return *this;
}

HostMapping::~HostMapping() { release(); }

void HostMapping::release() noexcept {
  internal::release_addresses(std::exchange(reserved_, {}));
  bytes_ = {};
}

const PageSource& HostMapping::source() const {
  return source_ == nullptr ? internal::anonymous_source() : *source_;
}

std::size_t HostMapping::page_bytes() const { return source().traits().page_bytes; }
int HostMapping::fd() const { return source().shareable_fd(); }
std::uint64_t HostMapping::fd_offset() const { return source().fd_offset(); }

std::span<std::byte> HostMapping::part(std::size_t offset, std::size_t bytes) const {
  return {bytes_.data() + offset, bytes};
}

absl::Status HostMapping::make_read_only() {
  absl::Status status = protect(bytes_);
  if (status.ok()) writable_ = false;
  return status;
}

absl::Status HostMapping::resize(std::size_t bytes) {
  const std::size_t rounded = rounded_up(bytes, page_bytes());
  if (rounded == 0 || rounded > max_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a resize to 0x%x bytes: this mapping can have 0x%x to 0x%x", bytes,
                        page_bytes(), max_bytes_));
  }
  return rounded > bytes_.size() ? grow(bytes) : shrink(rounded);
}

absl::Status HostMapping::grow(std::size_t bytes) {
  if (absl::Status there = source().check_length(bytes); !there.ok()) return there;
  const std::size_t begin = bytes_.size();
  const auto added = part(begin, rounded_up(bytes, page_bytes()) - begin);
  // A sharer may have written there meanwhile.
  absl::Status zero = begin == 0 ? absl::OkStatus() : source().drop(begin, added.size());
  if (!zero.ok()) return zero;
  if (absl::Status mapped = source().map(added, begin); !mapped.ok()) return mapped;
  absl::Status treated = internal::apply_options(added, begin, source(), host_);
  if (treated.ok() && !writable_) treated = protect(added);
  if (!treated.ok()) {
    give_back(added, begin).IgnoreError();  // `treated` is the reason to tell
    return treated;
  }
  bytes_ = part(0, begin + added.size());
  return absl::OkStatus();
}

absl::Status HostMapping::shrink(std::size_t bytes) {
  if (absl::Status cut = give_back(bytes_.subspan(bytes), bytes); !cut.ok()) return cut;
  bytes_ = bytes_.first(bytes);
  return absl::OkStatus();
}

// The addresses stay reserved. That they are inaccessible counts; what a source does not
// free at once goes when the part is mapped again, or with the source.
absl::Status HostMapping::give_back(std::span<std::byte> cut, std::size_t offset) const {
  if (reserved_.empty() || cut.empty()) return absl::OkStatus();
  if (absl::Status blank = internal::blank_addresses(cut); !blank.ok()) return blank;
  source().drop(offset, cut.size()).IgnoreError();
  return absl::OkStatus();
}

absl::Status HostMapping::check_inside(std::size_t offset, std::size_t bytes) const {
  const std::size_t page = page_bytes();
  if (offset % page == 0 && bytes % page == 0 && offset <= bytes_.size() &&
      bytes <= bytes_.size() - offset) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "a discard of 0x%x bytes at offset 0x%x of 0x%x must lie inside, in units of 0x%x", bytes,
      offset, bytes_.size(), page));
}

absl::Status HostMapping::refresh(std::size_t offset, std::size_t bytes) {
  if (absl::Status inside = check_inside(offset, bytes); !inside.ok()) return inside;
  if (bytes == 0) return absl::OkStatus();
  absl::Status fresh = source().refresh(bytes_.subspan(offset, bytes), offset);
  return fresh.ok() ? source().check_length(offset + bytes) : fresh;
}

absl::Status HostMapping::discard(std::size_t offset, std::size_t bytes) {
  if (absl::Status inside = check_inside(offset, bytes); !inside.ok()) return inside;
  if (!writable_) return absl::FailedPreconditionError("read-only memory cannot be discarded");
  if (bytes == 0) return absl::OkStatus();
  return source().discard(bytes_.subspan(offset, bytes), offset);
}

}  // namespace vm_mem
