// One turn of a device at one of its queues: the loop that every device needs, bounded so
// that no guest keeps the host in it.
#ifndef VM_DEVICE_QUEUE_TURN_H_
#define VM_DEVICE_QUEUE_TURN_H_

#include <cstdint>

#include "vm_device/virtio_device.h"
#include "vm_device/virtqueue.h"

namespace vm_device {

// A guest that adds requests as fast as they are served keeps its own vCPU in notify(), and
// so does one with requests of gigabytes; past either limit the driver gets a turn.
struct TurnLimits {
  int steps = 1024;  // requests, and looks that find nothing: the index need not be memory
  std::uint64_t bytes = std::uint64_t{256} << 20;
};

// In notify():
//
//   QueueTurn turn(*transport_, index);
//   while (turn.next(chain_)) {
//     ...  // moves the request's data through transport_->dma()
//     turn.complete(chain_, written);
//   }
//
// A device that has nothing to put into a queue's buffers does not call next(): what it
// takes it has to give back. The driver's notifications are off during the turn, and on
// after it.
class QueueTurn {
 public:
  QueueTurn(VirtioTransport& transport, std::uint16_t index, TurnLimits limits = {})
      : transport_(&transport), queue_(&transport.queue(index)), index_(index), limits_(limits) {}
  QueueTurn(const QueueTurn&) = delete;
  QueueTurn& operator=(const QueueTurn&) = delete;
  // Interrupts the driver if it wants to know, as next() does that finds no request. Where the turn
  // ended at a limit and requests are left, notify() is called again at the driver's next access.
  ~QueueTurn();

  // The next request. False ends the turn: the queue is empty or has stopped, or a limit
  // is reached.
  bool next(DescriptorChain& chain);
  // Counts against the limit of bytes.
  void spend(std::uint64_t bytes) { bytes_ += bytes; }
  // Gives the request back, as Virtqueue::push() does: the driver, which may poll, need not wait
  // for those behind it. Staging would save one ordered store of a few nanoseconds each.
  void complete(const DescriptorChain& chain, std::uint32_t written) {
    queue_->push(chain, written);
    is_unsignalled_ = true;
  }
  // Stops the queue for good: next() is false from here on.
  void fail(VirtqueueError error) { queue_->fail(error); }

 private:
  bool is_over() const { return steps_ >= limits_.steps || bytes_ >= limits_.bytes; }

  VirtioTransport* transport_;
  Virtqueue* queue_;
  std::uint16_t index_;
  TurnLimits limits_;
  int steps_ = 0;
  std::uint64_t bytes_ = 0;
  bool is_suppressed_ = false;
  bool is_unsignalled_ = false;
  bool has_more_ = false;
};

}  // namespace vm_device

#endif  // VM_DEVICE_QUEUE_TURN_H_
