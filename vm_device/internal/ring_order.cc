#include "vm_device/internal/ring_order.h"

#include <new>

namespace vm_device::internal {

bool RingOrder::reset(std::uint16_t size) {
  places_.reset(new (std::nothrow) Place[size]);
  size_ = size;
  next_taken_ = next_back_ = 0;
  return places_ != nullptr;
}

std::uint16_t RingOrder::after(std::uint16_t turn) const {
  return turn + 1u == size_ ? 0 : static_cast<std::uint16_t>(turn + 1);
}

std::uint16_t RingOrder::take() {
  const std::uint16_t turn = next_taken_;
  places_[turn] = {};
  places_[turn].taken = true;
  next_taken_ = after(turn);
  return turn;
}

void RingOrder::put(std::uint16_t turn, const Completion& completion) {
  if (turn >= size_) return;
  Place& place = places_[turn];
  if (!place.taken || place.back) return;
  place.completion = completion;
  place.back = true;
}

bool RingOrder::next(Completion& completion) {
  Place& place = places_[next_back_];
  if (!place.back) return false;
  completion = place.completion;
  place = {};
  next_back_ = after(next_back_);
  return true;
}

}  // namespace vm_device::internal
