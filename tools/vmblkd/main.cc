// vmblkd: serves disk images by vhost-user.

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "tools/json/json.h"
#include "tools/vmblkd/disk_server.h"
#include "tools/vmblkd/options.h"
#include "vm_mem/simd_memcpy.h"

namespace vmblkd {
namespace {

void complain(const std::string& text) {
  std::fputs(fmt::format("vmblkd: {}\n", text).c_str(), stderr);
}

using Servers = std::vector<std::unique_ptr<DiskServer>>;

std::string as_text(const Servers& servers) {
  std::string text;
  for (const auto& server : servers) {
    const vm_device::VhostUserStatistics s = server->statistics();
    text += fmt::format(
        "{}: {} connections, {} messages ({} refused), {} notifications, {} signals, "
        "{} queue errors, IOTLB: {} misses, {} updates, {} invalidations\n",
        server->name(), s.connections, s.messages, s.refused, s.notifications, s.signals,
        s.queue_errors, s.iotlb_misses, s.iotlb_updates, s.iotlb_invalidations);
  }
  return text;
}

std::string as_json(const Servers& servers) {
  json_text::Json json;
  json.open_array("disks");
  for (const auto& server : servers) {
    const vm_device::VhostUserStatistics s = server->statistics();
    json.open_object("");
    json.add("socket", server->name());
    json.add("connections", s.connections);
    json.add("messages", s.messages);
    json.add("refused", s.refused);
    json.add("notifications", s.notifications);
    json.add("signals", s.signals);
    json.add("queue_errors", s.queue_errors);
    json.add("iotlb_misses", s.iotlb_misses);
    json.add("iotlb_updates", s.iotlb_updates);
    json.add("iotlb_invalidations", s.iotlb_invalidations);
    json.close();
  }
  return std::move(json).text();
}

// Blocked in every thread, so that sigwait() gets them.
sigset_t block_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // an image that may not grow is an error of the guest's
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int run(const Options& options) {
  sigset_t signals = block_signals();
  if (const auto status = vm_mem::startup_status(); !status.ok()) {
    complain(std::string(status.message()));
  }
  std::atomic<std::size_t> left{options.exports.size()};  // outlives the servers' threads
  Servers servers;
  for (const Export& wanted : options.exports) {
    auto server = DiskServer::create(wanted, options, complain);
    if (!server.ok()) return complain(std::string(server.status().message())), 1;
    servers.push_back(*std::move(server));
  }
  for (const auto& server : servers) {
    const absl::Status started = server->start([&left] {
      if (left.fetch_sub(1) == 1) ::kill(::getpid(), SIGUSR1);
    });
    if (!started.ok()) return complain(std::string(started.message())), 1;
  }
  int number = 0;
  do {
    sigwait(&signals, &number);
  } while (number == SIGUSR1 && left.load() != 0);
  // The second one ends at once.
  sigdelset(&signals, SIGUSR1);
  for (const int again : {SIGTERM, SIGINT}) std::signal(again, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  for (const auto& server : servers) server->request_stop();
  for (const auto& server : servers) server->stop();
  std::fputs((options.stats_as_json ? as_json(servers) : as_text(servers)).c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace vmblkd

int main(int argc, char** argv) {
  const auto parsed = vmblkd::parse_options(argc, argv);
  if (const auto* exit = std::get_if<vmblkd::Exit>(&parsed)) {
    std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
    return exit->status;
  }
  return vmblkd::run(std::get<vmblkd::Options>(parsed));
}
