#include "vm_device/internal/vhost_user_log.h"

#include <atomic>
#include <bit>
#include <cstring>

#include "absl/strings/str_format.h"
#include "vm_device/internal/event_fd.h"
#include "vm_device/internal/virtio_layout.h"

namespace vm_device::internal {
namespace {

// Several logs may watch one manager's memory in turn.
std::string next_name() {
  static std::atomic<std::uint64_t> last{0};
  return absl::StrFormat("vhost-user %u", last.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace

absl::Status VhostUserLog::start() {
  if (client_) return absl::OkStatus();
  const auto client = memory_.add_dirty_client(next_name());
  if (!client.ok()) return client.status();
  client_ = *client;
  return absl::OkStatus();
}

void VhostUserLog::stop() {
  if (client_) static_cast<void>(memory_.remove_dirty_client(*client_));
  client_.reset();
}

absl::Status VhostUserLog::tell(const VhostUserMemory& regions) {
  if (!client_ || bits_ == nullptr) return absl::OkStatus();
  const absl::Status harvested = memory_.harvest_dirty(*client_, harvest_);
  if (!harvested.ok()) return harvested;
  bool told = false;
  for (const auto& [region, pages] : harvest_) {
    const auto begin = regions.guest_begin(region);
    if (!begin || pages.page_count() == 0) continue;
    told = set(*begin / vm_mem::kGuestPageBytes, pages.words()) || told;
  }
  if (told && signal_.is_open()) signal_event(signal_.get());
  return absl::OkStatus();
}

// A region's first page may be any bit of a word of the log's.
bool VhostUserLog::set(std::uint64_t first_page, std::span<const std::uint64_t> words) {
  const unsigned shift = first_page % 64;
  std::uint64_t index = first_page / 64;
  bool told = false;
  for (const std::uint64_t word : words) {
    if (word != 0) {
      told = true;
      set_word(index, word << shift);
      if (shift != 0) set_word(index + 1, word >> (64 - shift));
    }
    ++index;
  }
  return told;
}

// Pages past the end of the log are not the front end's to hear of; a log that was cut off is
// its own loss.
void VhostUserLog::set_word(std::uint64_t index, std::uint64_t bits) {
  if (bits == 0 || index >= bits_->bytes() / 8 + 1) return;
  const std::uint64_t at = index * 8;
  vm_mem::MemoryManager& log = bits_->memory();
  if (bits_->bytes() - at >= 8) {
    std::uint64_t before = 0;
    static_cast<void>(log.fetch_or(vm_mem::GuestAddress{at}, little_endian(bits), before));
    return;
  }
  for (std::uint64_t byte = at; byte < bits_->bytes(); ++byte, bits >>= 8) {
    std::uint8_t before = 0;
    static_cast<void>(
        log.fetch_or(vm_mem::GuestAddress{byte}, static_cast<std::uint8_t>(bits), before));
  }
}

}  // namespace vm_device::internal
