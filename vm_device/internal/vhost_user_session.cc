// The loop of a connection: messages, kicks and wakes in turn, all by one thread.

#include "vm_device/internal/vhost_user_session.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vm_device::internal {
namespace {

constexpr std::uint64_t kSocketEvent = 0;
constexpr std::uint64_t kWakeEvent = 1;
constexpr std::uint64_t kFirstRingEvent = 2;

// How old a bit of the log may be when it is set.
constexpr std::chrono::milliseconds kLogPeriod{10};
// A front end that sends without end does not keep the rings from being served.
constexpr int kMessagesPerRound = 32;
constexpr int kEventsPerRound = 16;

bool watch(int poller, int fd, std::uint64_t what) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = what}};
  return ::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

VhostUserSession::VhostUserSession(VhostUserState& state, int socket)
    : state_(state),
      socket_(socket),
      poller_(::epoll_create1(EPOLL_CLOEXEC)),
      channel_(socket),
      memory_(*state.memory, state.reader),
      iotlb_(memory_,
             [this](std::uint64_t iova, DmaAccess access) { return ask_for(iova, access); }),
      log_(*state.memory),
      rings_(state.transport, memory_, iotlb_, poller_.get(), kFirstRingEvent,
             {.refused = [this](const std::string& what,
                                const absl::Status& why) { refuse(what, why); },
              .acquire = state.options.acquire,
              .release = state.options.release}) {
  state.transport.set_config_listener([this] { config_changed(); });
}

VhostUserSession::~VhostUserSession() {
  rings_.close();
  tell_log();
  log_.stop();
  memory_.clear();
  state_.transport.accept(0, nullptr);
  state_.transport.set_config_listener(nullptr);
}

absl::Status VhostUserSession::open() {
  if (!poller_.is_open()) {
    return absl::ResourceExhaustedError(absl::StrFormat("epoll_create1: %s", std::strerror(errno)));
  }
  if (!watch(poller_.get(), socket_, kSocketEvent) ||
      !watch(poller_.get(), state_.transport.wake_fd(), kWakeEvent)) {
    return absl::UnavailableError(absl::StrFormat("epoll_ctl: %s", std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::Status VhostUserSession::run() {
  absl::Status status = open();
  while (status.ok()) {
    status = wait();
    if (status.ok() && state_.stopping.exchange(false)) status = absl::CancelledError("stopped");
  }
  // The front end has gone: no failure, but the end.
  return absl::IsOutOfRange(status) ? absl::OkStatus() : status;
}

int VhostUserSession::wait_milliseconds() const {
  if (state_.transport.has_pending() || rings_.polls()) return 0;
  if (state_.options.poll.count() > 0 && Clock::now() < poll_until_) return 0;
  return log_.is_running() ? static_cast<int>(kLogPeriod.count()) : -1;
}

absl::Status VhostUserSession::wait() {
  std::array<epoll_event, kEventsPerRound> events;
  const int count =
      ::epoll_wait(poller_.get(), events.data(), kEventsPerRound, wait_milliseconds());
  if (count < 0 && errno != EINTR) {
    return absl::UnavailableError(absl::StrFormat("epoll_wait: %s", std::strerror(errno)));
  }
  absl::Status status = absl::OkStatus();
  bool kicked = false;
  for (int i = 0; i < count; ++i) {
    const std::uint64_t what = events[static_cast<std::size_t>(i)].data.u64;
    if (what == kSocketEvent) {
      status = take_messages();
    } else if (what >= kFirstRingEvent) {
      rings_.kicked(what);
      kicked = true;
    } else {
      state_.transport.serve_pending();
    }
    if (!status.ok()) return status;
  }
  if (state_.transport.has_pending()) state_.transport.serve_pending();
  poll(kicked);
  if (log_.is_running() && Clock::now() - told_ >= kLogPeriod) tell_log();
  return absl::OkStatus();
}

// Whoever has just sent requests may send more.
void VhostUserSession::poll(bool kicked) {
  const bool has_time = state_.options.poll.count() > 0 && Clock::now() < poll_until_;
  const bool found = (rings_.polls() || (!kicked && has_time)) && rings_.poll();
  if (state_.options.poll.count() > 0 && (kicked || found)) {
    poll_until_ = Clock::now() + state_.options.poll;
  }
}

// kOutOfRange: the front end has gone.
absl::Status VhostUserSession::take_messages() {
  Message message;
  for (int taken = 0; taken < kMessagesPerRound; ++taken) {
    switch (channel_.receive(message)) {
      case VhostUserChannel::Received::kNothing: return absl::OkStatus();
      case VhostUserChannel::Received::kClosed: return absl::OutOfRangeError("closed");
      case VhostUserChannel::Received::kBroken:
        return absl::InvalidArgumentError(channel_.trouble());
      case VhostUserChannel::Received::kFailed: return absl::UnavailableError(channel_.trouble());
      case VhostUserChannel::Received::kMessage: break;
    }
    state_.messages.fetch_add(1, std::memory_order_relaxed);
    if (const absl::Status status = take(message); !status.ok()) return status;
    message.fds.clear();
  }
  return absl::OkStatus();
}

absl::Status VhostUserSession::take(Message& message) {
  if ((message.flags & kVhostUserVersionMask) != kVhostUserVersion) {
    return absl::InvalidArgumentError(
        absl::StrFormat("request %u has version %u of the protocol, not 1", message.request,
                        message.flags & kVhostUserVersionMask));
  }
  const Form* const form = form_of(message.request);
  const absl::Status done = form != nullptr ? dispatch(*form, message)
                                            : absl::UnimplementedError("no request that is served");
  const bool acks = message.needs_reply() && has_protocol(kProtocolReplyAck);
  if (form != nullptr && form->answer == Answer::kReply) return done;
  if (!done.ok()) {
    refuse(form != nullptr ? std::string(form->name) : absl::StrCat("request ", message.request),
           done);
  }
  if (const absl::Status started = rings_.update(); !started.ok()) return started;
  if (acks) return reply_word(message, done.ok() ? 0 : 1);
  return absl::OkStatus();
}

// A request that is answered by more than a number cannot be refused: the front end would wait.
absl::Status VhostUserSession::dispatch(const Form& form, Message& message) {
  const bool has_bytes = form.bytes == kAnyBytes || message.bytes == form.bytes;
  const bool has_fds = message.fds.size() >= form.least_fds && message.fds.size() <= form.most_fds;
  if (has_bytes && has_fds) return (this->*form.take)(message);
  return absl::InvalidArgumentError(absl::StrFormat("%s of %u bytes with %u descriptors",
                                                    std::string(form.name), message.bytes,
                                                    message.fds.size()));
}

void VhostUserSession::refuse(const std::string& name, const absl::Status& why) {
  state_.refused.fetch_add(1, std::memory_order_relaxed);
  if (!state_.options.refused) return;
  state_.options.refused(absl::StrCat(name, ": ", why.message()));
}

absl::Status VhostUserSession::reply(const Message& to, std::span<const std::byte> payload,
                                     int fd) {
  if (channel_.reply(to, payload, fd)) return absl::OkStatus();
  return absl::UnavailableError("the front end does not take its answers");
}

absl::Status VhostUserSession::reply_word(const Message& to, std::uint64_t word) {
  return reply(to, std::as_bytes(std::span(&word, 1)));
}

// Pages that could not be told are told the next time.
void VhostUserSession::tell_log() {
  told_ = Clock::now();
  if (const absl::Status told = log_.tell(memory_); !told.ok()) refuse("log", told);
}

void VhostUserSession::config_changed() {
  if (!backend_socket_.is_open()) return;
  VhostUserChannel(backend_socket_.get())
      .send(static_cast<std::uint32_t>(VhostBackendRequest::kConfigChange), kVhostUserVersion, {});
}

}  // namespace vm_device::internal
