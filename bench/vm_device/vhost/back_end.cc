#include "bench/vm_device/vhost/back_end.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "bench/harness/machine.h"

namespace vm_bench {
namespace {

constexpr int kLookMicroseconds = 10'000;
constexpr int kLooks = 1000;

[[noreturn]] void run_child(std::vector<std::string> words, pid_t parent) {
  // With this program, however it ends.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  leave_the_one_cpu();
  dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

std::vector<std::string> with_socket(std::vector<std::string> words, const std::string& socket) {
  for (std::string& word : words) {
    if (const auto at = word.find("%s"); at != std::string::npos) word.replace(at, 2, socket);
  }
  return words;
}

// Without a connection, which would be the one that it takes. It may have had another name, which
// is a longer one, when it began to listen.
bool is_listened_at(const std::string& path) {
  constexpr std::string_view kListens = " 00010000 ";
  if (!std::filesystem::exists(path)) return false;
  std::ifstream sockets("/proc/net/unix");
  for (std::string line; std::getline(sockets, line);) {
    if (line.find(kListens) != std::string::npos && line.find(path) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

BackEnd::BackEnd(const std::vector<std::string>& words)
    : name_(std::filesystem::path(words.front()).filename()) {
  unlink(socket().c_str());
  const pid_t parent = getpid();
  process_ = fork();
  if (process_ == 0) run_child(with_socket(words, socket()), parent);
  if (process_ < 0) give_up(fmt::format("{}: fork: {}", name_, std::strerror(errno)));
  wait_until_it_listens();
  if (clock_getcpuclockid(process_, &clock_) != 0) give_up(name_ + " has no clock");
}

BackEnd::~BackEnd() {
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
}

void BackEnd::wait_until_it_listens() {
  for (int left = kLooks; left > 0; --left) {
    if (is_listened_at(socket())) return;
    if (waitpid(process_, nullptr, WNOHANG) != 0) break;
    usleep(kLookMicroseconds);
  }
  give_up(name_ + " does not listen");
}

double BackEnd::cpu_ns() const {
  timespec now{};
  clock_gettime(clock_, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

}  // namespace vm_bench
