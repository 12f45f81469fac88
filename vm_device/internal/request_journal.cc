#include "vm_device/internal/request_journal.h"

#include <algorithm>
#include <utility>

namespace vm_device::internal {
namespace {

// After what all journals begin with: these of 2 bytes each, then the entries.
constexpr std::uint64_t kLastBatchHead = 12;
constexpr std::uint64_t kUsed = 14;
constexpr std::uint64_t kEntries = 16;
constexpr std::uint64_t kEntryBytes = 16;

// An entry: a flag (1 byte), the head given back before it in a batch, when it was taken.
constexpr std::uint64_t kNext = 6;
constexpr std::uint64_t kTaken = 8;

}  // namespace

std::uint64_t RequestJournal::bytes_for(std::uint32_t size) {
  return JournalRegion::bytes_for(kEntries, size * kEntryBytes);
}

std::uint64_t RequestJournal::entry(std::uint16_t head) const {
  return kEntries + head * kEntryBytes;
}

// What the driver sees used and the journal does not know of was published by a back end that
// ended right after it.
void RequestJournal::finish_batch(std::uint16_t used) {
  const auto missed = static_cast<std::uint16_t>(used - region_.load<std::uint16_t>(kUsed));
  auto head = region_.load<std::uint16_t>(kLastBatchHead);
  for (std::uint16_t i = 0; i < std::min(missed, size_) && head < size_; ++i) {
    region_.store(entry(head), std::uint8_t{0});
    head = region_.load<std::uint16_t>(entry(head) + kNext);
  }
  region_.store(kUsed, used);
}

std::optional<std::vector<std::uint16_t>> RequestJournal::open(const Ring& ring) {
  const JournalRegion::Found found = region_.find(size_);
  if (found == JournalRegion::Found::kAnother) return std::nullopt;
  std::vector<std::uint16_t> heads;
  has_forgotten_ = found == JournalRegion::Found::kJournal && !is_of(ring);
  if (found == JournalRegion::Found::kJournal && !has_forgotten_) {
    finish_batch(ring.used);
    heads = find_requests();
    has_forgotten_ =
        heads.size() > static_cast<std::uint16_t>(ring.available - ring.used) ||
        std::any_of(heads.begin(), heads.end(), [&](auto head) { return head >= ring.size; });
  }
  if (found == JournalRegion::Found::kNothing || has_forgotten_) {
    begin_at(ring.used);
    heads.clear();
  }
  batch_.clear();
  return heads;
}

// A back end that ends has published at most what it had, and the journal does not know of.
bool RequestJournal::is_of(const Ring& ring) const {
  return static_cast<std::uint16_t>(ring.used - region_.load<std::uint16_t>(kUsed)) <= ring.size;
}

std::vector<std::uint16_t> RequestJournal::find_requests() {
  std::vector<std::pair<std::uint64_t, std::uint16_t>> left;
  for (std::uint16_t head = 0; head < size_; ++head) {
    const auto count = region_.load<std::uint64_t>(entry(head) + kTaken);
    if (region_.load<std::uint8_t>(entry(head)) != 0) left.emplace_back(count, head);
  }
  std::sort(left.begin(), left.end());
  next_count_ = left.empty() ? 0 : left.back().first + 1;
  std::vector<std::uint16_t> heads;
  for (const auto& [count, head] : left) heads.push_back(head);
  return heads;
}

void RequestJournal::begin_at(std::uint16_t used) {
  region_.forget();
  for (std::uint16_t head = 0; head < size_; ++head) region_.store(entry(head), std::uint8_t{0});
  region_.store(kUsed, used);
  region_.begin(size_);
}

void RequestJournal::take(std::uint16_t head) {
  region_.store(entry(head) + kTaken, next_count_++);
  region_.store(entry(head), std::uint8_t{1});
}

void RequestJournal::stage(std::uint16_t head) {
  region_.store(entry(head) + kNext, region_.load<std::uint16_t>(kLastBatchHead));
  region_.store(kLastBatchHead, head);
  batch_.push_back(head);
}

void RequestJournal::publish(std::uint16_t used) {
  for (const std::uint16_t head : batch_) region_.store(entry(head), std::uint8_t{0});
  batch_.clear();
  region_.store(kUsed, used);
  has_given_back_ = true;
}

}  // namespace vm_device::internal
