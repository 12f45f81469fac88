#include "tools/vmblkd/disk_server.h"

#include <unistd.h>

#include <utility>

#include <fmt/format.h>

#include "tools/vmblkd/null_image.h"
#include "vm_device/raw_image.h"
#include "vm_device/virtio_blk.h"

namespace vmblkd {
namespace {

absl::StatusOr<std::unique_ptr<vm_device::BlockImage>> open_image(const Export& wanted,
                                                                  const Options& options) {
  const auto access =
      options.read_only ? vm_device::ImageAccess::kReadOnly : vm_device::ImageAccess::kReadWrite;
  if (wanted.image.empty()) return std::make_unique<NullImage>(options.null_bytes, access);
  auto image = vm_device::RawImage::open(wanted.image, access);
  if (!image.ok()) return image.status();
  return *std::move(image);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DiskServer>> DiskServer::create(
    const Export& wanted, const Options& options, std::function<void(std::string)> complain) {
  auto image = open_image(wanted, options);
  if (!image.ok()) return image.status();
  const bool in_turn = options.in_turn || wanted.image.empty();
  auto disk = vm_device::VirtioBlk::create(
      *std::move(image),
      {.serial = "vmblkd",
       .num_queues = options.queues,
       .queue_size = options.queue_size,
       .service = in_turn ? vm_device::BlkService::kInNotify : vm_device::BlkService::kBeside});
  if (!disk.ok()) return disk.status();
  auto listener =
      wanted.socket.empty() ? Listener::adopt(wanted.fd) : Listener::create(wanted.socket);
  if (!listener.ok()) return listener.status();
  std::unique_ptr<DiskServer> server(new DiskServer(wanted.name, *std::move(listener)));
  server->complain_ = [complain = std::move(complain), name = wanted.name](
                          const std::string& text) { complain(fmt::format("{}: {}", name, text)); };
  auto backend = vm_device::VhostUserBackend::create(
      *std::move(disk),
      {.poll = options.poll, .refused = [raw = server.get()](std::string_view why) {
         raw->complain_(fmt::format("refused {}", why));
       }});
  if (!backend.ok()) return backend.status();
  server->backend_ = *std::move(backend);
  return server;
}

DiskServer::~DiskServer() { stop(); }

void DiskServer::start(std::function<void()> ended) {
  thread_ = std::thread([this, ended = std::move(ended)] {
    serve();
    ended();
  });
}

void DiskServer::serve() {
  while (const auto connection = listener_->accept()) {
    const absl::Status status = backend_->serve(*connection);
    ::close(*connection);
    if (absl::IsCancelled(status)) return;
    if (!status.ok()) complain_("connection ended: " + std::string(status.message()));
  }
}

void DiskServer::stop() {
  listener_->stop();
  backend_->stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace vmblkd
