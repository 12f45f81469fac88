#include "vm_device/vhost_user.h"

#include <csignal>
#include <ctime>
#include <utility>

#include "vm_device/internal/vhost_user_session.h"
#include "vm_device/internal/vhost_user_state.h"

namespace vm_device {
namespace {

// User-mode Linux gives pipes to call by. One that nobody reads is its own loss.
class PipesBlocked {
 public:
  PipesBlocked() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  PipesBlocked(const PipesBlocked&) = delete;
  PipesBlocked& operator=(const PipesBlocked&) = delete;
  ~PipesBlocked() {
    constexpr timespec kNow{};
    if (sigismember(&before_, SIGPIPE) == 0) sigtimedwait(&pipe_, nullptr, &kNow);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_;
  sigset_t before_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VhostUserBackend>> VhostUserBackend::create(
    std::unique_ptr<VirtioDevice> device, VhostUserOptions options) {
  if (device == nullptr) return absl::InvalidArgumentError("a vhost-user back end needs a device");
  auto memory = vm_mem::MemoryManager::create({});
  if (!memory.ok()) return memory.status();
  auto state = std::make_unique<internal::VhostUserState>(*std::move(memory), std::move(device),
                                                          std::move(options));
  if (const absl::Status opened = state->transport.open(); !opened.ok()) return opened;
  return std::unique_ptr<VhostUserBackend>(new VhostUserBackend(std::move(state)));
}

VhostUserBackend::VhostUserBackend(std::unique_ptr<internal::VhostUserState> state)
    : state_(std::move(state)) {}
VhostUserBackend::~VhostUserBackend() = default;

absl::Status VhostUserBackend::serve(int socket) {
  state_->connections.fetch_add(1, std::memory_order_relaxed);
  const PipesBlocked blocked;
  internal::VhostUserSession session(*state_, socket);
  return session.run();
}

void VhostUserBackend::stop() {
  state_->stopping.store(true);
  state_->transport.ring();
}

VhostUserStatistics VhostUserBackend::statistics() const {
  const auto read = [](const std::atomic<std::uint64_t>& count) {
    return count.load(std::memory_order_relaxed);
  };
  return {.connections = read(state_->connections),
          .messages = read(state_->messages),
          .refused = read(state_->refused),
          .notifications = read(state_->counts.notifications),
          .signals = read(state_->counts.signals),
          .queue_errors = read(state_->counts.queue_errors),
          .iotlb_misses = read(state_->iotlb_misses),
          .iotlb_updates = read(state_->iotlb_updates),
          .iotlb_invalidations = read(state_->iotlb_invalidations)};
}

}  // namespace vm_device
