#include "vm_device/queue_turn.h"

namespace vm_device {

QueueTurn::~QueueTurn() {
  // At the end of a turn too: a driver that polls has no other way to be heard.
  if (is_suppressed_) has_more_ = queue_->resume_notifications();
  if (has_more_ && is_over()) transport_->defer(index_);
  transport_->signal_used(index_);
}

bool QueueTurn::next(DescriptorChain& chain) {
  while (!is_over()) {
    ++steps_;
    if (!is_suppressed_) queue_->suppress_notifications();
    is_suppressed_ = true;
    if (queue_->pop(chain) == PopStatus::kChain) return true;
    is_suppressed_ = false;
    has_more_ = queue_->resume_notifications();
    if (!has_more_) return false;
  }
  return false;
}

}  // namespace vm_device
