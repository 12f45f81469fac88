#include "tools/vmblkd/disk_server.h"

#include <unistd.h>

#include <cstring>
#include <system_error>
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
    const Export& wanted, const Options& options,
    std::function<void(const std::string&)> complain) {
  auto image = open_image(wanted, options);
  if (!image.ok()) return image.status();
  vm_device::BlockImage* const raw_image = image->get();
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
  std::unique_ptr<DiskServer> server(
      new DiskServer(wanted.name, *std::move(listener), std::move(complain)));
  auto backend = vm_device::VhostUserBackend::create(
      *std::move(disk),
      {.poll = options.poll, .refused = [raw = server.get()](std::string_view why) {
         raw->complaints_.tell(fmt::format("refused {}", why));
       }});
  if (!backend.ok()) return backend.status();
  server->backend_ = *std::move(backend);
  server->image_ = raw_image;
  return server;
}

DiskServer::~DiskServer() { stop(); }

absl::Status DiskServer::start(std::function<void()> ended) {
  try {
    thread_ = std::thread([this, ended = std::move(ended)] {
      serve();
      ended();
    });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(fmt::format("{}: no thread: {}", name_, error.what()));
  }
  return absl::OkStatus();
}

void DiskServer::serve() {
  while (const auto connection = listener_->accept()) {
    const absl::Status status = backend_->serve(*connection);
    ::close(*connection);
    if (absl::IsCancelled(status)) return;
    if (!status.ok()) complaints_.tell("connection ended: " + std::string(status.message()));
  }
}

void DiskServer::request_stop() {
  listener_->stop();
  if (backend_ != nullptr) backend_->stop();
}

void DiskServer::stop() {
  request_stop();
  if (!thread_.joinable()) return;
  thread_.join();
  const bool writes = image_->access() == vm_device::ImageAccess::kReadWrite;
  const int error = writes ? image_->flush() : 0;
  if (error != 0)
    complaints_.tell(fmt::format("the image is not on stable storage: {}", std::strerror(error)));
}

}  // namespace vmblkd
