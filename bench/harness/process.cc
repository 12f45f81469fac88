#include "bench/harness/process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <sstream>

namespace vm_bench {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> with_environment(const std::vector<std::string>& more) {
  std::vector<std::string> out = more;
  for (char** entry = environ; *entry != nullptr; ++entry) out.emplace_back(*entry);
  return out;
}

struct Child {
  pid_t process;
  int input;  // its standard input
  int output;
};

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) give_up("no pipe");
  return ends;
}

Child start(const Command& command) {
  const std::array<int, 2> input = make_pipe();
  const std::array<int, 2> output = make_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  std::vector<std::string> words = command.words;
  std::vector<std::string> environment = with_environment(command.environment);
  Child child{.process = 0, .input = input[1], .output = output[0]};
  const int error = posix_spawnp(&child.process, words[0].c_str(), &actions, nullptr,
                                 pointers_to(words).data(), pointers_to(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  close(input[0]);
  close(output[1]);
  if (error != 0) give_up(fmt::format("{}: {}", words[0], std::strerror(error)));
  return child;
}

bool contains(const std::string& text, const std::string& part) {
  return !part.empty() && text.find(part) != std::string::npos;
}

constexpr std::chrono::minutes kPatience{10};  // beyond what any guest here takes

[[noreturn]] void give_up_on(const Child& child, const std::string& what) {
  kill(child.process, SIGKILL);
  give_up(what);
}

// Bytes; 0 where there are no more.
std::size_t hear(const Child& child, Clock::time_point deadline, std::span<char> piece) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd set{.fd = child.output, .events = POLLIN, .revents = 0};
    if (left.count() <= 0) give_up_on(child, "it says nothing that it was to say");
    if (poll(&set, 1, static_cast<int>(left.count())) <= 0) continue;
    const ssize_t bytes = read(child.output, piece.data(), piece.size());
    if (bytes >= 0 || errno != EINTR) return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
  }
}

// Its output up to the end of the dialogue, or all of it.
std::string talk(const Child& child, const Dialogue& dialogue) {
  std::string out;
  std::string answer = dialogue.answer;
  std::array<char, 4096> piece;
  const Clock::time_point deadline = Clock::now() + kPatience;
  for (;;) {
    const std::size_t bytes = hear(child, deadline, piece);
    if (bytes == 0) return out;
    out.append(piece.data(), bytes);
    if (contains(out, dialogue.end)) return out;
    if (!contains(out, dialogue.notice) || answer.empty()) continue;
    if (write(child.input, answer.data(), answer.size()) < 0) {
      give_up_on(child, "nothing can be typed");
    }
    answer.clear();
  }
}

double nanoseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
}

std::string milliseconds(double ours_ns, double peer_ns) {
  return fmt::format("ours {:.0f} ms, theirs {:.0f} ms", ours_ns / 1e6, peer_ns / 1e6);
}

struct Series {
  std::vector<double> wall;
  std::vector<double> cpu;
  std::string output;  // of the last

  void add(const ProcessRun& run) {
    wall.push_back(run.wall_ns);
    cpu.push_back(run.cpu_ns);
    output = run.output;
  }
};

std::vector<double> ratios_of(const std::vector<double>& ours, const std::vector<double>& peer) {
  std::vector<double> out;
  for (std::size_t i = 0; i < ours.size(); ++i) out.push_back(peer[i] / ours[i]);
  return out;
}

ProcessOutcome outcome_of(const Series& ours, const Series& peer) {
  ProcessOutcome out{.outcome = {.ratios = ratios_of(ours.wall, peer.wall),
                                 .ours_ns = summarize(ours.wall).median,
                                 .peer_ns = summarize(peer.wall).median},
                     .cpu_ratio = summarize(ratios_of(ours.cpu, peer.cpu)),
                     .remark = {},
                     .ours_output = ours.output,
                     .peer_output = peer.output};
  out.remark = fmt::format(": {}; CPU time {:.2f} ({:.2f}-{:.2f}), {}",
                           milliseconds(out.outcome.ours_ns, out.outcome.peer_ns),
                           out.cpu_ratio.median, out.cpu_ratio.min, out.cpu_ratio.max,
                           milliseconds(summarize(ours.cpu).median, summarize(peer.cpu).median));
  return out;
}

}  // namespace

void give_up(const std::string& what) {
  fmt::print(stderr, "{}\n", what);
  std::exit(1);
}

bool is_installed(std::string_view program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + std::string(program)).c_str(), X_OK) == 0) return true;
  }
  return false;
}

ProcessRun run_process(const Command& command, const Dialogue& dialogue) {
  signal(SIGPIPE, SIG_IGN);  // one that has ended cannot be typed to
  const Clock::time_point begin = Clock::now();
  const Child child = start(command);
  ProcessRun run{.output = talk(child, dialogue)};
  run.wall_ns = static_cast<double>((Clock::now() - begin).count());
  const bool ended_here = contains(run.output, dialogue.end);
  if (ended_here) kill(child.process, SIGKILL);
  close(child.input);
  close(child.output);
  int status = 0;
  rusage usage{};
  while (wait4(child.process, &status, 0, &usage) < 0 && errno == EINTR) continue;
  if (!ended_here) run.wall_ns = static_cast<double>((Clock::now() - begin).count());
  run.cpu_ns = nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
  if (!ended_here && (!dialogue.end.empty() || status != 0)) {
    give_up(fmt::format("{}: it ended with status 0x{:x} before '{}' came; it wrote: {}",
                        fmt::join(command.words, " "), status, dialogue.end, run.output));
  }
  return run;
}

ProcessOutcome compare_processes(const ProcessContest& contest, const Effort& effort) {
  constexpr std::size_t kMostRounds = 15;
  run_process(contest.ours, contest.dialogue);
  run_process(contest.peer, contest.dialogue);
  Series ours;
  Series peer;
  for (std::size_t round = 0; round < std::min(effort.rounds, kMostRounds); ++round) {
    const bool ours_first = round % 2 == 0;
    if (ours_first) ours.add(run_process(contest.ours, contest.dialogue));
    peer.add(run_process(contest.peer, contest.dialogue));
    if (!ours_first) ours.add(run_process(contest.ours, contest.dialogue));
  }
  return outcome_of(ours, peer);
}

namespace {

// What give_up() leaves, which runs no destructor of its callers.
struct Leftovers {
  std::vector<std::string> paths;
  ~Leftovers() {
    for (const std::string& path : paths) unlink(path.c_str());
  }
};

Leftovers& leftovers() {
  static Leftovers all;
  return all;
}

}  // namespace

ScratchFile::ScratchFile(std::string_view content, std::size_t bytes)
    : path_(std::filesystem::temp_directory_path() / "vm-bench-XXXXXX") {
  const int descriptor = mkostemp(path_.data(), O_CLOEXEC);
  const bool good =
      descriptor >= 0 &&
      write(descriptor, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
      (bytes == 0 || ftruncate(descriptor, static_cast<off_t>(bytes)) == 0);
  if (!good) give_up(fmt::format("{}: {}", path_, std::strerror(errno)));
  close(descriptor);
  leftovers().paths.push_back(path_);
}

ScratchFile::~ScratchFile() { unlink(path_.c_str()); }

}  // namespace vm_bench
