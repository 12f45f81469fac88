// Block requests that AsyncDma is busy with: between the turn in which a request was taken
// and the one in which it is answered.
#ifndef VM_DEVICE_INTERNAL_BLK_FLIGHTS_H_
#define VM_DEVICE_INTERNAL_BLK_FLIGHTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_device/async_dma.h"
#include "vm_device/internal/blk_request.h"
#include "vm_device/virtio_device.h"

namespace vm_device::internal {

struct BlkFlight {
  enum class State : std::uint8_t { kFree, kTaken, kInFlight, kLanded };

  State state = State::kFree;
  std::uint16_t queue = 0;
  DescriptorChain chain;
  BlkOperation operation = BlkOperation::kFlush;
  bool is_sync = false;  // what is under way, or has landed, is the sync that ends it
  AsyncCompletion completion;
};

// Each queue has places of its own, so that none waits for another's driver.
//
// Threads:  the one that is in the device; the signal comes on any.
class BlkFlights final : private AsyncSignal {
 public:
  // Errors:  those of AsyncDma::create().
  static absl::StatusOr<std::unique_ptr<BlkFlights>> create(std::uint16_t queues);
  BlkFlights(const BlkFlights&) = delete;
  BlkFlights& operator=(const BlkFlights&) = delete;
  ~BlkFlights() override;

  // Whom completions wake, from here on. He outlives this object.
  void connect(VirtioTransport& transport) { transport_.store(&transport); }
  // Nobody is woken any more when it returns, nor is being woken.
  void disconnect();

  // A place for a request of the queue; null: all are in use, and the queue is woken when
  // one has landed.
  BlkFlight* claim(std::uint16_t queue);
  void give_back(BlkFlight& flight) { flight.state = BlkFlight::State::kFree; }

  // Needs:  a request of kRead or kWrite on flight.chain.
  // False:  AsyncDma does not take it; nothing has happened.
  [[nodiscard]] bool start(BlkFlight& flight, const BlkRequest& request, const DmaSpace& dma,
                           AsyncFile file);
  [[nodiscard]] bool start_sync(BlkFlight& flight, int descriptor);

  // Whether some may have ended since the last call, of which no queue was woken.
  bool take_at_hand() { return is_at_hand_.exchange(false); }
  // The queue's next request that has ended; it stays taken. Null: there is none.
  BlkFlight* next_landed(std::uint16_t queue);

  // Waits until all requests of the queue have ended. False: they had all been taken.
  bool wait(std::uint16_t queue);

  // Cancels what can be, waits for the rest, and forgets it.
  void forget(std::uint16_t queue);
  void forget_all();

 private:
  explicit BlkFlights(std::uint16_t queues);
  void completions_wait() override;
  void collect();
  void land(const AsyncCompletion& completion);
  void wait_for_all(std::uint16_t queue);
  void wake_others(std::uint16_t queue);
  template <typename Submit>
  bool take_off(BlkFlight& flight, Submit submit);
  AsyncTag tag_of(const BlkFlight& flight) const;
  std::span<BlkFlight> places_of(std::uint16_t queue);

  const std::size_t places_;  // of a queue
  std::vector<BlkFlight> flights_;
  std::vector<std::atomic<std::uint32_t>> in_flight_;  // by queue
  std::vector<std::uint32_t> landed_;                  // by queue
  std::vector<DmaSegment> list_;
  std::atomic<VirtioTransport*> transport_{nullptr};
  std::atomic<int> wakers_{0};
  std::atomic<bool> is_submitting_{false};
  std::atomic<bool> is_at_hand_{false};
  std::unique_ptr<AsyncDma> async_;  // the first to go: it calls the rest
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_BLK_FLIGHTS_H_
