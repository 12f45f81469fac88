#include "tools/vmblkd/disk_server.h"

#include <unistd.h>

#include <cstring>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "tools/vmblkd/null_image.h"
#include "vm_device/raw_image.h"
#include "vm_device/virtio_blk.h"
#include "vm_device/virtio_features.h"

namespace vmblkd {
namespace {

struct OpenImage {
  std::unique_ptr<vm_device::BlockImage> image;
  vm_device::RawImage* locked_in_use = nullptr;  // the same, where that is wanted
};

absl::StatusOr<OpenImage> open_image(const Export& wanted, const Options& options) {
  const auto access =
      options.read_only ? vm_device::ImageAccess::kReadOnly : vm_device::ImageAccess::kReadWrite;
  if (wanted.image.empty()) {
    return OpenImage{.image = std::make_unique<NullImage>(options.null_bytes, access)};
  }
  auto image = vm_device::RawImage::open(
      wanted.image, access,
      options.locks_in_use ? vm_device::ImageLock::kByCall : vm_device::ImageLock::kAtOnce);
  if (!image.ok()) return image.status();
  vm_device::RawImage* const raw = image->get();
  return OpenImage{.image = *std::move(image),
                   .locked_in_use = options.locks_in_use ? raw : nullptr};
}

}  // namespace

absl::StatusOr<std::unique_ptr<DiskServer>> DiskServer::create(
    const Export& wanted, const Options& options,
    std::function<void(const std::string&)> complain) {
  auto opened = open_image(wanted, options);
  if (!opened.ok()) return opened.status();
  vm_device::BlockImage* const image = opened->image.get();
  const bool in_turn = options.in_turn || wanted.image.empty();
  auto disk = vm_device::VirtioBlk::create(
      std::move(opened->image),
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
  server->image_ = image;
  server->locked_in_use_ = opened->locked_in_use;
  auto backend =
      vm_device::VhostUserBackend::create(*std::move(disk), server->backend_options(options));
  if (!backend.ok()) return backend.status();
  server->backend_ = *std::move(backend);
  return server;
}

vm_device::VhostUserOptions DiskServer::backend_options(const Options& options) {
  vm_device::VhostUserOptions how{
      .withheld_features = options.packed ? 0 : vm_device::kFeatureRingPacked,
      .iommu = options.iommu,
      .poll = options.poll,
      .refused = [this](std::string_view why) {
        complaints_.tell(fmt::format("refused {}", why));
      }};
  if (locked_in_use_ == nullptr) return how;
  how.acquire = [this] { return locked_in_use_->lock(); };
  // The next one may be on another host: it does not get an image of which something is lost.
  how.release = [this] {
    absl::Status flushed = flush();
    if (flushed.ok()) locked_in_use_->unlock();
    return flushed;
  };
  return how;
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
  if (const absl::Status flushed = flush(); !flushed.ok()) {
    complaints_.tell(std::string(flushed.message()));
  }
  complaints_.finish();
}

absl::Status DiskServer::flush() {
  const bool writes = image_->access() == vm_device::ImageAccess::kReadWrite;
  const int error = writes ? image_->flush() : 0;
  if (error == 0) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("the image is not on stable storage: {}", std::strerror(error)));
}

}  // namespace vmblkd
