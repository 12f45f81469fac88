// The devices that the command line puts into virtio slots behind the disks, and whom they
// talk to on the host.
#ifndef VMRUN_SLOTS_H_
#define VMRUN_SLOTS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/vmrun/output_file.h"
#include "vm_device/block_image.h"
#include "vm_device/state_bytes.h"
#include "vm_device/virtio_console.h"
#include "vm_device/virtio_device.h"
#include "vm_device/virtio_net.h"

namespace vmrun {

struct DiskFile {
  std::string path = {};
  vm_device::ImageAccess access = vm_device::ImageAccess::kReadWrite;
};

enum class NetKind : std::uint8_t {
  kUnplugged,  // a card without a cable
  kLoop,       // each frame comes back
  kSockets,    // datagrams of local sockets, as QEMU's -netdev dgram has them
};

struct NetOption {
  NetKind kind = NetKind::kUnplugged;
  std::string local = {};  // of kSockets: the path that receives
  std::string peer = {};
};

// "FILE" or "FILE,readonly".
DiskFile parse_disk(std::string_view text);
// "none", "loop" or "dgram:LOCAL,PEER"; nullopt: none of them.
std::optional<NetOption> parse_net(std::string_view text);

struct SlotOptions {
  std::vector<NetOption> nets = {};
  std::optional<std::string> console = std::nullopt;  // a file for its output; "-": the user
  bool has_rng = false;
  std::optional<std::uint64_t> seed = std::nullopt;  // of the entropy device; nullopt: the host's
};

class LoopedCable;

// The host's side. What it has given out talks to it: it outlives the machine.
class HostSlots final : private vm_device::ConsolePeer {
 public:
  // `print` takes what a guest writes to the virtio console of "-".
  //
  // Errors:  those of NetSocket::bind and OutputFile::open
  static absl::StatusOr<std::unique_ptr<HostSlots>> create(const SlotOptions& options,
                                                           std::function<void(char)> print);
  HostSlots(const HostSlots&) = delete;
  HostSlots& operator=(const HostSlots&) = delete;
  ~HostSlots() override = default;

  // For the machine, once: networks, console, entropy.
  std::vector<std::unique_ptr<vm_device::VirtioDevice>> take_devices();

  // Where the virtio console prints; null: nowhere, or to the user.
  OutputFile* console_file() { return console_file_.get(); }

  // Gives the guest what has come for it. While the machine lives.
  void attend();
  bool has_network() const { return !nets_.empty(); }
  // Whether something may come from outside of this process.
  bool can_hear() const;
  // Waits, at most this long, until something has. Only where can_hear().
  void wait(std::chrono::milliseconds limit) const;

  // Whether what is typed is for the virtio console: the user's, once the guest has used it.
  bool is_typed_to() const { return talks_to_user_ && has_printed_; }
  bool has_room() const { return console_->unread() < kInputBytes; }
  // Needs:  is_typed_to(), has_room().
  void type(char byte);

  // For a snapshot: what is on its way outside of the devices.
  static constexpr std::uint32_t kStateVersion = 1;
  void save(vm_device::StateWriter& to) const;
  // Of slots of the same networks. What was refused, the reader says.
  void load(vm_device::StateReader& from);

 private:
  static constexpr std::size_t kInputBytes = 4096;

  explicit HostSlots(std::function<void(char)> print) : print_(std::move(print)) {}
  absl::Status add_net(const NetOption& option);
  absl::Status add_console(const std::string& target);
  void console_output(std::span<const std::byte> bytes) override;

  std::function<void(char)> print_;
  std::vector<std::unique_ptr<vm_device::VirtioDevice>> devices_;
  std::vector<vm_device::VirtioNet*> nets_;
  std::vector<LoopedCable*> loops_;  // by network; null: it has none
  vm_device::VirtioConsole* console_ = nullptr;
  std::unique_ptr<OutputFile> console_file_;
  bool talks_to_user_ = false;
  bool has_printed_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_SLOTS_H_
