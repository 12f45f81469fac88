#include "tools/vmblkd/options.h"

#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "tools/command_line/parse.h"
#include "vm_device/virtio_blk.h"

namespace vmblkd {
namespace {

constexpr const char* kDescription =
    "Serves raw disk images to virtual machines in other processes: virtio-blk by vhost-user.";

constexpr const char* kFooter =
    "\nA front end, e.g. QEMU (its memory has to be shared):\n"
    "\n"
    "  vmblkd --socket /tmp/disk.sock --disk disk.img &\n"
    "  qemu-system-x86_64 -machine q35,memory-backend=ram -m 1G \\\n"
    "    -object memory-backend-memfd,id=ram,size=1G,share=on \\\n"
    "    -chardev socket,id=disk,path=/tmp/disk.sock,reconnect=1 \\\n"
    "    -device vhost-user-blk-pci,chardev=disk -nographic\n"
    "\n"
    "--socket, --disk and --fd can be given several times: the first disk is served at the\n"
    "first socket, and so on. A socket serves one front end at a time; the next one waits.\n"
    "With reconnect=1 QEMU waits for the socket, and comes back to a vmblkd that was restarted.\n"
    "vmblkd stays in the foreground, and is ready when the socket is there. SIGTERM and\n"
    "SIGINT end it: requests that were taken are completed and on stable storage first. A\n"
    "second signal ends it at once, for storage that hangs.\n"
    "\n"
    "Exit status: 0 after SIGTERM or SIGINT, or when the connection of --fd has ended; 1 on\n"
    "failure; 2 for a wrong command line.\n";

constexpr const char* kCapabilities = R"({"type": "block", "features": ["read-only", "blk-file"]})"
                                      "\n";

constexpr std::uint64_t kMostNullBytes = std::uint64_t{1} << 50;
constexpr int kMostPollMicroseconds = 1'000'000;
constexpr std::uint64_t kSectorBytes = 512;

// What CLI11 fills in: as the user typed it.
struct Typed {
  std::vector<std::string> sockets;
  std::vector<int> fds;
  std::vector<std::string> disks;
  std::string null;
  bool read_only = false;
  int queues = 1;
  int queue_size = 256;
  int poll = 0;
  std::string rings = "any";
  std::string lock = "always";
  std::string service = "async";
  std::string stats = "text";
  bool iommu = false;
  bool print_capabilities = false;
};

Exit usage_error(const std::string& text) { return command_line::usage_error("vmblkd", text); }

std::unique_ptr<CLI::App> make_app(Typed& typed) {
  auto app = std::make_unique<CLI::App>(kDescription, "vmblkd");
  app->footer(kFooter);
  app->set_version_flag("--version", std::string("vmblkd ") + VMBLKD_VERSION);
  app->add_option("--socket,--socket-path", typed.sockets, "where a front end connects; repeatable")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  app->add_option("--fd", typed.fds, "the same as a descriptor that listens or is connected")
      ->type_name("NUMBER")
      ->expected(1)
      ->take_all();
  app->add_option("--disk,--blk-file", typed.disks, "raw image or block device; repeatable")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  app->add_option("--null", typed.null,
                  "instead: disks of this size that read as zeros and forget what is written")
      ->type_name("SIZE")
      ->take_last();
  app->add_flag("--readonly,--read-only", typed.read_only, "the guest may not write");
  app->add_option("--queues", typed.queues, "of each disk, 1 to 64")
      ->type_name("NUMBER")
      ->take_last()
      ->capture_default_str();
  app->add_option("--queue-size", typed.queue_size,
                  "the most of a queue: 4 to 1024, a power of two")
      ->type_name("NUMBER")
      ->take_last()
      ->capture_default_str();
  app->add_option("--rings", typed.rings, "any, or split: packed ones are not offered")
      ->type_name("FORM")
      ->take_last()
      ->capture_default_str();
  app->add_option("--lock", typed.lock,
                  "always: nobody else writes to the image;\n"
                  "in-use: nobody does while a front end's rings run, so that a second vmblkd\n"
                  "can wait with the image open: for live migration")
      ->type_name("TIME")
      ->take_last()
      ->capture_default_str();
  app->add_option("--service", typed.service,
                  "async: many requests at a time, by io_uring where it can be had;\n"
                  "inline: one after the other")
      ->type_name("MODE")
      ->take_last()
      ->capture_default_str();
  app->add_option("--poll", typed.poll,
                  "look for requests so long, in microseconds, before waiting for one")
      ->type_name("TIME")
      ->take_last()
      ->capture_default_str();
  app->add_flag("--iommu", typed.iommu,
                "offer VIRTIO_F_ACCESS_PLATFORM: for a guest behind a virtual IOMMU");
  app->add_option("--stats", typed.stats, "the report at the end: text or json")
      ->type_name("FORMAT")
      ->take_last()
      ->capture_default_str();
  app->add_flag("--print-capabilities", typed.print_capabilities,
                "what a management program asks for: JSON, and nothing else is done");
  return app;
}

// Sockets and descriptors in turn with the disks.
std::optional<Exit> read_exports(const Typed& typed, Options& options) {
  const std::size_t places = typed.sockets.size() + typed.fds.size();
  if (places == 0) return usage_error("--socket is needed (see vmblkd --help)");
  if (typed.disks.empty() == typed.null.empty()) {
    return usage_error("either --disk or --null is needed (see vmblkd --help)");
  }
  if (!typed.disks.empty() && typed.disks.size() != places) {
    return usage_error(fmt::format("{} disks, but {} sockets", typed.disks.size(), places));
  }
  for (const std::string& socket : typed.sockets) {
    if (socket.empty()) return usage_error("--socket: a path is needed");
    options.exports.push_back({.socket = socket, .fd = -1, .image = {}, .name = socket});
  }
  for (const int fd : typed.fds) {
    if (fd < 0) return usage_error(fmt::format("--fd {}: no descriptor", fd));
    options.exports.push_back(
        {.socket = {}, .fd = fd, .image = {}, .name = fmt::format("fd {}", fd)});
  }
  for (std::size_t i = 0; i < typed.disks.size(); ++i) {
    if (typed.disks[i].empty()) return usage_error("--disk: a file name is needed");
    options.exports[i].image = typed.disks[i];
  }
  return std::nullopt;
}

std::variant<Options, Exit> interpret(const Typed& typed) {
  Options options;
  options.read_only = typed.read_only;
  options.iommu = typed.iommu;
  if (auto refused = read_exports(typed, options)) return *std::move(refused);
  if (!typed.null.empty()) {
    const auto bytes = command_line::parse_bytes(typed.null, kMostNullBytes);
    if (!bytes || *bytes == 0 || *bytes % kSectorBytes != 0) {
      return usage_error(fmt::format("--null {}: a size such as 1G is needed", typed.null));
    }
    options.null_bytes = *bytes;
  }
  if (typed.queues < 1 || typed.queues > vm_device::kMaxBlkQueues) {
    return usage_error(
        fmt::format("--queues {}: 1 to {} are possible", typed.queues, vm_device::kMaxBlkQueues));
  }
  options.queues = static_cast<std::uint16_t>(typed.queues);
  const bool is_power = (typed.queue_size & (typed.queue_size - 1)) == 0;
  if (typed.queue_size < 4 || typed.queue_size > vm_device::kMaxBlkQueueSize || !is_power) {
    return usage_error(fmt::format("--queue-size {}: powers of two from 4 to {} are possible",
                                   typed.queue_size, vm_device::kMaxBlkQueueSize));
  }
  options.queue_size = static_cast<std::uint16_t>(typed.queue_size);
  if (typed.poll < 0 || typed.poll > kMostPollMicroseconds) {
    return usage_error(
        fmt::format("--poll {}: 0 to {} are possible", typed.poll, kMostPollMicroseconds));
  }
  options.poll = std::chrono::microseconds(typed.poll);
  if (typed.rings != "any" && typed.rings != "split") {
    return usage_error(fmt::format("--rings {}: any and split are possible", typed.rings));
  }
  options.packed = typed.rings == "any";
  if (typed.lock != "always" && typed.lock != "in-use") {
    return usage_error(fmt::format("--lock {}: always and in-use are possible", typed.lock));
  }
  options.locks_in_use = typed.lock == "in-use";
  if (typed.service != "async" && typed.service != "inline") {
    return usage_error(fmt::format("--service {}: async and inline are possible", typed.service));
  }
  options.in_turn = typed.service == "inline";
  if (typed.stats != "text" && typed.stats != "json") {
    return usage_error(fmt::format("--stats {}: text and json are possible", typed.stats));
  }
  options.stats_as_json = typed.stats == "json";
  return options;
}

}  // namespace

std::variant<Options, Exit> parse_options(int argc, const char* const* argv) {
  Typed typed;
  const auto app = make_app(typed);
  if (auto exit = command_line::parse(*app, argc, argv)) return *std::move(exit);
  if (typed.print_capabilities) return Exit{.status = 0, .text = kCapabilities};
  return interpret(typed);
}

}  // namespace vmblkd
