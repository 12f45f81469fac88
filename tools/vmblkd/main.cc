// vmblkd: serves disk images by vhost-user.

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "tools/vmblkd/disk_server.h"
#include "tools/vmblkd/options.h"
#include "vm_mem/simd_memcpy.h"

namespace vmblkd {
namespace {

void complain(const std::string& text) {
  std::fputs(fmt::format("vmblkd: {}\n", text).c_str(), stderr);
}

std::string report(const DiskServer& server, bool as_json) {
  const vm_device::VhostUserStatistics s = server.statistics();
  if (as_json) {
    return fmt::format(R"({{"socket": "{}", "connections": {}, "messages": {}, "refused": {}, )"
                       R"("notifications": {}, "signals": {}, "queue_errors": {}}})",
                       server.name(), s.connections, s.messages, s.refused, s.notifications,
                       s.signals, s.queue_errors);
  }
  return fmt::format(
      "{}: {} connections, {} messages ({} refused), {} notifications, {} signals, {} queue errors",
      server.name(), s.connections, s.messages, s.refused, s.notifications, s.signals,
      s.queue_errors);
}

void publish(const std::vector<std::unique_ptr<DiskServer>>& servers, bool as_json) {
  std::string text;
  for (const auto& server : servers) {
    if (!text.empty()) text += as_json ? ", " : "\n";
    text += report(*server, as_json);
  }
  std::fputs((as_json ? fmt::format("{{\"disks\": [{}]}}\n", text) : text + "\n").c_str(), stdout);
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
  std::vector<std::unique_ptr<DiskServer>> servers;
  for (const Export& wanted : options.exports) {
    auto server = DiskServer::create(wanted, options, complain);
    if (!server.ok()) return complain(std::string(server.status().message())), 1;
    servers.push_back(*std::move(server));
  }
  std::atomic<std::size_t> left{servers.size()};
  for (const auto& server : servers) {
    server->start([&left] {
      if (left.fetch_sub(1) == 1) ::kill(::getpid(), SIGUSR1);
    });
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
  publish(servers, options.stats_as_json);
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
