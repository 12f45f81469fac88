#include "vm_device/queue_turn.h"

namespace vm_device {

QueueTurn::~QueueTurn() {
  // At the end of a turn too: a driver that polls has no other way to be heard.
  if (is_suppressed_) has_more_ = queue_->resume_notifications();
  if (has_more_ && is_over()) transport_->defer(index_);
  transport_->signal_used(index_);
}

// A driver in another thread that hears of its requests as soon as there is no further one may
// have the next ones there by the time that it was told: it need not notify then, and nobody
// sleeps.
bool QueueTurn::next(DescriptorChain& chain) {
  while (!is_over()) {
    ++steps_;
    if (!is_suppressed_) queue_->suppress_notifications();
    is_suppressed_ = true;
    if (queue_->pop(chain) == PopStatus::kChain) return true;
    if (is_unsignalled_) {
      is_unsignalled_ = false;
      transport_->signal_used(index_);
      continue;
    }
    is_suppressed_ = false;
    has_more_ = queue_->resume_notifications();
    if (!has_more_) return false;
  }
  return false;
}

}  // namespace vm_device
