#include "bench/harness/copy_contest.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>

#include "bench/harness/copy_check.h"
#include "bench/harness/page_buffer.h"

namespace vm_bench {
namespace {

// What all contests copy between, one at a time; nothing writes to the source.
struct ContestMemory {
  PageBuffer dst;
  PageBuffer src;
};

ContestMemory& memory_of_contests() {
  static ContestMemory memory;
  return memory;
}

void require_exact(const CopyLoops& loops, const char* side, CopyAt at) {
  if (copies_exactly(loops.once, at)) return;
  std::fprintf(stderr, "%s copies %u bytes from offset %u to offset %u wrongly\n", side, at.bytes,
               at.src, at.dst);
  std::exit(1);
}

void require_exact(Rivals rivals, const std::vector<CopyAt>& copies) {
  std::set<std::uint32_t> seen;
  for (const CopyAt& at : copies) {
    if (!seen.insert(at.bytes).second) continue;
    require_exact(*rivals.ours, "ours", at);
    require_exact(*rivals.peer, "the peer", at);
  }
}

std::size_t end_of(const std::vector<CopyAt>& copies, std::uint32_t CopyAt::*offset) {
  std::size_t end = 0;
  for (const CopyAt& at : copies) end = std::max(end, std::size_t{at.*offset} + at.bytes);
  return end;
}

// What the samples of one contest share.
struct Arena {
  explicit Arena(std::vector<CopyAt> plan)
      : copies(std::move(plan)),
        dst(memory_of_contests().dst.at_least(end_of(copies, &CopyAt::dst))),
        src(memory_of_contests().src.at_least(end_of(copies, &CopyAt::src))) {}

  std::vector<CopyAt> copies;
  std::byte* dst;
  const std::byte* src;
  std::size_t next = 0;  // of a cold walk
};

CopyAt copy_at(std::size_t n, Placement placement) {
  return {static_cast<std::uint32_t>(placement.dst), static_cast<std::uint32_t>(placement.src),
          static_cast<std::uint32_t>(n)};
}

using Loop = decltype(CopyLoops::walk);

Contest::Run passes(std::shared_ptr<Arena> arena, Loop loop) {
  return [arena = std::move(arena), loop](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) loop(arena->dst, arena->src, arena->copies);
  };
}

Contest::Run steps(std::shared_ptr<Arena> arena, Loop loop) {
  return [arena = std::move(arena), loop](std::size_t count) {
    while (count > 0) {
      const std::size_t part = std::min(count, arena->copies.size() - arena->next);
      loop(arena->dst, arena->src, std::span(arena->copies).subspan(arena->next, part));
      arena->next = (arena->next + part) % arena->copies.size();
      count -= part;
    }
  };
}

Contest in_passes(Rivals rivals, Loop CopyLoops::*loop, std::vector<CopyAt> copies) {
  require_exact(rivals, copies);
  const auto arena = std::make_shared<Arena>(std::move(copies));
  return {.ours = passes(arena, rivals.ours->*loop),
          .peer = passes(arena, rivals.peer->*loop),
          .operations = static_cast<double>(arena->copies.size())};
}

}  // namespace

Contest repeated_unchecked(Rivals rivals, std::size_t n, Placement placement) {
  const CopyAt at = copy_at(n, placement);
  const auto arena = std::make_shared<Arena>(std::vector{at});
  const auto run = [arena, at](decltype(CopyLoops::repeat) loop) {
    return [arena, at, loop](std::size_t count) {
      loop(arena->dst + at.dst, arena->src + at.src, at.bytes, count);
    };
  };
  return {.ours = run(rivals.ours->repeat), .peer = run(rivals.peer->repeat)};
}

Contest repeated(Rivals rivals, std::size_t n, Placement placement) {
  require_exact(rivals, {copy_at(n, placement)});
  return repeated_unchecked(rivals, n, placement);
}

Contest walked(Rivals rivals, std::vector<CopyAt> copies) {
  return in_passes(rivals, &CopyLoops::walk, std::move(copies));
}

Contest chased(Rivals rivals, std::vector<CopyAt> copies) {
  return in_passes(rivals, &CopyLoops::chase, std::move(copies));
}

Contest cold_walked(Rivals rivals, std::vector<CopyAt> copies) {
  require_exact(rivals, copies);
  const auto arena = std::make_shared<Arena>(std::move(copies));
  return {.ours = steps(arena, rivals.ours->walk),
          .peer = steps(arena, rivals.peer->walk),
          .warmth = Warmth::kCold};
}

}  // namespace vm_bench
