#include "vm_engine/fastmem.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/arena_views.h"
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/fork_guard.h"
#include "vm_mem/code_watch.h"
#include "vm_mem/memory_listener.h"
#include "vm_mem/memory_manager.h"

namespace vm_engine {

using internal::ArenaSpace;
using internal::ArenaView;
using internal::ArenaViews;
using internal::Cpu;
using internal::kPageBytes;
using internal::ViewKind;
using vm_mem::GuestRange;
using vm_mem::MapSection;
using vm_mem::Protection;
using vm_mem::RegionKind;

namespace {

bool is_whole_pages(std::uint64_t value) { return value % kPageBytes == 0; }

// A part of the guest's physical addresses, shown in the arena.
struct Window {
  std::uint64_t begin = 0;  // in the arena
  std::uint64_t gpa = 0;
  std::uint64_t bytes = 0;
  Protection protection = Protection::kReadWrite;
};

struct Section {
  MapSection section;
  std::optional<vm_mem::RegionFile> file;
};

// What a window and a section have in common, by where it begins in either.
struct Common {
  std::uint64_t in_arena = 0;
  std::uint64_t in_section = 0;
  std::uint64_t bytes = 0;
};

Common common_of(const Window& window, const MapSection& section) {
  const std::uint64_t gpa = section.range.begin().value;
  const std::uint64_t begin = std::max(window.gpa, gpa);
  const std::uint64_t end = std::min(window.gpa + window.bytes, gpa + section.range.bytes());
  if (begin >= end) return {};
  return {.in_arena = window.begin + (begin - window.gpa),
          .in_section = begin - gpa,
          .bytes = end - begin};
}

Protection least(Protection a, Protection b) { return std::min(a, b); }

// What emitted code may do there. Nobody writes ROM.
Protection permitted(const MapSection& section) {
  return section.kind == RegionKind::kRom ? least(section.protection, Protection::kRead)
                                          : section.protection;
}

ViewKind kind_of(const Section& shown, Protection protection) {
  if (shown.section.kind == RegionKind::kMmio) return ViewKind::kDevice;
  if (protection == Protection::kNone) return ViewKind::kUnmappable;
  return shown.file || shown.section.kind == RegionKind::kRom ? ViewKind::kMapped
                                                              : ViewKind::kUnmappable;
}

bool is_unshareable(const Section& shown) {
  return shown.section.kind == RegionKind::kRam && !shown.file;
}

absl::Status check(const FastmemOptions& options) {
  if (options.bytes != 0 && is_whole_pages(options.bytes) && is_whole_pages(options.guard_bytes)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("an arena of 0x%x bytes with guards of 0x%x: whole pages are needed",
                      options.bytes, options.guard_bytes));
}

absl::Status no_memory() noexcept {
  return internal::exhausted("no host memory for the records of an arena");
}

}  // namespace

// Follows the map, and cuts it into views; closes pages whose code is watched.
class FastmemArena::State : public vm_mem::MemoryListener, public vm_mem::CodeWatcher {
 public:
  State(vm_mem::MemoryManager& memory, const FastmemOptions& options)
      : memory_(memory), space_(options.space) {
    if (space_ == FastmemSpace::kPhysical) windows_.push_back({0, 0, options.bytes});
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() override { stop(); }

  // Errors:  kResourceExhausted: there are too many watchers.
  absl::Status start(const FastmemOptions& options);

  void region_added(const MapSection& section) override;
  void region_removed(const MapSection& section) override;
  void dirty_log_started(const MapSection& section) override;
  void dirty_log_stopped(const MapSection& section) override;
  void code_written(std::span<const vm_mem::CodeWrite>) noexcept override {}
  bool pages_guarded(std::span<const vm_mem::CodeRange> pages) noexcept override;

  absl::Status check_range(std::uint64_t gva, std::uint64_t bytes) const;
  absl::Status map(const Window& window);
  absl::Status unmap(std::uint64_t begin, std::uint64_t end);

  const vm_mem::MemoryManager& memory() const { return memory_; }
  FastmemSpace space() const { return space_; }
  ArenaViews* views() const { return views_.get(); }
  std::string reason() const { return views_ == nullptr ? reason_ : views_->reason(); }

 private:
  void stop();
  void show(const Window& window, const Section& shown);
  absl::Status show_last_window();
  void undo(const Window& window);
  void hide(const MapSection& section);
  void change(const MapSection& section);

  vm_mem::MemoryManager& memory_;
  const FastmemSpace space_;
  bool listening_ = false;
  std::unique_ptr<ArenaViews> views_;
  std::string reason_;  // why there are none

  // Guarded by the views' follower_mutex(). The map's listeners hold the manager's lock when
  // they take it.
  std::vector<Window> windows_;
  std::map<std::uint64_t, Section> sections_;
};

absl::Status FastmemArena::State::start(const FastmemOptions& options) {
  if (!internal::watch_forks()) return no_memory();
  reason_ = internal::unfit_host(static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
  if (!reason_.empty()) return absl::OkStatus();
  absl::StatusOr<ArenaSpace> reserved = ArenaSpace::reserve(options.bytes, options.guard_bytes);
  if (!reserved.ok()) {
    reason_ = std::string(reserved.status().message());
    return absl::OkStatus();
  }
  const std::size_t most =
      options.max_mappings != 0 ? options.max_mappings : internal::default_mapping_budget();
  views_ = std::make_unique<ArenaViews>(memory_, *std::move(reserved), most);
  // A watcher before anything is shown: no page is watched unnoticed.
  if (absl::Status added = memory_.code_watch().add_watcher(this); !added.ok()) return added;
  listening_ = true;
  memory_.add_listener(this);
  if (views_->is_complete()) return absl::OkStatus();
  stop();
  reason_ = views_->reason();
  views_.reset();
  return absl::OkStatus();
}

void FastmemArena::State::stop() {
  if (!listening_) return;
  memory_.remove_listener(this);
  memory_.code_watch().remove_watcher(this);
  listening_ = false;
}

bool FastmemArena::State::pages_guarded(std::span<const vm_mem::CodeRange> pages) noexcept {
  bool closed = true;
  for (const vm_mem::CodeRange& range : pages) {
    closed = closed && views_->close(range.region, range.offset, range.bytes);
  }
  return closed;
}

void FastmemArena::State::show(const Window& window, const Section& shown) {
  const MapSection& section = shown.section;
  const Common common = common_of(window, section);
  if (common.bytes == 0) return;
  const Protection protection = least(window.protection, permitted(section));
  ArenaView view;
  view.end = common.in_arena + common.bytes;
  view.kind = kind_of(shown, protection);
  view.region = section.shown;
  view.region_offset = section.region_offset + common.in_section;
  view.tracked = section.dirty_tracked;
  view.dirty_log = section.dirty_log;
  view.owner = section.owner;
  ArenaViews::Source source = {.file = shown.file, .content = {}, .protection = protection};
  if (!shown.file && view.kind == ViewKind::kMapped) {
    source.content = {section.host + common.in_section, common.bytes};
  }
  views_->add(common.in_arena, std::move(view), source);
}

// A listener must not throw: what could not be shown faults, which is right.
void FastmemArena::State::region_added(const MapSection& section) try {
  const std::lock_guard lock(views_->follower_mutex());
  Section added = {.section = section, .file = {}};
  if (const auto file = memory_.region_file(section.shown); file.ok()) added.file = *file;
  const Section& shown =
      sections_.emplace(section.range.begin().value, std::move(added)).first->second;
  if (is_unshareable(shown)) {
    views_->refuse({.kind = internal::ArenaReason::Kind::kNoDescriptor,
                    .numbers = {static_cast<std::uint64_t>(section.shown)}});
  }
  for (const Window& window : windows_) show(window, shown);
} catch (const std::bad_alloc&) {
  views_->give_up();
}

void FastmemArena::State::hide(const MapSection& section) {
  for (const Window& window : windows_) {
    const Common common = common_of(window, section);
    if (common.bytes != 0) views_->remove(common.in_arena, common.in_arena + common.bytes);
  }
}

void FastmemArena::State::region_removed(const MapSection& section) try {
  const std::lock_guard lock(views_->follower_mutex());
  hide(section);
  sections_.erase(section.range.begin().value);
} catch (const std::bad_alloc&) {
  views_->give_up();
}

void FastmemArena::State::dirty_log_started(const MapSection& section) { change(section); }

void FastmemArena::State::dirty_log_stopped(const MapSection& section) {
  MapSection untracked = section;
  untracked.dirty_tracked = false;
  change(untracked);
}

void FastmemArena::State::change(const MapSection& section) {
  region_removed(section);
  region_added(section);
}

absl::Status FastmemArena::State::check_range(std::uint64_t gva, std::uint64_t bytes) const {
  if (views_ == nullptr || space_ == FastmemSpace::kPhysical) {
    return absl::FailedPreconditionError(
        "only an arena of FastmemSpace::kVirtual has places to map");
  }
  const bool is_inside = bytes <= views_->bytes() && gva <= views_->bytes() - bytes;
  if (bytes != 0 && is_inside && is_whole_pages(gva | bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "0x%x bytes at 0x%x are no pages of an arena of 0x%x bytes", bytes, gva, views_->bytes()));
}

// What was shown of the window goes without a view being cut, which takes no memory.
void FastmemArena::State::undo(const Window& window) {
  windows_.pop_back();
  views_->remove(window.begin, window.begin + window.bytes);
}

absl::Status FastmemArena::State::show_last_window() try {
  const std::uint64_t refusals = views_->refusals();
  for (const auto& [gpa, section] : sections_) show(windows_.back(), section);
  if (views_->refusals() == refusals) return absl::OkStatus();
  return absl::ResourceExhaustedError(views_->reason());
} catch (const std::bad_alloc&) {
  return no_memory();
}

absl::Status FastmemArena::State::map(const Window& window) try {
  const std::lock_guard lock(views_->follower_mutex());
  const std::uint64_t end = window.begin + window.bytes;
  for (const Window& other : windows_) {
    if (other.begin >= end || window.begin >= other.begin + other.bytes) continue;
    return absl::AlreadyExistsError(absl::StrFormat(
        "0x%x bytes are shown at 0x%x of the arena already", other.bytes, other.begin));
  }
  windows_.push_back(window);
  absl::Status shown = show_last_window();
  if (!shown.ok()) undo(window);
  return shown;
} catch (const std::bad_alloc&) {
  return no_memory();
}

absl::Status FastmemArena::State::unmap(std::uint64_t begin, std::uint64_t end) try {
  const std::lock_guard lock(views_->follower_mutex());
  std::vector<Window> left;
  for (const Window& window : windows_) {
    const std::uint64_t window_end = window.begin + window.bytes;
    if (window_end <= begin || window.begin >= end) {
      left.push_back(window);
      continue;
    }
    Window before = window;
    before.bytes = begin - window.begin;
    if (window.begin < begin) left.push_back(before);
    Window after = window;
    after.begin = end;
    after.gpa = window.gpa + (end - window.begin);
    after.bytes = window_end - end;
    if (end < window_end) left.push_back(after);
  }
  views_->remove(begin, end);
  windows_ = std::move(left);
  return absl::OkStatus();
} catch (const std::bad_alloc&) {
  return no_memory();
}

absl::StatusOr<std::unique_ptr<FastmemArena>> FastmemArena::create(
    vm_mem::MemoryManager& memory, const FastmemOptions& options) try {
  if (absl::Status good = check(options); !good.ok()) return good;
  auto state = std::make_unique<State>(memory, options);
  if (absl::Status started = state->start(options); !started.ok()) return started;
  return std::unique_ptr<FastmemArena>(new FastmemArena(std::move(state)));
} catch (const std::bad_alloc&) {
  return no_memory();
}

FastmemArena::FastmemArena(std::unique_ptr<State> state) : state_(std::move(state)) {}
FastmemArena::~FastmemArena() = default;

FastmemMode FastmemArena::mode() const {
  const ArenaViews* views = state_->views();
  return views != nullptr && views->is_complete() ? FastmemMode::kFastmem : FastmemMode::kSoftTlb;
}

std::string FastmemArena::reason() const { return state_->reason(); }

std::byte* FastmemArena::base() const {
  return state_->views() == nullptr ? nullptr : state_->views()->base();
}

std::uint64_t FastmemArena::bytes() const {
  return state_->views() == nullptr ? 0 : state_->views()->bytes();
}

FastmemStatistics FastmemArena::statistics() const {
  return state_->views() == nullptr ? FastmemStatistics() : state_->views()->statistics();
}

absl::Status FastmemArena::attach(vme_cpu* cpu) {
  Cpu* const own = Cpu::from(cpu);
  if (own == nullptr) return absl::InvalidArgumentError("not a vCPU of this library");
  if (own->engine().manager != &state_->memory()) {
    return absl::InvalidArgumentError("the vCPU's memory is not the arena's");
  }
  if (state_->views() == nullptr) return absl::FailedPreconditionError(state_->reason());
  if (own->engine().translate != nullptr && state_->space() == FastmemSpace::kPhysical) {
    return absl::FailedPreconditionError(
        "the engine translates addresses; the arena is indexed by physical ones");
  }
  own->set_arena(state_->views());
  return absl::OkStatus();
}

void FastmemArena::detach(vme_cpu* cpu) {
  Cpu* const own = Cpu::from(cpu);
  if (own == nullptr || own->arena() == nullptr || own->arena() != state_->views()) return;
  own->set_arena(nullptr);
}

absl::Status FastmemArena::map(std::uint64_t gva, GuestRange range, Protection protection) {
  if (absl::Status good = state_->check_range(gva, range.bytes()); !good.ok()) return good;
  if (!is_whole_pages(range.begin().value)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("guest address 0x%x does not begin a page", range.begin().value));
  }
  return state_->map({gva, range.begin().value, range.bytes(), protection});
}

absl::Status FastmemArena::unmap(std::uint64_t gva, std::uint64_t bytes) {
  if (absl::Status good = state_->check_range(gva, bytes); !good.ok()) return good;
  return state_->unmap(gva, gva + bytes);
}

absl::Status FastmemArena::protect(vm_mem::RegionId region, std::uint64_t offset,
                                   std::uint64_t bytes) {
  if (state_->views() == nullptr) return absl::OkStatus();
  return state_->views()->protect(region, offset, bytes);
}

void FastmemArena::unprotect(vm_mem::RegionId region, std::uint64_t offset, std::uint64_t bytes) {
  if (state_->views() != nullptr) state_->views()->unprotect(region, offset, bytes);
}

void FastmemArena::close_tracked_pages() {
  if (state_->views() != nullptr) state_->views()->close_tracked();
}

}  // namespace vm_engine
