#include "tools/vmrun/slots.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "tools/vmrun/seed.h"
#include "tools/vmrun/wait.h"
#include "vm_device/net_socket.h"
#include "vm_device/virtio_rng.h"

namespace vmrun {

// A cable with both ends in one socket.
class LoopedCable final : public vm_device::NetBackend {
 public:
  static constexpr std::size_t kMostFrames = 256;
  static constexpr std::size_t kMostBytes = 65536;  // more than the device sends

  vm_device::SendStatus send(std::span<const std::byte> frame) override {
    if (frames_.size() == kMostFrames) return vm_device::SendStatus::kRefused;
    frames_.emplace_back(frame.begin(), frame.end());
    return vm_device::SendStatus::kSent;
  }
  std::optional<std::size_t> receive(std::span<std::byte> to) override {
    if (frames_.empty()) return std::nullopt;
    const std::vector<std::byte> frame = std::move(frames_.front());
    frames_.pop_front();
    std::copy_n(frame.begin(), std::min(frame.size(), to.size()), to.begin());
    return frame.size();
  }

  void save(vm_device::StateWriter& to) const {
    to(static_cast<std::uint16_t>(frames_.size()));
    for (const auto& frame : frames_) to.bytes(frame, kMostBytes);
  }
  void load(vm_device::StateReader& from) {
    std::uint16_t count = 0;
    from(count);
    from.check(count <= kMostFrames, "more frames than the cable holds");
    frames_.clear();
    for (std::uint16_t i = 0; i < count && from.ok(); ++i) {
      from.bytes(frames_.emplace_back(), kMostBytes);
    }
  }

 private:
  std::deque<std::vector<std::byte>> frames_;
};

namespace {

constexpr std::string_view kReadOnly = ",readonly";
constexpr std::string_view kSockets = "dgram:";

class NoCable final : public vm_device::NetBackend {
 public:
  vm_device::SendStatus send(std::span<const std::byte>) override {
    return vm_device::SendStatus::kRefused;
  }
  std::optional<std::size_t> receive(std::span<std::byte>) override { return std::nullopt; }
};

absl::StatusOr<std::unique_ptr<vm_device::NetBackend>> make_backend(const NetOption& option) {
  switch (option.kind) {
    case NetKind::kLoop: return std::make_unique<LoopedCable>();
    case NetKind::kSockets: {
      auto socket = vm_device::NetSocket::bind(option.local, option.peer);
      if (!socket.ok()) return socket.status();
      return *std::move(socket);
    }
    default: return std::make_unique<NoCable>();
  }
}

}  // namespace

DiskFile parse_disk(std::string_view text) {
  DiskFile disk;
  if (text.ends_with(kReadOnly)) {
    disk.access = vm_device::ImageAccess::kReadOnly;
    text.remove_suffix(kReadOnly.size());
  }
  disk.path = text;
  return disk;
}

std::optional<NetOption> parse_net(std::string_view text) {
  if (text == "none") return NetOption{};
  if (text == "loop") return NetOption{.kind = NetKind::kLoop};
  if (!text.starts_with(kSockets)) return std::nullopt;
  text.remove_prefix(kSockets.size());
  const std::size_t comma = text.find(',');
  if (comma == 0 || comma >= text.size() - 1) return std::nullopt;
  return NetOption{.kind = NetKind::kSockets,
                   .local = std::string(text.substr(0, comma)),
                   .peer = std::string(text.substr(comma + 1))};
}

absl::StatusOr<std::unique_ptr<HostSlots>> HostSlots::create(const SlotOptions& options,
                                                             std::function<void(char)> print) {
  std::unique_ptr<HostSlots> slots(new HostSlots(std::move(print)));
  for (const NetOption& net : options.nets) {
    if (const absl::Status status = slots->add_net(net); !status.ok()) return status;
  }
  if (options.console) {
    if (const auto status = slots->add_console(*options.console); !status.ok()) return status;
  }
  if (options.has_rng) {
    std::unique_ptr<vm_device::EntropySource> source;
    if (options.seed) {
      source = std::make_unique<SeededEntropy>(*options.seed, ChanceUser::kEntropyDevice);
    }
    slots->devices_.push_back(std::make_unique<vm_device::VirtioRng>(std::move(source)));
  }
  return slots;
}

// Cards have the addresses that follow each other from QEMU's first one on.
absl::Status HostSlots::add_net(const NetOption& option) {
  auto backend = make_backend(option);
  if (!backend.ok()) return backend.status();
  vm_device::VirtioNetOptions settings;
  settings.mac.back() = static_cast<std::uint8_t>(settings.mac.back() + nets_.size());
  auto net = vm_device::VirtioNet::create(*std::move(backend), settings);
  if (!net.ok()) return net.status();
  if (option.kind == NetKind::kUnplugged) (*net)->set_link(vm_device::NetLink::kDown);
  loops_.push_back(dynamic_cast<LoopedCable*>(&(*net)->backend()));
  nets_.push_back(net->get());
  devices_.push_back(*std::move(net));
  return absl::OkStatus();
}

absl::Status HostSlots::add_console(const std::string& target) {
  talks_to_user_ = target == "-";
  if (!talks_to_user_) {
    auto file = OutputFile::open(target);
    if (!file.ok()) return file.status();
    console_file_ = *std::move(file);
  }
  vm_device::ConsolePeer& peer = *this;
  auto console = std::make_unique<vm_device::VirtioConsole>(
      peer, vm_device::VirtioConsoleOptions{.input_bytes = kInputBytes});
  console_ = console.get();
  devices_.push_back(std::move(console));
  return absl::OkStatus();
}

std::vector<std::unique_ptr<vm_device::VirtioDevice>> HostSlots::take_devices() {
  return std::exchange(devices_, {});
}

void HostSlots::attend() {
  for (vm_device::VirtioNet* net : nets_) net->poll();
}

bool HostSlots::can_hear() const {
  return std::any_of(nets_.begin(), nets_.end(),
                     [](auto* net) { return net->backend().descriptor() >= 0; });
}

void HostSlots::wait(std::chrono::milliseconds limit) const {
  std::vector<pollfd> sockets;
  for (vm_device::VirtioNet* net : nets_) {
    const int descriptor = net->backend().descriptor();
    if (descriptor >= 0) sockets.push_back({.fd = descriptor, .events = POLLIN, .revents = 0});
  }
  wait_for(sockets, limit);
}

void HostSlots::type(char byte) { console_->send(std::as_bytes(std::span(&byte, 1))); }

void HostSlots::save(vm_device::StateWriter& to) const {
  to(has_printed_);
  for (const LoopedCable* loop : loops_) {
    to(loop != nullptr);
    if (loop != nullptr) loop->save(to);
  }
}

// What was on its way in a cable that is another kind of network now is lost.
void HostSlots::load(vm_device::StateReader& from) {
  from(has_printed_);
  for (LoopedCable* loop : loops_) {
    bool was_loop = false;
    from(was_loop);
    LoopedCable lost;
    if (was_loop) (loop != nullptr ? loop : &lost)->load(from);
  }
}

void HostSlots::console_output(std::span<const std::byte> bytes) {
  has_printed_ = true;
  for (const std::byte byte : bytes) {
    const char letter = static_cast<char>(byte);
    talks_to_user_ ? print_(letter) : console_file_->output().put(letter);
  }
}

}  // namespace vmrun
