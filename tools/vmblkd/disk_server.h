// One disk at one socket, served by a thread of its own.
#ifndef VMBLKD_DISK_SERVER_H_
#define VMBLKD_DISK_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "tools/vmblkd/complaints.h"
#include "tools/vmblkd/listener.h"
#include "tools/vmblkd/options.h"
#include "vm_device/block_image.h"
#include "vm_device/raw_image.h"
#include "vm_device/vhost_user.h"

namespace vmblkd {

class DiskServer {
 public:
  // Opens the image, takes its lock if that is to be held always, and makes the socket.
  // `complain` is called from the server's thread, one line each.
  //
  // Errors:  those of RawImage, VirtioBlk and Listener: their messages name what is wrong.
  static absl::StatusOr<std::unique_ptr<DiskServer>> create(
      const Export& wanted, const Options& options,
      std::function<void(const std::string&)> complain);
  DiskServer(const DiskServer&) = delete;
  DiskServer& operator=(const DiskServer&) = delete;
  // Stops.
  ~DiskServer();

  // `ended` is called by the thread when there is no further connection to come.
  // Errors:  kResourceExhausted: the host gives no thread.
  absl::Status start(std::function<void()> ended);
  // Has the thread end. Any thread.
  void request_stop();
  // Waits for that: requests that were taken are complete, and on stable storage.
  void stop();

  const std::string& name() const { return name_; }
  vm_device::VhostUserStatistics statistics() const { return backend_->statistics(); }

 private:
  DiskServer(std::string name, std::unique_ptr<Listener> listener,
             std::function<void(const std::string&)> complain)
      : name_(std::move(name)),
        listener_(std::move(listener)),
        complaints_(name_, std::move(complain)) {}
  vm_device::VhostUserOptions backend_options(const Options& options);
  void serve();
  absl::Status flush();

  const std::string name_;
  std::unique_ptr<Listener> listener_;
  Complaints complaints_;
  vm_device::BlockImage* image_ = nullptr;        // the device's
  vm_device::RawImage* locked_in_use_ = nullptr;  // the same, where its lock is not kept
  std::unique_ptr<vm_device::VhostUserBackend> backend_;
  std::thread thread_;
};

}  // namespace vmblkd

#endif  // VMBLKD_DISK_SERVER_H_
