// Registered code by address. An index is never changed once published: a change makes
// another one, which shares nearly all of it.
#ifndef VM_ENGINE_INTERNAL_CODE_INDEX_H_
#define VM_ENGINE_INTERNAL_CODE_INDEX_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vm_engine/vm_engine.h"

struct vme_code {
  // Errors:  std::bad_alloc.
  vme_code(vme_engine& engine_of, std::uintptr_t base, std::uint64_t bytes,
           std::span<const vme_site> sites_of);

  // Null where the instruction at `address`, which lies in the code, is no site.
  //
  // Memory:  async-signal-safe.
  const vme_site* site_at(std::uintptr_t address) const;

  vme_engine& engine;
  const std::uintptr_t begin;
  const std::uintptr_t end;
  const std::vector<vme_site> sites;
  // By site. It becomes hot by a handler's hand, and is told of once.
  struct Heat {
    enum State : std::uint8_t { kCold, kUntold, kTold };

    bool become_hot() { return change(kCold, kUntold); }
    bool take() { return change(kUntold, kTold); }
    bool is_untold() const { return state.load() == kUntold; }

    std::atomic<std::uint64_t> faults{0};
    std::atomic<State> state{kCold};

   private:
    bool change(State from, State to) {
      return state.load(std::memory_order_relaxed) == from &&
             state.compare_exchange_strong(from, to);
    }
  };
  const std::unique_ptr<Heat[]> heat;
};

namespace vm_engine::internal {

class CodeIndex {
 public:
  // The code that holds `address`, or null.
  //
  // Memory:  async-signal-safe.
  // Cost:    two binary searches.
  vme_code* find(std::uintptr_t address) const;

  // Whether some of [begin, end) is registered.
  bool overlaps(std::uintptr_t begin, std::uintptr_t end) const;

  // Errors, both:  std::bad_alloc.
  // Needs:         it overlaps nothing; or it is there.
  CodeIndex with(vme_code& code) const;
  CodeIndex without(const vme_code& code) const;

  // Calls `visit(vme_code&)` until it returns false.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (const Chunk& chunk : chunks_) {
      for (vme_code* code : *chunk) {
        if (!visit(*code)) return;
      }
    }
  }

 private:
  // In ascending order, never empty. A change copies one chunk and the list of them.
  using Codes = std::vector<vme_code*>;
  using Chunk = std::shared_ptr<const Codes>;
  static constexpr std::size_t kMostInChunk = 256;

  // Of the chunk that holds `address`, or would.
  std::size_t chunk_of(std::uintptr_t address) const;
  void replace(std::size_t chunk, Codes codes);

  std::vector<Chunk> chunks_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CODE_INDEX_H_
