// A timer's signal has the thread look at its own stack. What each address belongs to was
// found out before, so that the handler only searches and counts.

#include <cxxabi.h>
#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/vmrun/file.h"
#include "tools/vmrun/profile.h"

namespace vmrun {
namespace {

constexpr long kIntervalNs = 1'000'000;
constexpr int kMostFrames = 32;

struct Code {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  Place place = Place::kElsewhere;
};

const Code* find(const std::vector<Code>& codes, std::uint64_t address) {
  const auto after =
      std::upper_bound(codes.begin(), codes.end(), address,
                       [](std::uint64_t at, const Code& code) { return at < code.begin; });
  if (after == codes.begin()) return nullptr;
  const Code& code = *(after - 1);
  return address < code.end ? &code : nullptr;
}

void sort(std::vector<Code>& codes) {
  std::sort(codes.begin(), codes.end(),
            [](const Code& a, const Code& b) { return a.begin < b.begin; });
}

// The executable segments of every loaded object; the program's own is the first.
int add_segments(dl_phdr_info* object, std::size_t, void* out) {
  auto& objects = *static_cast<std::vector<Code>*>(out);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
    const std::uint64_t begin = object->dlpi_addr + header.p_vaddr;
    objects.push_back({begin, begin + header.p_memsz, Place::kElsewhere});
  }
  return 0;
}

int take_base(dl_phdr_info* object, std::size_t, void* out) {
  *static_cast<std::uint64_t*>(out) = object->dlpi_addr;
  return 1;
}

std::string demangled(const char* name) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  int status = 0;
  const std::unique_ptr<char, Free> text(abi::__cxa_demangle(name, nullptr, nullptr, &status));
  return status == 0 ? text.get() : name;
}

template <typename T>
const T* object_at(const std::string& file, std::uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(file.data() + offset);
}

void add_functions(const std::string& file, const Elf64_Shdr& symbols, const Elf64_Shdr& names,
                   std::uint64_t base, std::vector<Code>& out) {
  for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols.sh_size; at += sizeof(Elf64_Sym)) {
    const auto* symbol = object_at<Elf64_Sym>(file, symbols.sh_offset + at);
    if (symbol == nullptr) return;
    const std::uint64_t name = names.sh_offset + symbol->st_name;
    if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || name >= file.size()) continue;
    const std::uint64_t begin = base + symbol->st_value;
    const Place place = place_of(demangled(file.c_str() + name));
    if (place != Place::kElsewhere) out.push_back({begin, begin + symbol->st_size, place});
  }
}

// The functions of this program that belong somewhere.
absl::StatusOr<std::vector<Code>> own_functions() {
  const auto file = read_file("/proc/self/exe");
  if (!file.ok()) return file.status();
  std::uint64_t base = 0;
  dl_iterate_phdr(take_base, &base);
  std::vector<Code> out;
  const auto* header = object_at<Elf64_Ehdr>(*file, 0);
  for (std::uint64_t i = 0; header != nullptr && i < header->e_shnum; ++i) {
    const auto* section = object_at<Elf64_Shdr>(*file, header->e_shoff + i * sizeof(Elf64_Shdr));
    if (section == nullptr || section->sh_type != SHT_SYMTAB) continue;
    const auto* names =
        object_at<Elf64_Shdr>(*file, header->e_shoff + section->sh_link * sizeof(Elf64_Shdr));
    if (names != nullptr) add_functions(*file, *section, *names, base, out);
  }
  if (out.empty()) {
    return absl::UnimplementedError("no profile: the program is stripped of its symbols");
  }
  sort(out);
  return out;
}

}  // namespace

struct Profiler::State {
  std::vector<Code> functions;
  std::vector<Code> objects;
  timer_t timer{};
  bool has_timer = false;
  struct sigaction before {};
  std::array<std::atomic<std::uint64_t>, kActivities> samples{};
  std::atomic<std::uint64_t> copies{0};

  static State* active;
  static void on_signal(int);
  Place place_at(std::uint64_t address) const;
  void look(const void* handler_returns_to);
  absl::Status start_timer();
};

Profiler::State* Profiler::State::active = nullptr;

// Code of no object was made at run time.
Place Profiler::State::place_at(std::uint64_t address) const {
  if (const Code* code = find(functions, address)) return code->place;
  return find(objects, address) != nullptr ? Place::kElsewhere : Place::kTranslated;
}

// The frames before `handler_returns_to` are the handler's own.
void Profiler::State::look(const void* handler_returns_to) {
  void* addresses[kMostFrames];
  void** const end = addresses + backtrace(addresses, kMostFrames);
  std::array<Place, kMostFrames> places;
  std::size_t found = 0;
  for (void** at = std::find(addresses, end, handler_returns_to); at < end - 1; ++at) {
    // Those behind the first are where calls return to, which may be the next function.
    const std::uint64_t back = found == 0 ? 0 : 1;
    places[found++] = place_at(reinterpret_cast<std::uint64_t>(at[1]) - back);
  }
  const Finding finding = judge(std::span(places).first(found));
  samples[static_cast<std::size_t>(finding.activity)].fetch_add(1, std::memory_order_relaxed);
  if (finding.is_copy) copies.fetch_add(1, std::memory_order_relaxed);
}

[[gnu::noinline]] void Profiler::State::on_signal(int) {
  const int error = errno;
  active->look(__builtin_return_address(0));
  errno = error;
}

absl::Status Profiler::State::start_timer() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigaction(SIGPROF, &action, &before);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  const itimerspec interval{.it_interval = {.tv_sec = 0, .tv_nsec = kIntervalNs},
                            .it_value = {.tv_sec = 0, .tv_nsec = kIntervalNs}};
  has_timer = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
  if (has_timer && timer_settime(timer, 0, &interval, nullptr) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("no profile: ", std::strerror(errno)));
}

Profiler::Profiler(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Profiler>> Profiler::start() {
  auto functions = own_functions();
  if (!functions.ok()) return functions.status();
  auto state = std::make_unique<State>();
  state->functions = *std::move(functions);
  // The first call loads the unwinder, which a handler may not.
  void* warm_up[1];
  backtrace(warm_up, 1);
  dl_iterate_phdr(add_segments, &state->objects);
  sort(state->objects);
  std::unique_ptr<Profiler> profiler(new Profiler(std::move(state)));
  State::active = profiler->state_.get();
  if (const absl::Status status = State::active->start_timer(); !status.ok()) return status;
  return profiler;
}

// A signal that is on its way finds nobody to count for it.
Profiler::~Profiler() {
  if (state_->has_timer) timer_delete(state_->timer);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPROF, &ignore, nullptr);
  sigaction(SIGPROF, &state_->before, nullptr);
  State::active = nullptr;
}

Profile Profiler::stop() {
  if (state_->has_timer) timer_delete(state_->timer);
  state_->has_timer = false;
  Profile out;
  for (std::size_t i = 0; i < kActivities; ++i) out.samples[i] = state_->samples[i].load();
  out.copies = state_->copies.load();
  return out;
}

}  // namespace vmrun
