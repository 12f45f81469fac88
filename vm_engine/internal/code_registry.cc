#include "vm_engine/internal/code_registry.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <new>
#include <utility>

#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/handler_epochs.h"

namespace vm_engine::internal {
namespace {

std::mutex registry_mutex;
// Changed under the mutex. Null: empty.
constinit std::atomic<const CodeIndex*> published_index{nullptr};

CodeIndex index_now() {
  const CodeIndex* const index = published_index.load(std::memory_order_relaxed);
  return index == nullptr ? CodeIndex() : *index;
}

void publish_index(std::unique_ptr<const CodeIndex> index) {
  const std::unique_ptr<const CodeIndex> before(published_index.exchange(index.release()));
  wait_for_handlers();
}

// A mapping that was seen to be executable. It may have changed since: what is asked for
// is a caller's mistake, which shows at the first registration.
struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  bool holds(std::uintptr_t at, std::uint64_t bytes) const {
    return begin <= at && at < end && bytes <= end - at;
  }
};

// Those that were found last, in turn: a few engines, each with a code buffer or two.
struct KnownMappings {
  std::array<Mapping, 16> mappings{};
  std::size_t next = 0;

  bool hold(std::uintptr_t at, std::uint64_t bytes) const {
    return std::any_of(mappings.begin(), mappings.end(),
                       [&](const Mapping& mapping) { return mapping.holds(at, bytes); });
  }
  void add(const Mapping& mapping) {
    mappings[next] = mapping;
    next = (next + 1) % mappings.size();
  }
};
std::mutex mapping_mutex;
KnownMappings known_executable;

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// The run of executable mappings that holds `at`.
bool find_executable(std::FILE* maps, std::uintptr_t at, Mapping& run) {
  run = {};
  char line[512];
  bool line_begins = true;
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char rights[5] = {};
    const bool is_mapping =
        line_begins && std::sscanf(line, "%lx-%lx %4s", &begin, &end, rights) == 3;
    line_begins = std::char_traits<char>::find(line, std::char_traits<char>::length(line), '\n');
    if (!is_mapping || rights[2] != 'x') continue;
    if (run.end == begin && run.end != 0) {
      run.end = end;
    } else if (run.begin <= at && at < run.end) {
      return true;
    } else {
      run = {begin, end};
    }
  }
  return run.begin <= at && at < run.end;
}

bool take_from(vme_code& code, vme_hot_site& out) {
  for (std::size_t i = 0; i < code.sites.size(); ++i) {
    vme_code::Heat& heat = code.heat[i];
    if (!heat.take()) continue;
    out = {.code = &code, .index = i, .faults = heat.faults.load(), .site = code.sites[i]};
    return true;
  }
  return false;
}

}  // namespace

vme_rc add_code(std::unique_ptr<vme_code> code) try {
  const std::lock_guard lock(registry_mutex);
  const CodeIndex index = index_now();
  if (index.overlaps(code->begin, code->end)) return VME_EINVAL;
  publish_index(std::make_unique<const CodeIndex>(index.with(*code)));
  code.release();
  return VME_OK;
} catch (const std::bad_alloc&) {
  return VME_ENOMEM;
}

vme_rc remove_code(vme_code& code) try {
  const std::lock_guard lock(registry_mutex);
  publish_index(std::make_unique<const CodeIndex>(index_now().without(code)));
  for (std::size_t i = 0; i < code.sites.size(); ++i) {
    if (code.heat[i].is_untold()) code.engine.untold_hot_sites.fetch_sub(1);
  }
  delete &code;
  return VME_OK;
} catch (const std::bad_alloc&) {
  return VME_ENOMEM;
}

vme_code* find_code(std::uintptr_t address) {
  const CodeIndex* const index = published_index.load();
  return index == nullptr ? nullptr : index->find(address);
}

bool take_hot_site(vme_engine& engine, vme_hot_site& site) {
  if (engine.untold_hot_sites.load(std::memory_order_acquire) == 0) return false;
  const std::lock_guard lock(registry_mutex);
  const CodeIndex* const index = published_index.load(std::memory_order_relaxed);
  if (index == nullptr) return false;
  bool taken = false;
  index->for_each([&](vme_code& code) {
    taken = &code.engine == &engine && take_from(code, site);
    return !taken;
  });
  if (taken) engine.untold_hot_sites.fetch_sub(1);
  return taken;
}

bool is_executable(std::uintptr_t begin, std::uint64_t bytes) {
  const std::lock_guard lock(mapping_mutex);
  if (known_executable.hold(begin, bytes)) return true;
  const File maps(std::fopen("/proc/self/maps", "re"), std::fclose);
  if (maps == nullptr) return true;
  Mapping found;
  if (!find_executable(maps.get(), begin, found) || !found.holds(begin, bytes)) return false;
  known_executable.add(found);
  return true;
}

void lock_code_for_fork() {
  registry_mutex.lock();
  mapping_mutex.lock();
}

void unlock_code_after_fork() {
  mapping_mutex.unlock();
  registry_mutex.unlock();
}

}  // namespace vm_engine::internal
