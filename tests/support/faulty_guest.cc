#include "tests/support/faulty_guest.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>

#include "tests/support/bytes.h"
#include "tests/support/guest_range.h"

namespace vm_test {
namespace {

using vm_mem::Backing;
using vm_mem::GuestAddress;

void require(bool right, const char* what) {
  if (!right) throw std::runtime_error(what);
}

// Of the page in the middle of an area.
bool is_bad(std::uint64_t area, std::uint64_t gpa) {
  return gpa - area - FaultyGuest::kPageBytes < FaultyGuest::kPageBytes;
}

constexpr std::uint64_t kPage = FaultyGuest::kPageBytes;

}  // namespace

FaultyGuest::FaultyGuest()
    : memory_(vm_mem::MemoryManager::create({}).value()), noise_(noise(kEnd, 17)), image_(noise_) {
  add_regions();
  engine_.reset(vm_engine::create_engine(*memory_, {}).value());
  vme_cpu* made = nullptr;
  require(vme_cpu_create(engine_.get(), &made) == VME_OK, "no vCPU");
  cpu_.reset(made);
  require(vme_fault_install(0) == VME_OK && vme_thread_attach(made) == VME_OK, "no handler");
  arena_ =
      vm_engine::FastmemArena::create(*memory_, {.bytes = 1 << 24, .guard_bytes = 1 << 20}).value();
  require(arena_->mode() == vm_engine::FastmemMode::kFastmem && arena_->attach(made).ok(),
          "no arena");
  const auto* const watched = memory_->map()->find(GuestAddress{kWatched});
  require(arena_->protect(watched->region, kPage, kPage).ok(), "no protection");
}

FaultyGuest::~FaultyGuest() {
  arena_->detach(cpu_.get());
  vme_thread_detach();
}

void FaultyGuest::add_regions() {
  const auto add = [&](std::uint64_t gpa, std::uint64_t pages, vm_mem::RamOptions options) {
    require(memory_->add_ram(range(gpa, pages * kPage), options).ok(), "no RAM");
  };
  add(kPlain, 4, {.backing = Backing::kMemfd});
  for (const std::uint64_t area : {kHole, kReadOnly, kLost}) {
    add(area, 1, {.backing = Backing::kMemfd});
    add(area + 2 * kPage, 1, {.backing = Backing::kMemfd});
  }
  add(kWatched, 3, {.backing = Backing::kMemfd});
  const std::span<const std::byte> rom = std::span(noise_).subspan(kReadOnly + kPage, kPage);
  require(memory_->add_rom(range(kReadOnly + kPage, kPage), rom).ok(), "no ROM");
  const int file = memfd_create("short", MFD_CLOEXEC);
  require(file >= 0 && ftruncate(file, kPage) == 0, "no file");
  add(kLost + kPage, 1, {.backing = Backing::kFile, .fd = file});
  require(ftruncate(file, 0) == 0, "the file is not cut");
  close(file);
  find_pages();
  for (std::uint64_t gpa = 0; gpa < kEnd; gpa += kPage) {
    if (has(gpa, VME_ACCESS_WRITE)) std::memcpy(page(gpa), &noise_[gpa], kPage);
  }
}

void FaultyGuest::find_pages() {
  const auto map = memory_->map();
  for (std::uint64_t gpa = 0; gpa < kEnd; gpa += kPage) {
    const vm_mem::MapSection* const section = map->find(GuestAddress{gpa});
    if (section == nullptr || is_bad(kLost, gpa)) continue;
    pages_[gpa / kPage] = section->host + (gpa - section->range.begin().value);
  }
}

bool FaultyGuest::has(std::uint64_t gpa, std::uint32_t access) const {
  return page(gpa) != nullptr && (access == VME_ACCESS_READ || !is_bad(kReadOnly, gpa));
}

std::uint32_t FaultyGuest::why(std::uint64_t gpa, std::uint32_t access) const {
  if (has(gpa, access)) return VME_OK;
  if (is_bad(kLost, gpa)) return VME_BUS;
  return is_bad(kReadOnly, gpa) ? VME_PROT : VME_UNMAPPED;
}

// That the host lost a page shows when it is touched, after the map has been asked: of two
// that fail at a byte the one that the map refuses is named.
GuestOutcome FaultyGuest::expected_of(const GuestOperation& operation) const {
  for (std::uint64_t done = 0; done < operation.bytes; ++done) {
    const std::uint64_t src = operation.src + done, dst = operation.dst + done;
    const bool reaches = !operation.reads || has(src, VME_ACCESS_READ);
    const bool lands = !operation.writes || has(dst, VME_ACCESS_WRITE);
    if (reaches && lands) continue;
    const bool is_source = !reaches && (lands || is_bad(kLost, dst) || !is_bad(kLost, src));
    const std::uint64_t gva = is_source ? src : dst;
    const std::uint32_t access = is_source ? VME_ACCESS_READ : VME_ACCESS_WRITE;
    return {.done = operation.whole ? 0 : done,
            .rc = why(gva, access),
            .side = is_source ? std::uint8_t{VME_SIDE_SOURCE} : std::uint8_t{VME_SIDE_DESTINATION},
            .gva = gva};
  }
  return {.done = operation.bytes};
}

void FaultyGuest::expect(const GuestOperation& operation, std::uint64_t done) {
  if (!operation.writes) return;
  if (operation.content.empty()) {
    std::memmove(&image_[operation.dst], &image_[operation.src], done);
  } else {
    std::copy_n(operation.content.begin(), done, &image_[operation.dst]);
  }
}

bool FaultyGuest::is_as_expected(const GuestOperation& operation) const {
  const std::uint64_t low = operation.writes ? operation.dst : operation.src;
  const std::uint64_t first = (low - 128) / kPage * kPage;
  for (std::uint64_t gpa = first; gpa < low + operation.bytes + kPage; gpa += kPage) {
    if (gpa >= kEnd || page(gpa) == nullptr) continue;
    if (std::memcmp(page(gpa), &image_[gpa], kPage) != 0) return false;
  }
  return true;
}

void FaultyGuest::restore(const GuestOperation& operation) {
  if (!operation.writes) return;
  const std::uint64_t end = operation.dst + operation.bytes;
  for (std::uint64_t gpa = operation.dst / kPage * kPage; gpa < end; gpa += kPage) {
    if (!has(gpa, VME_ACCESS_WRITE)) continue;
    const std::uint64_t from = std::max(gpa, operation.dst);
    const std::uint64_t bytes = std::min(gpa + kPage, end) - from;
    std::memcpy(page(gpa) + (from - gpa), &noise_[from], bytes);
    std::memcpy(&image_[from], &noise_[from], bytes);
  }
}

}  // namespace vm_test
