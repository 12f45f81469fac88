#include "vm_device/internal/blk_flights.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace vm_device::internal {
namespace {

// As much as one disk of the host has in flight. Many queues share it.
constexpr std::size_t kMostPlaces = 64;
constexpr std::size_t kLeastPlaces = 16;
constexpr std::size_t kPlacesInAll = 1024;

std::size_t places_for(std::uint16_t queues) {
  return std::clamp(kPlacesInAll / queues, kLeastPlaces, kMostPlaces);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlkFlights>> BlkFlights::create(std::uint16_t queues) {
  std::unique_ptr<BlkFlights> flights(new BlkFlights(queues));
  AsyncDmaOptions options;
  options.max_requests = static_cast<std::uint32_t>(flights->flights_.size());
  options.signal = flights.get();
  auto async = AsyncDma::create(options);
  if (!async.ok()) return async.status();
  flights->async_ = std::move(*async);
  return flights;
}

BlkFlights::BlkFlights(std::uint16_t queues)
    : places_(places_for(queues)),
      flights_(queues * places_),
      in_flight_(queues),
      landed_(queues) {}

BlkFlights::~BlkFlights() { disconnect(); }

// Counted before the transport is looked at, so that one of the two sees the other.
void BlkFlights::disconnect() {
  transport_.store(nullptr);
  for (int wakers = wakers_.load(); wakers != 0; wakers = wakers_.load()) wakers_.wait(wakers);
}

// Who is submitting looks for completions when he has: the one of the two flags that is written
// first is seen by the other.
void BlkFlights::completions_wait() {
  is_at_hand_.store(true);
  if (is_submitting_.load()) return;
  wakers_.fetch_add(1);
  if (VirtioTransport* const transport = transport_.load(); transport != nullptr) {
    for (std::size_t queue = 0; queue < in_flight_.size(); ++queue) {
      if (in_flight_[queue].load() != 0) transport->wake(static_cast<std::uint16_t>(queue));
    }
  }
  wakers_.fetch_sub(1);
  wakers_.notify_all();
}

std::span<BlkFlight> BlkFlights::places_of(std::uint16_t queue) {
  return std::span(flights_).subspan(queue * places_, places_);
}

AsyncTag BlkFlights::tag_of(const BlkFlight& flight) const {
  return {static_cast<std::uint64_t>(&flight - flights_.data())};
}

BlkFlight* BlkFlights::claim(std::uint16_t queue) {
  for (BlkFlight& flight : places_of(queue)) {
    if (flight.state != BlkFlight::State::kFree) continue;
    flight.state = BlkFlight::State::kTaken;
    flight.queue = queue;
    return &flight;
  }
  return nullptr;
}

template <typename Submit>
bool BlkFlights::take_off(BlkFlight& flight, Submit submit) {
  in_flight_[flight.queue].fetch_add(1);
  is_submitting_.store(true);
  const bool accepted = submit() == AsyncAdmission::kAccepted;
  is_submitting_.store(false);
  if (accepted) {
    flight.state = BlkFlight::State::kInFlight;
  } else {
    in_flight_[flight.queue].fetch_sub(1);
  }
  return accepted;
}

bool BlkFlights::start(BlkFlight& flight, const BlkRequest& request, const DmaSpace& dma,
                       AsyncFile file) {
  list_.clear();
  SegmentCursor cursor = request.data();
  for (std::uint64_t left = request.bytes(); left > 0; left -= list_.back().bytes) {
    list_.push_back(cursor.peek(left));
    cursor.skip(list_.back().bytes);
  }
  flight.operation = request.operation();
  flight.is_sync = false;
  return take_off(flight, [&] {
    return flight.operation == BlkOperation::kRead
               ? async_->read_file(dma, list_, file, tag_of(flight))
               : async_->write_file(dma, list_, file, tag_of(flight));
  });
}

bool BlkFlights::start_sync(BlkFlight& flight, int descriptor) {
  flight.is_sync = true;
  return take_off(flight,
                  [&] { return async_->sync_file(descriptor, AsyncSync::kData, tag_of(flight)); });
}

void BlkFlights::land(const AsyncCompletion& completion) {
  BlkFlight& flight = flights_[completion.tag.value];
  flight.completion = completion;
  flight.state = BlkFlight::State::kLanded;
  in_flight_[flight.queue].fetch_sub(1);
  ++landed_[flight.queue];
}

void BlkFlights::collect() {
  std::array<AsyncCompletion, 16> completions;
  while (const std::size_t count = async_->poll(completions)) {
    for (std::size_t i = 0; i < count; ++i) land(completions[i]);
  }
}

// Their completions were taken, and no signal will tell of them.
void BlkFlights::wake_others(std::uint16_t queue) {
  VirtioTransport* const transport = transport_.load();
  for (std::size_t other = 0; other < landed_.size(); ++other) {
    if (other == queue || landed_[other] == 0 || transport == nullptr) continue;
    transport->wake(static_cast<std::uint16_t>(other));
  }
}

BlkFlight* BlkFlights::next_landed(std::uint16_t queue) {
  if (landed_[queue] == 0) {
    collect();
    wake_others(queue);
  }
  if (landed_[queue] == 0) return nullptr;
  for (BlkFlight& flight : places_of(queue)) {
    if (flight.state != BlkFlight::State::kLanded) continue;
    flight.state = BlkFlight::State::kTaken;
    --landed_[queue];
    return &flight;
  }
  return nullptr;
}

void BlkFlights::wait_for_all(std::uint16_t queue) {
  std::array<AsyncCompletion, 16> completions;
  while (in_flight_[queue].load() != 0) {
    const std::size_t count = async_->wait(completions, std::chrono::nanoseconds::max());
    for (std::size_t i = 0; i < count; ++i) land(completions[i]);
  }
}

bool BlkFlights::wait(std::uint16_t queue) {
  wait_for_all(queue);
  wake_others(queue);
  return landed_[queue] != 0;
}

void BlkFlights::forget(std::uint16_t queue) {
  for (const BlkFlight& flight : places_of(queue)) {
    if (flight.state == BlkFlight::State::kInFlight) async_->cancel(tag_of(flight));
  }
  wait_for_all(queue);
  for (BlkFlight& flight : places_of(queue)) give_back(flight);
  landed_[queue] = 0;
  wake_others(queue);
}

void BlkFlights::forget_all() {
  for (std::size_t queue = 0; queue < landed_.size(); ++queue) {
    forget(static_cast<std::uint16_t>(queue));
  }
}

}  // namespace vm_device::internal
