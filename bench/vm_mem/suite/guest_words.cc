#include "bench/vm_mem/suite/guest_words.h"

#include <fmt/core.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bench/harness/lower.h"
#include "bench/peers/unicorn.h"
#include "bench/vm_mem/suite/guest_loops.h"
#include "bench/vm_mem/suite/guest_memory.h"

namespace vm_bench {
namespace {

// Too many for a branch predictor to remember which region is next, and nearly all of
// them in cache lines of their own.
constexpr std::size_t kAddresses = std::size_t{1} << 16;
constexpr std::uint64_t kWord = 8;

std::vector<std::uint64_t> far_addresses(std::uint64_t seed) {
  return random_addresses(two_regions(), kAddresses, kWord, kWord, seed);
}

// Both sides, with the same memory and the same addresses.
template <class Peer>
struct Words {
  template <class... Options>
  Words(std::vector<std::uint64_t> accessed, Tracked tracked, Options... options)
      : addresses(std::move(accessed)),
        manager(make_manager(two_regions(), tracked)),
        reader(*manager),
        peer(two_regions(), options...) {}

  std::uint64_t read() {
    LoadWord access;
    walk(reader, addresses, access);
    return access.sum;
  }

  void write(std::uint64_t first) {
    StoreWord access{first};
    walk(reader, addresses, access);
  }

  std::vector<std::uint64_t> addresses;
  std::unique_ptr<vm_mem::MemoryManager> manager;
  vm_mem::MemoryReader reader;
  Peer peer;
};

using VmMemoryWords = Words<VmMemory>;
using UnicornWords = Words<UnicornMemory>;

// Some address is drawn twice: the last of its values has to be what is read on both sides.
template <class Side, class Peer>
void require_agreement(Side& words, Peer read_peer) {
  require(words.read() == read_peer(), "what was written is not what is read");
}

std::shared_ptr<VmMemoryWords> checked_words(Tracked tracked, std::uint64_t seed) {
  const auto words = std::make_shared<VmMemoryWords>(far_addresses(seed), tracked, tracked);
  words->write(1);
  words->peer.write_obj(words->addresses, 1);
  require_agreement(*words, [&] { return words->peer.read_obj(words->addresses); });
  require_agreement(*words, [&] { return words->peer.load(words->addresses); });
  words->write(7);
  words->peer.store(words->addresses, 7);
  require_agreement(*words, [&] { return words->peer.load(words->addresses); });
  return words;
}

std::shared_ptr<UnicornWords> checked_unicorn_words(std::vector<std::uint64_t> addresses) {
  const auto words = std::make_shared<UnicornWords>(std::move(addresses), Tracked::kNo);
  words->write(1);
  words->peer.write(words->addresses, 1);
  require_agreement(*words, [&] { return words->peer.read(words->addresses); });
  return words;
}

// A unit of work is all the addresses.
template <class Pass>
Contest::Run passes(Pass pass) {
  return [pass](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) pass(i);
  };
}

template <class Ours, class Peer>
Contest contest_of(Ours ours, Peer peer, double operations = kAddresses) {
  return {.ours = passes(ours), .peer = passes(peer), .operations = operations};
}

// The sum has a use, or the loads would be left out.
void use(std::uint64_t sum) { forget(sum); }

Ratio ratio_of(const Session& session, const Contest& contest, const char* call) {
  const Outcome outcome = compare(contest, session.effort());
  return {.outcome = outcome,
          .peer = kVmMemory,
          .remark = fmt::format(": {}, ours {:.2f} ns, theirs {:.2f} ns", call, outcome.ours_ns,
                                outcome.peer_ns)};
}

}  // namespace

Regime read_words(std::string name, Tracked tracked, PeerCalls calls) {
  const auto measure = [tracked, calls](Session& session) {
    const auto words = checked_words(tracked, session.seed());
    const auto ours = [words](std::size_t) { use(words->read()); };
    const auto read_obj = [words](std::size_t) { use(words->peer.read_obj(words->addresses)); };
    const auto load = [words](std::size_t) { use(words->peer.load(words->addresses)); };
    return calls == PeerCalls::kObject ? ratio_of(session, contest_of(ours, read_obj), "read_obj")
                                       : ratio_of(session, contest_of(ours, load), "load");
  };
  return {std::move(name), measure, std::string(vm_memory_missing())};
}

Regime write_words(std::string name, Tracked tracked, PeerCalls calls) {
  const auto measure = [tracked, calls](Session& session) {
    const auto words = checked_words(tracked, session.seed());
    const auto ours = [words](std::size_t i) { words->write(i); };
    const auto write_obj = [words](std::size_t i) { words->peer.write_obj(words->addresses, i); };
    const auto store = [words](std::size_t i) { words->peer.store(words->addresses, i); };
    return calls == PeerCalls::kObject ? ratio_of(session, contest_of(ours, write_obj), "write_obj")
                                       : ratio_of(session, contest_of(ours, store), "store");
  };
  return {std::move(name), measure, std::string(vm_memory_missing())};
}

Regime unicorn_words(std::string name, Reach reach) {
  const auto measure = [name, reach](Session& session) {
    const auto words =
        checked_unicorn_words(reach == Reach::kCaches ? hot_addresses(kWord, kWord, session.seed())
                                                      : far_addresses(session.seed()));
    const auto count = static_cast<double>(words->addresses.size());
    const auto load = [words](std::size_t) { use(words->read()); };
    const auto read = [words](std::size_t) { use(words->peer.read(words->addresses)); };
    const auto store = [words](std::size_t i) { words->write(i); };
    const auto write = [words](std::size_t i) { words->peer.write(words->addresses, i); };
    return lower_of(session, name, "Unicorn",
                    {{"uc_mem_read", contest_of(load, read, count)},
                     {"uc_mem_write", contest_of(store, write, count)}});
  };
  return {name, measure, std::string(unicorn_missing())};
}

}  // namespace vm_bench
