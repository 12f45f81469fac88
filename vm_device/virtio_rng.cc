#include "vm_device/virtio_rng.h"

#include <algorithm>
#include <utility>

namespace vm_device {
namespace {

constexpr std::uint16_t kRequestQueue = 0;
// A generator costs more than a copy does.
constexpr TurnLimits kRngTurn{.steps = 256, .bytes = 256 * 1024};
// What a look at an empty source takes from it: the least that a driver asks for.
constexpr std::uint64_t kFirstTaste = 16;

}  // namespace

VirtioRng::VirtioRng(std::unique_ptr<EntropySource> source) : source_(std::move(source)) {
  if (source_ == nullptr) source_ = std::make_unique<HostEntropy>();
}

void VirtioRng::more_entropy() {
  if (transport_ != nullptr) transport_->wake(kRequestQueue);
}

void VirtioRng::read_config(std::uint64_t, std::span<std::byte> to) const {
  std::fill(to.begin(), to.end(), std::byte{0});
}

void VirtioRng::notify(std::uint16_t index) {
  QueueTurn turn(*transport_, index, kRngTurn);
  // A request is taken from the queue when there is something to put into it.
  bool dry = false;
  while (!(dry = !fill_pool(kFirstTaste)) && turn.next(chain_)) {
    const std::uint32_t written = serve();
    turn.spend(written);
    turn.complete(chain_, written);
  }
  waiting_ = dry;
}

absl::Status VirtioRng::save(StateWriter& to) const {
  to(waiting_.load(), source_->repeats());
  if (!source_->repeats()) return absl::OkStatus();
  to.bytes(std::span(pool_).first(pooled_), pool_.size());
  source_->save(to);
  return absl::OkStatus();
}

absl::Status VirtioRng::load(StateReader& from) {
  bool waits = false;
  bool repeats = false;
  from(waits, repeats);
  if (from.ok() && repeats != source_->repeats()) {
    return absl::FailedPreconditionError("entropy that repeats cannot become one that does not");
  }
  waiting_ = waits;
  if (repeats) {
    const std::span<const std::byte> pool = from.bytes(pool_.size());
    std::copy(pool.begin(), pool.end(), pool_.begin());
    pooled_ = pool.size();
    source_->load(from);
  }
  if (waits) transport_->wake(kRequestQueue);
  return from.status();
}

// False where there is nothing to give.
bool VirtioRng::fill_pool(std::uint64_t wanted) {
  if (pooled_ == 0) {
    pooled_ = source_->take(std::span(pool_).first(std::min<std::uint64_t>(wanted, pool_.size())));
  }
  return pooled_ != 0;
}

// No byte is given twice: what has left the pool is wiped.
std::uint32_t VirtioRng::serve() {
  const std::uint64_t wanted = std::min<std::uint64_t>(chain_.writable_bytes(), kMaxRequestBytes);
  SegmentCursor to(chain_.writable());
  std::uint64_t done = 0;
  while (done < wanted && fill_pool(wanted - done)) {
    const std::uint64_t step = std::min<std::uint64_t>(pooled_, wanted - done);
    const auto piece = std::span(pool_).subspan(pooled_ - step, step);
    const DmaResult moved = transport_->dma().write(to, piece);
    std::fill(piece.begin(), piece.end(), std::byte{0});
    pooled_ -= step;
    done += moved.done;
    if (!moved.ok()) break;
  }
  return static_cast<std::uint32_t>(done);
}

}  // namespace vm_device
