#include "vm_mem/internal/dirty_book.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/dirty_kernels.h"
#include "vm_mem/internal/region_text.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem::internal {
namespace {

std::uint64_t client_number(DirtyClient id) { return static_cast<std::uint64_t>(id); }

std::uint64_t ones_in(std::span<const std::uint64_t> words) {
  std::uint64_t ones = 0;
  for (const std::uint64_t word : words) ones += static_cast<std::uint64_t>(std::popcount(word));
  return ones;
}

// `to` is as long as `from`.
void unite(std::span<std::uint64_t> to, std::span<const std::uint64_t> from) {
  for (std::size_t i = 0; i < from.size(); ++i) to[i] |= from[i];
}

// The bits of words[pages / 64] that stand for pages below `pages`.
std::uint64_t bits_below(std::uint64_t pages) { return (std::uint64_t{1} << pages % 64) - 1; }

// Words for `pages`, as the loops take them.
std::size_t whole_groups(std::uint64_t pages) {
  constexpr std::uint64_t kGroup = kWordGroup * kMarksPerWord;
  return (pages + kGroup - 1) / kGroup * kWordGroup;
}

void trim(std::span<std::uint64_t> words, std::uint64_t pages) {
  if (pages / 64 >= words.size()) return;
  words[pages / 64] &= bits_below(pages);
  std::fill(words.begin() + static_cast<std::ptrdiff_t>(pages / 64) + 1, words.end(), 0);
}

absl::Status check_size(const TrackedLog& tracked) {
  const std::uint64_t pages = tracked.log->page_count();
  if (pages <= std::numeric_limits<std::uint32_t>::max()) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrFormat("region 0x%x has 0x%x pages; runs count up to 0x%x",
                                               number_of(tracked.region), pages,
                                               std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

absl::StatusOr<DirtyClient> DirtyBook::add(std::string_view name, DirtyStart start) {
  const std::lock_guard lock(mutex_);
  return without_exceptions([&] { return add_locked(name, start); });
}

absl::Status DirtyBook::harvest(DirtyClient client, RegionId region, DirtyPages& out) {
  const std::lock_guard lock(mutex_);
  absl::Status status = without_exceptions([&] { return harvest_locked(client, region, out); });
  if (!status.ok()) out.clear();
  return status;
}

absl::Status DirtyBook::harvest_all(DirtyClient client, std::vector<DirtyRegion>& out) {
  const std::lock_guard lock(mutex_);
  absl::Status status = without_exceptions([&] { return harvest_all_locked(client, out); });
  if (!status.ok()) out.clear();
  return status;
}

absl::StatusOr<DirtyClient> DirtyBook::add_locked(std::string_view name, DirtyStart start) {
  if (absl::Status fit = check_new(name); !fit.ok()) return fit;
  if (absl::Status made = make_barrier(); !made.ok()) return made;
  Client client{.name = std::string(name), .owed = {}};
  const std::vector<TrackedLog> logs = regions_.tracked();
  forget_all_but(logs);
  DirtyPages scratch;
  for (const TrackedLog& tracked : logs) {
    if (start == DirtyStart::kAllDirty) owe_all(tracked, client);
    prepare(nullptr, tracked, scratch);
    take(nullptr, tracked, scratch);
  }
  if (absl::Status settled = settle({}); !settled.ok()) return settled;
  const DirtyClient id{++last_client_};
  clients_.emplace(id, std::move(client));
  return id;
}

absl::Status DirtyBook::remove(DirtyClient client) {
  const std::lock_guard lock(mutex_);
  if (const auto found = find(client); !found.ok()) return found.status();
  clients_.erase(client);
  return absl::OkStatus();
}

absl::Status DirtyBook::harvest_locked(DirtyClient client, RegionId id, DirtyPages& out) {
  const absl::StatusOr<Client*> owner = find(client);
  if (!owner.ok()) return owner.status();
  const absl::StatusOr<TrackedLog> tracked = find_tracked(id);
  if (!tracked.ok()) return tracked.status();
  prepare(*owner, *tracked, out);
  const Taken taken = take(*owner, *tracked, out);
  return settle({&taken, 1});
}

absl::Status DirtyBook::harvest_all_locked(DirtyClient client, std::vector<DirtyRegion>& out) {
  const absl::StatusOr<Client*> owner = find(client);
  if (!owner.ok()) return owner.status();
  const std::vector<TrackedLog> logs = regions_.tracked();
  forget_all_but(logs);
  out.resize(logs.size());
  std::vector<Taken> taken;
  taken.reserve(logs.size());
  for (std::size_t i = 0; i < logs.size(); ++i) {
    if (absl::Status fit = check_size(logs[i]); !fit.ok()) return fit;
    out[i].region = logs[i].region;
    prepare(*owner, logs[i], out[i].pages);
  }
  for (std::size_t i = 0; i < logs.size(); ++i) {
    taken.push_back(take(*owner, logs[i], out[i].pages));
  }
  return settle(taken);
}

absl::Status DirtyBook::check_new(std::string_view name) const {
  if (name.empty()) return absl::InvalidArgumentError("a client of dirty pages needs a name");
  for (const auto& [id, client] : clients_) {
    if (client.name == name) {
      return absl::AlreadyExistsError(absl::StrFormat("client 0x%x of dirty pages is named %s",
                                                      client_number(id), client.name));
    }
  }
  if (clients_.size() < kMaxClients) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the limit of %d clients of dirty pages is reached", kMaxClients));
}

absl::Status DirtyBook::make_barrier() {
  if (barrier_) return absl::OkStatus();
  absl::StatusOr<ProcessBarrier> made = ProcessBarrier::make(allowed_barriers_);
  if (!made.ok()) return made.status();
  barrier_.emplace(*std::move(made));
  return absl::OkStatus();
}

absl::StatusOr<DirtyBook::Client*> DirtyBook::find(DirtyClient client) {
  const auto found = clients_.find(client);
  if (found != clients_.end()) return &found->second;
  return absl::NotFoundError(
      absl::StrFormat("no client 0x%x of dirty pages", client_number(client)));
}

absl::StatusOr<TrackedLog> DirtyBook::find_tracked(RegionId id) const {
  const absl::StatusOr<RegionNode> node = regions_.find_node(id);
  if (!node.ok()) return node.status();
  if (node->target != RegionId{}) {
    return absl::FailedPreconditionError(
        absl::StrFormat("region 0x%x is an alias: its pages are those of region 0x%x",
                        number_of(id), number_of(node->target)));
  }
  absl::StatusOr<std::shared_ptr<DirtyLog>> log = regions_.find_dirty_log(id);
  if (!log.ok()) return log.status();
  TrackedLog tracked{.region = id, .pages = node->range.bytes() / kDirtyPageBytes, .log = *log};
  if (absl::Status fit = check_size(tracked); !fit.ok()) return fit;
  return tracked;
}

void DirtyBook::forget_all_but(std::span<const TrackedLog> tracked) {
  const auto is_gone = [tracked](const auto& owed) {
    const auto found = std::lower_bound(
        tracked.begin(), tracked.end(), owed.first,
        [](const TrackedLog& log, RegionId wanted) { return log.region < wanted; });
    return found == tracked.end() || found->region != owed.first;
  };
  for (auto& [id, client] : clients_) std::erase_if(client.owed, is_gone);
}

void DirtyBook::owe_all(const TrackedLog& tracked, Client& client) {
  const std::uint64_t pages = tracked.pages;
  Owed& owed = client.owed[tracked.region];
  owed.any = pages != 0;
  owed.words.assign(tracked.log->word_count(), 0);
  std::fill_n(owed.words.begin(), pages / 64, ~std::uint64_t{0});
  if (pages % 64 != 0) owed.words[pages / 64] = (std::uint64_t{1} << pages % 64) - 1;
}

void DirtyBook::prepare(const Client* client, const TrackedLog& tracked, DirtyPages& out) {
  const std::size_t words = tracked.log->word_count();
  out.words_.resize(words);
  for (auto& [id, other] : clients_) {
    if (&other != client) other.owed[tracked.region].words.resize(words);
  }
}

DirtyBook::Taken DirtyBook::take(Client* client, const TrackedLog& tracked, DirtyPages& out) {
  DirtyLog& log = *tracked.log;
  const std::size_t shown = std::min(out.words_.size(), whole_groups(tracked.pages));
  const std::span found = std::span(out.words_).first(shown);
  out.page_count_ = log.collect(found);
  log.restore(found, tracked.pages);  // past the end marks stay: it may have grown meanwhile
  trim(out.words_, tracked.pages);
  if (tracked.pages % (kWordGroup * kMarksPerWord) != 0) out.page_count_ = ones_in(out.words_);
  if (out.page_count_ != 0) {
    cleared_ = true;
    note_for_others(client, tracked.region, out.words_);
  }
  if (client != nullptr) {
    const auto owed = client->owed.find(tracked.region);
    if (owed != client->owed.end() && owed->second.any) hand_over(owed->second, tracked, out);
  }
  return {&log, &out};
}

void DirtyBook::note_for_others(const Client* client, RegionId region,
                                std::span<const std::uint64_t> found) {
  for (auto& [id, other] : clients_) {
    if (&other == client) continue;
    Owed& owed = other.owed.find(region)->second;
    unite(owed.words, found);
    owed.any = true;
  }
}

void DirtyBook::hand_over(Owed& owed, const TrackedLog& tracked, DirtyPages& out) {
  unite(out.words_, owed.words);
  trim(out.words_, tracked.pages);
  out.page_count_ = ones_in(out.words_);
  std::fill(owed.words.begin(), owed.words.end(), 0);
  owed.any = false;
}

// Where no mark was cleared since the last barrier, none is needed: whoever saw a mark
// that somebody else has cleared has passed that barrier.
absl::Status DirtyBook::settle(std::span<const Taken> taken) {
  absl::Status status = absl::OkStatus();
  if (cleared_) {
    epoch_.fetch_add(1, std::memory_order_release);
    status = barrier_->run();
    cleared_ = !status.ok();
  }
  if (status.ok()) status = find_runs(taken);
  if (!status.ok()) give_back(taken);
  return status;
}

absl::Status DirtyBook::find_runs(std::span<const Taken> taken) {
  return without_exceptions([&] {
    for (const Taken& each : taken) each.pages->find_runs(active_dirty_kernels());
    return absl::OkStatus();
  });
}

void DirtyBook::give_back(std::span<const Taken> taken) {
  for (const Taken& each : taken) {
    each.log->restore(each.pages->words_, 0);
    each.pages->clear();
  }
}

}  // namespace vm_mem::internal
