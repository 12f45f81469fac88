#include "vm_device/virtio_balloon.h"

#include <algorithm>
#include <utility>

#include "vm_device/internal/config_space.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

constexpr std::uint16_t kStatisticsQueue = 2;

using vm_mem::GuestAddress;
using vm_mem::GuestRange;

constexpr std::uint64_t kFeatureMustTellHost = 1 << 0;
constexpr std::uint64_t kFeatureStatistics = 1 << 1;
constexpr std::uint64_t kFeatureDeflateOnOom = 1 << 2;
constexpr std::uint64_t kFeatureReporting = 1 << 5;

// Of the configuration space: num_pages, actual.
constexpr std::size_t kBalloonConfigBytes = 8;
constexpr std::uint64_t kConfigActual = 4;

// A discard is a system call and more: 4096 pages here and there take some milliseconds.
// What counts as bytes is pages, and reports.
constexpr TurnLimits kBalloonTurn{.steps = 256, .bytes = 4 * VirtioBalloon::kMaxPagesPerRequest};
constexpr std::size_t kNumberBytes = sizeof(std::uint32_t);
constexpr std::size_t kPiece = 1024;  // page numbers that are looked at together
constexpr std::size_t kStatisticBytes = 10;
constexpr std::size_t kMaxStatistics = 32;

constexpr std::array kStatisticFields{
    &BalloonStatistics::swap_in_bytes,
    &BalloonStatistics::swap_out_bytes,
    &BalloonStatistics::major_faults,
    &BalloonStatistics::minor_faults,
    &BalloonStatistics::free_bytes,
    &BalloonStatistics::total_bytes,
    &BalloonStatistics::available_bytes,
    &BalloonStatistics::disk_cache_bytes,
    &BalloonStatistics::huge_page_allocations,
    &BalloonStatistics::huge_page_failures,
};

// Pages that follow each other, in either direction.
struct PageRun {
  // False where `page` is no neighbour.
  bool take(std::uint64_t page) {
    const bool follows = pages == 0 || page == first + pages;
    if (!follows && page + 1 != first) return false;
    if (!follows || pages == 0) first = page;
    ++pages;
    return true;
  }

  std::uint64_t first = 0;
  std::uint64_t pages = 0;
};

}  // namespace

VirtioBalloon::VirtioBalloon(vm_mem::MemoryManager& memory, VirtioBalloonOptions options)
    : memory_(&memory), options_(options) {}

void VirtioBalloon::set_target(std::uint32_t pages) {
  target_ = pages;
  if (transport_ != nullptr) transport_->wake_config();
}

bool VirtioBalloon::completes_alone(std::uint16_t queue) const { return queue != kStatisticsQueue; }

void VirtioBalloon::request_statistics() {
  statistics_wanted_ = true;
  if (transport_ != nullptr) transport_->wake(kStatisticsQueue);
}

BalloonStatistics VirtioBalloon::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

std::uint64_t VirtioBalloon::statistics_received() const {
  const std::lock_guard lock(mutex_);
  return statistics_received_;
}

std::uint64_t VirtioBalloon::device_features() const {
  const bool tell_first = options_.deflate == BalloonDeflate::kTellFirst;
  return kFeatureStatistics | kFeatureDeflateOnOom | kFeatureReporting |
         (tell_first ? kFeatureMustTellHost : 0);
}

void VirtioBalloon::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kBalloonConfigBytes> config{};
  internal::put_little_endian(&config[0], shown_target_);
  internal::put_little_endian(&config[kConfigActual], actual());
  internal::copy_config(config, offset, to);
}

void VirtioBalloon::write_config(std::uint64_t offset, std::span<const std::byte> from) {
  if (offset != kConfigActual || from.size() != sizeof(std::uint32_t)) return;
  actual_ = internal::get_little_endian<std::uint32_t>(from.data());
}

void VirtioBalloon::reset() {
  has_statistics_chain_ = false;
  actual_ = 0;
}

void VirtioBalloon::reset_queue(std::uint16_t index) {
  if (role_of(index) == Role::kStatistics) has_statistics_chain_ = false;
}

// The specification numbers the queues of all features; drivers and devices (Linux, QEMU)
// leave no gap for those of features that are not used. The two agree on what is
// not ambiguous: there is no queue for hints here.
VirtioBalloon::Role VirtioBalloon::role_of(std::uint16_t index) const {
  const std::uint64_t accepted = transport_->accepted_features();
  const bool statistics = (accepted & kFeatureStatistics) != 0;
  const bool reporting = (accepted & kFeatureReporting) != 0;
  if (index == 0) return Role::kInflate;
  if (index == 1) return Role::kDeflate;
  if (index == 2 && statistics) return Role::kStatistics;
  return reporting ? Role::kReporting : Role::kNone;
}

void VirtioBalloon::notify(std::uint16_t index) {
  const Role role = role_of(index);
  if (role == Role::kStatistics) return take_statistics(index);
  QueueTurn turn(*transport_, index, kBalloonTurn);
  while (turn.next(chain_)) {
    if (role == Role::kInflate) inflate(turn);
    if (role == Role::kReporting) report(turn);
    turn.complete(chain_, 0);
  }
}

void VirtioBalloon::drain() {
  if (!std::exchange(has_statistics_chain_, false)) return;
  QueueTurn turn(*transport_, kStatisticsQueue, kBalloonTurn);
  turn.complete(statistics_chain_, 0);
}

absl::Status VirtioBalloon::save(StateWriter& to) const {
  to(shown_target_, actual_.load());
  return absl::OkStatus();
}

absl::Status VirtioBalloon::load(StateReader& from) {
  std::uint32_t actual = 0;
  from(shown_target_, actual);
  actual_ = actual;
  if (shown_target_ != target()) transport_->wake_config();
  return from.status();
}

// Pages that follow each other are one discard.
void VirtioBalloon::inflate(QueueTurn& turn) {
  SegmentCursor from(chain_.readable());
  const std::uint64_t count = chain_.readable_bytes() / kNumberBytes;
  const std::uint64_t served = std::min(count, kMaxPagesPerRequest);
  refused_.fetch_add((count - served) * kPageBytes, std::memory_order_relaxed);
  std::array<std::byte, kPiece * kNumberBytes> numbers;
  PageRun run;
  for (std::uint64_t done = 0; done < served;) {
    const std::uint64_t step = std::min<std::uint64_t>(kPiece, served - done);
    const auto piece = std::span(numbers).first(step * kNumberBytes);
    const std::uint64_t got = transport_->dma().read(from, piece).done / kNumberBytes;
    for (std::uint64_t i = 0; i < got; ++i) {
      const auto page = internal::get_little_endian<std::uint32_t>(&numbers[i * kNumberBytes]);
      if (run.take(page)) continue;
      discard(run.first * kPageBytes, run.pages * kPageBytes);
      run = {page, 1};
    }
    turn.spend(got);
    done += got;
    if (got < step) break;
  }
  discard(run.first * kPageBytes, run.pages * kPageBytes);
}

void VirtioBalloon::report(QueueTurn& turn) {
  if ((transport_->accepted_features() & kFeatureAccessPlatform) != 0) return;
  for (const DmaSegment& it : chain_.writable()) {
    // The whole pages in it: the rest of the first and the last may be in use.
    const std::uint64_t end = (it.address + it.bytes) / kPageBytes * kPageBytes;
    const std::uint64_t begin = (it.address + kPageBytes - 1) / kPageBytes * kPageBytes;
    turn.spend(1);
    if (begin >= it.address && begin < end) discard(begin, end - begin);
  }
}

void VirtioBalloon::discard(std::uint64_t address, std::uint64_t bytes) {
  if (bytes == 0) return;
  const auto range = GuestRange::make(GuestAddress{address}, bytes);
  const bool discarded = range.has_value() && memory_->discard(*range).ok();
  (discarded ? discarded_ : refused_).fetch_add(bytes, std::memory_order_relaxed);
}

// The driver leaves one buffer here with what it knows; given back, it comes again with
// what it knows then.
void VirtioBalloon::take_statistics(std::uint16_t index) {
  QueueTurn turn(*transport_, index, kBalloonTurn);
  if (has_statistics_chain_ && statistics_wanted_.exchange(false)) {
    has_statistics_chain_ = false;
    turn.complete(statistics_chain_, 0);
  }
  while (turn.next(chain_)) {
    if (has_statistics_chain_) turn.complete(statistics_chain_, 0);
    statistics_wanted_ = false;  // before they are told: who asks meanwhile is answered
    read_statistics();
    std::swap(statistics_chain_, chain_);
    has_statistics_chain_ = true;
  }
}

void VirtioBalloon::read_statistics() {
  std::array<std::byte, kMaxStatistics * kStatisticBytes> bytes;
  const DmaResult moved = transport_->dma().read(chain_.readable(), bytes);
  BalloonStatistics read;
  for (std::size_t at = 0; at + kStatisticBytes <= moved.done; at += kStatisticBytes) {
    const auto tag = internal::get_little_endian<std::uint16_t>(&bytes[at]);
    if (tag >= kStatisticFields.size()) continue;
    read.*kStatisticFields[tag] = internal::get_little_endian<std::uint64_t>(&bytes[at + 2]);
  }
  const std::lock_guard lock(mutex_);
  statistics_ = read;
  ++statistics_received_;
}

}  // namespace vm_device
