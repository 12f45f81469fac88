// Piece by piece, as far as one page of each side goes: there an access fails as a whole or not
// at all, and nothing that the loop would not have come to is asked of the page tables.
// Whatever is not plain memory ends it, pages with watched code too, and the loop itself goes
// on.

#include <algorithm>
#include <bit>

#include "tools/vmrun/hart.h"
#include "tools/vmrun/loop.h"

namespace vmrun {
namespace {

using Registers = std::array<std::uint64_t, 33>;

constexpr std::uint64_t kPageBytes = std::uint64_t{1} << VME_PAGE_BITS;
// Between two looks at what the rest of the machine wants.
constexpr std::uint64_t kMostBytes = 64 << 10;
// Fewer are sooner done one by one.
constexpr std::uint64_t kLeastIterations = 4;

// How many of `left` iterations stay in one page, of which the first begins at `low`.
std::uint64_t in_page(const Loop& loop, std::uint64_t low, std::uint64_t left) {
  const std::uint64_t offset = low % kPageBytes;
  if (loop.order == ByteOrder::kAscending)
    return std::min(left, (kPageBytes - offset) / loop.bytes);
  if (offset + loop.bytes > kPageBytes) return 0;
  return std::min(left, offset / loop.bytes + 1);
}

// Where iteration n begins, and the lowest byte of `count` of them from there on.
std::uint64_t advanced(const Loop& loop, std::uint64_t at, std::uint64_t n) {
  return loop.order == ByteOrder::kAscending ? at + n * loop.bytes : at - n * loop.bytes;
}
std::uint64_t lowest(const Loop& loop, std::uint64_t at, std::uint64_t count) {
  return loop.order == ByteOrder::kAscending ? at : advanced(loop, at, count - 1);
}

// The longest rest, in iterations: a power of two, less one.
constexpr std::uint32_t kLongestRest = 63;

// Where stores go while nobody has to be told of each: the page of watched code is none such.
// The iteration at hand stores there, so that asking to write does nothing that it does not.
const std::byte* open_for_stores(HartMemory& memory, std::uint64_t to) {
  return memory.host_of(to, VME_ACCESS_WRITE);
}

// An iteration of several loads and stores may load before it stores: it is a copy only where
// they do not meet, in memory as the host has it.
bool is_copy(HartMemory& memory, const Loop& loop, std::uint64_t from, std::uint64_t to) {
  const std::byte* const source = memory.host_of(from, VME_ACCESS_READ);
  if (source == nullptr) return false;
  const std::byte* const destination = open_for_stores(memory, to);
  if (destination == nullptr) return false;
  if (loop.elements == 1) return true;
  const auto ahead = static_cast<std::uint64_t>(destination - source);
  return ahead >= loop.bytes && std::uint64_t{0} - ahead >= loop.bytes;
}

// Repeats the first element in eight bytes.
std::uint64_t repeated(std::uint64_t pattern, unsigned log2_element) {
  const unsigned bits = 8u << log2_element;
  if (bits == 64) return pattern;
  return (pattern & ((std::uint64_t{1} << bits) - 1)) *
         (~std::uint64_t{0} / ((std::uint64_t{1} << bits) - 1));
}

class Runner {
 public:
  Runner(Hart& hart, const Loop& loop)
      : hart_(&hart),
        loop_(&loop),
        source_(loop.source.of(hart.state().x)),
        destination_(loop.destination.of(hart.state().x)) {
    if (loop.kind == LoopKind::kFill) find_pattern();
  }

  // Those that were done.
  std::uint64_t run(std::uint64_t iterations) {
    std::uint64_t done = 0;
    while (done < iterations) {
      const std::uint64_t piece = do_piece(done, iterations - done);
      done += piece;
      if (piece == 0 || hart_->memory().cpu().exit_request != 0) break;
    }
    return done;
  }

 private:
  void find_pattern() {
    pattern_ = repeated(loop_->pattern.of(hart_->state().x), loop_->log2_element);
    const bool is_even = pattern_ == repeated(pattern_, 0);
    log2_element_ = is_even ? 0u : loop_->log2_element;
  }
  std::uint64_t do_piece(std::uint64_t done, std::uint64_t left) {
    const std::uint64_t to = advanced(*loop_, destination_, done);
    const std::uint64_t count = in_page(*loop_, to, left);
    if (count == 0) return 0;
    return loop_->kind == LoopKind::kCopy ? copy(advanced(*loop_, source_, done), to, count)
                                          : fill(to, count);
  }
  std::uint64_t copy(std::uint64_t from, std::uint64_t to, std::uint64_t count) {
    HartMemory& memory = hart_->memory();
    count = in_page(*loop_, from, count);
    if (count == 0 || !is_copy(memory, *loop_, from, to)) return 0;
    const std::uint64_t bytes = count * loop_->bytes;
    const std::uint64_t left =
        memory.copy_elements(lowest(*loop_, to, count), lowest(*loop_, from, count), bytes,
                             loop_->order, loop_->log2_element);
    return (bytes - left) / loop_->bytes;
  }
  std::uint64_t fill(std::uint64_t to, std::uint64_t count) {
    HartMemory& memory = hart_->memory();
    if (open_for_stores(memory, to) == nullptr) return 0;
    const std::uint64_t bytes = count * loop_->bytes;
    const std::uint64_t left =
        memory.fill_elements(lowest(*loop_, to, count), pattern_, bytes, log2_element_);
    return left == 0 ? count : 0;
  }

  Hart* hart_;
  const Loop* loop_;
  std::uint64_t source_;
  std::uint64_t destination_;
  std::uint64_t pattern_ = 0;
  unsigned log2_element_ = 0;
};

std::uint64_t extended(std::uint64_t value, const LoopWrite& write) {
  const unsigned shift = 64 - (8u << write.log2_bytes);
  const std::uint64_t high = value << shift;
  return write.is_signed ? static_cast<std::uint64_t>(static_cast<std::int64_t>(high) >> shift)
                         : high >> shift;
}

// What the last iteration loaded is what it stored, and nothing was stored after it.
void write_registers(Hart& hart, const Loop& loop, std::uint64_t iterations) {
  const Registers before = hart.state().x;
  const std::uint64_t last = advanced(loop, loop.destination.of(before), iterations - 1);
  for (const LoopWrite& write : loop.writes) {
    std::uint64_t& x = hart.state().x[write.rd];
    if (write.kind == LoopWrite::Kind::kSum) {
      x = write.sum.of(before) + (iterations - 1) * write.step;
    } else {
      x = extended(hart.memory().peek(last + write.offset, write.log2_bytes), write);
    }
  }
}

// Twice as long with each failure in a row.
void rest(Hart& hart, const Loop& loop) {
  loop.longest_rest = std::min(2 * loop.longest_rest + 1, kLongestRest);
  loop.rest = loop.longest_rest;
  hart.count_refused_loop();
}

}  // namespace

std::uint64_t LoopBranch::iterations(const Registers& x) const {
  const std::uint64_t from = moving.of(x) + bias, to = fixed.of(x) + bias;
  const bool rises = step > 0;
  const std::uint64_t gap = rises ? to - from : from - to;
  const std::uint64_t size = step_size();
  const bool is_before = rises ? from < to : from > to;
  switch (test) {
    case LoopTest::kDiffers: return gap == 0 ? 0 : (gap - 1) / size + 1;
    case LoopTest::kBefore: return is_before ? (gap - 1) / size + 1 : 0;
    case LoopTest::kNotBeyond: return is_before || gap == 0 ? gap / size + 1 : 0;
  }
  return 0;
}

void run_loop(Hart& hart, const Loop& loop) {
  loop.rest = 0;
  HartState& state = hart.state();
  const std::uint64_t budget = hart.limit() - state.clock.retired();
  const std::uint64_t iterations =
      std::min({loop.branch.iterations(state.x), kMostBytes / loop.bytes,
                (budget - 1) / loop.instructions + 1});
  if (iterations < kLeastIterations || budget == 0) return;
  const std::uint64_t done = Runner(hart, loop).run(iterations);
  if (done == 0) return rest(hart, loop);
  loop.longest_rest = 0;
  write_registers(hart, loop, done);
  state.clock.retire(done * loop.instructions);
  hart.count_loop(done);
}

}  // namespace vmrun
