// One iteration by symbols: what each register holds is a sum of registers at its beginning, or
// what a load gave. What else an instruction could do is no loop of ours.

#include <algorithm>
#include <bit>
#include <optional>

#include "tools/vmrun/decode.h"
#include "tools/vmrun/loop.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kSignBias = std::uint64_t{1} << 63;

std::uint64_t extended(std::int32_t imm) { return static_cast<std::uint64_t>(std::int64_t{imm}); }

// What a register or a store's operand is.
struct Value {
  LoopWrite::Kind kind = LoopWrite::Kind::kSum;
  LoopValue sum = {};
  std::size_t load = 0;  // kLoaded: which one

  bool is_sum() const { return kind == LoopWrite::Kind::kSum; }
};

struct Access {
  LoopValue address;
  std::uint8_t log2_bytes = 0;
  bool is_signed = false;
  Value value = {};  // of a store

  std::uint64_t bytes() const { return std::uint64_t{1} << log2_bytes; }
};

std::optional<LoopValue> sum_of(const LoopValue& a, const LoopValue& b) {
  std::uint8_t registers[2] = {};
  unsigned count = 0;
  for (const std::uint8_t name : {a.first, a.second, b.first, b.second}) {
    if (name == 0) continue;
    if (count == 2) return std::nullopt;
    registers[count++] = name;
  }
  return LoopValue{std::max(registers[0], registers[1]), std::min(registers[0], registers[1]),
                   a.constant + b.constant};
}

class Iteration {
 public:
  Iteration() {
    for (std::uint8_t i = 1; i < x_.size(); ++i) x_[i].sum.first = i;
  }
  // False: no loop of ours.
  bool take(const DecodedOp& op);
  std::shared_ptr<const Loop> finish(const DecodedOp& branch, std::uint32_t instructions);

 private:
  bool set(unsigned rd, const Value& value);
  bool add(const DecodedOp& op, const Value& a, const Value& b);
  bool load(const DecodedOp& op, std::uint8_t log2_bytes, bool is_signed);
  bool store(const DecodedOp& op, std::uint8_t log2_bytes);
  std::optional<LoopValue> address_of(const DecodedOp& op) const;

  std::optional<std::uint64_t> step_of(unsigned index) const;
  std::optional<std::uint64_t> step_of(const LoopValue& value) const;
  bool find_branch(const DecodedOp& op, LoopBranch& out) const;
  bool find_destination(Loop& loop) const;
  bool find_source(Loop& loop) const;
  bool find_pattern(Loop& loop) const;
  bool find_order(Loop& loop) const;
  bool find_writes(Loop& loop) const;
  const Access* store_of(std::size_t load) const;

  std::array<Value, 32> x_;
  std::vector<Access> loads_;
  std::vector<Access> stores_;
};

bool Iteration::set(unsigned rd, const Value& value) {
  if (rd != 0) x_[rd] = value;
  return true;
}

bool Iteration::add(const DecodedOp& op, const Value& a, const Value& b) {
  if (!a.is_sum() || !b.is_sum()) return false;
  const auto sum = sum_of(a.sum, b.sum);
  return sum && set(op.rd, {.sum = *sum});
}

std::optional<LoopValue> Iteration::address_of(const DecodedOp& op) const {
  const Value& base = x_[op.rs1];
  if (!base.is_sum()) return std::nullopt;
  return LoopValue{base.sum.first, base.sum.second, base.sum.constant + extended(op.imm)};
}

bool Iteration::load(const DecodedOp& op, std::uint8_t log2_bytes, bool is_signed) {
  const auto address = address_of(op);
  if (!address || op.rd == 0) return false;
  loads_.push_back({.address = *address, .log2_bytes = log2_bytes, .is_signed = is_signed});
  return set(op.rd, {.kind = LoopWrite::Kind::kLoaded, .load = loads_.size() - 1});
}

bool Iteration::store(const DecodedOp& op, std::uint8_t log2_bytes) {
  const auto address = address_of(op);
  if (!address) return false;
  stores_.push_back({.address = *address, .log2_bytes = log2_bytes, .value = x_[op.rs2]});
  return true;
}

bool Iteration::take(const DecodedOp& op) {
  switch (op.op) {
    case Op::kLui: return set(op.rd, {.sum = {.constant = extended(op.imm)}});
    case Op::kAddi: return add(op, x_[op.rs1], {.sum = {.constant = extended(op.imm)}});
    case Op::kAdd: return add(op, x_[op.rs1], x_[op.rs2]);
    case Op::kLb: return load(op, 0, true);
    case Op::kLh: return load(op, 1, true);
    case Op::kLw: return load(op, 2, true);
    case Op::kLd: return load(op, 3, false);
    case Op::kLbu: return load(op, 0, false);
    case Op::kLhu: return load(op, 1, false);
    case Op::kLwu: return load(op, 2, false);
    case Op::kSb: return store(op, 0);
    case Op::kSh: return store(op, 1);
    case Op::kSw: return store(op, 2);
    case Op::kSd: return store(op, 3);
    default: return false;
  }
}

// By how much a register grows with each iteration; nothing where that is not the same each
// time.
std::optional<std::uint64_t> Iteration::step_of(unsigned index) const {
  if (index == 0) return 0;
  const Value& value = x_[index];
  if (!value.is_sum() || value.sum.first != index || value.sum.second != 0) return std::nullopt;
  return value.sum.constant;
}

std::optional<std::uint64_t> Iteration::step_of(const LoopValue& value) const {
  const auto first = step_of(value.first);
  const auto second = step_of(value.second);
  if (!first || !second) return std::nullopt;
  return *first + *second;
}

bool Iteration::find_branch(const DecodedOp& op, LoopBranch& out) const {
  const Value &left = x_[op.rs1], &right = x_[op.rs2];
  if (!left.is_sum() || !right.is_sum()) return false;
  const auto left_step = step_of(left.sum), right_step = step_of(right.sum);
  if (!left_step || !right_step || (*left_step == 0) == (*right_step == 0)) return false;
  const bool left_moves = *left_step != 0;
  out.moving = left_moves ? left.sum : right.sum;
  out.fixed = left_moves ? right.sum : left.sum;
  out.step = static_cast<std::int64_t>(left_moves ? *left_step : *right_step);
  const bool rises = out.step > 0;
  switch (op.op) {
    case Op::kBne: out.test = LoopTest::kDiffers; return true;
    case Op::kBlt: out.bias = kSignBias; [[fallthrough]];
    case Op::kBltu: out.test = LoopTest::kBefore; return rises == left_moves;
    case Op::kBge: out.bias = kSignBias; [[fallthrough]];
    case Op::kBgeu: out.test = LoopTest::kNotBeyond; return rises != left_moves;
    default: return false;
  }
}

// All stores together are one range of bytes, each of them once.
bool Iteration::find_destination(Loop& loop) const {
  if (stores_.empty()) return false;
  std::vector<Access> sorted = stores_;
  const LoopValue base = stores_.front().address;
  const auto distance = [&](const Access& access) {
    return static_cast<std::int64_t>(access.address.constant - base.constant);
  };
  std::sort(sorted.begin(), sorted.end(),
            [&](const Access& a, const Access& b) { return distance(a) < distance(b); });
  std::uint64_t next = sorted.front().address.constant;
  for (const Access& access : sorted) {
    const bool follows = access.address.first == base.first &&
                         access.address.second == base.second && access.address.constant == next;
    if (!follows) return false;
    next += access.bytes();
  }
  loop.destination = sorted.front().address;
  loop.bytes = next - loop.destination.constant;
  loop.elements = static_cast<std::uint32_t>(stores_.size());
  return true;
}

// Each load is stored once, all of them equally far away.
bool Iteration::find_source(Loop& loop) const {
  if (loads_.size() != stores_.size()) return false;
  const LoopValue base = loads_.front().address;
  std::vector<bool> is_stored(loads_.size());
  std::optional<std::uint64_t> distance;
  for (const Access& store : stores_) {
    if (store.value.is_sum() || is_stored[store.value.load]) return false;
    const Access& load = loads_[store.value.load];
    is_stored[store.value.load] = true;
    const std::uint64_t here = load.address.constant - store.address.constant;
    if (load.log2_bytes != store.log2_bytes || here != distance.value_or(here) ||
        load.address.first != base.first || load.address.second != base.second) {
      return false;
    }
    distance = here;
  }
  loop.kind = LoopKind::kCopy;
  loop.source = {base.first, base.second, loop.destination.constant + *distance};
  loop.log2_element = loop.elements == 1 ? stores_.front().log2_bytes : std::uint8_t{0};
  return step_of(loop.source) == step_of(loop.destination);
}

bool Iteration::find_pattern(Loop& loop) const {
  const Access& first = stores_.front();
  for (const Access& store : stores_) {
    const bool same = store.value.is_sum() && store.value.sum == first.value.sum &&
                      store.log2_bytes == first.log2_bytes;
    if (!same) return false;
  }
  loop.kind = LoopKind::kFill;
  loop.pattern = first.value.sum;
  loop.log2_element = first.log2_bytes;
  return step_of(loop.pattern) == std::uint64_t{0};
}

bool Iteration::find_order(Loop& loop) const {
  const auto step = step_of(loop.destination);
  if (step == loop.bytes) return true;
  loop.order = ByteOrder::kDescending;
  return step == std::uint64_t{0} - loop.bytes;
}

const Access* Iteration::store_of(std::size_t load) const {
  for (const Access& store : stores_) {
    if (!store.value.is_sum() && store.value.load == load) return &store;
  }
  return nullptr;
}

bool Iteration::find_writes(Loop& loop) const {
  for (std::uint8_t rd = 1; rd < x_.size(); ++rd) {
    const Value& value = x_[rd];
    if (value.is_sum() && value.sum == LoopValue{.first = rd}) continue;
    LoopWrite write{.kind = value.kind, .rd = rd, .sum = value.sum};
    if (value.is_sum()) {
      const auto step = step_of(value.sum);
      if (!step) return false;
      write.step = *step;
    } else {
      const Access* const store = store_of(value.load);
      if (store == nullptr) return false;
      write.offset = store->address.constant - loop.destination.constant;
      write.log2_bytes = store->log2_bytes;
      write.is_signed = loads_[value.load].is_signed;
    }
    loop.writes.push_back(write);
  }
  return true;
}

std::shared_ptr<const Loop> Iteration::finish(const DecodedOp& branch, std::uint32_t instructions) {
  auto loop = std::make_shared<Loop>();
  loop->instructions = instructions;
  const bool found = find_branch(branch, loop->branch) && find_destination(*loop) &&
                     (loads_.empty() ? find_pattern(*loop) : find_source(*loop)) &&
                     find_order(*loop) && find_writes(*loop);
  return found ? loop : nullptr;
}

DecodedOp decoded(const BlockOp& op) {
  return op.bytes == 2 ? decode_compressed(static_cast<std::uint16_t>(op.raw)) : decode(op.raw);
}

}  // namespace

std::shared_ptr<const Loop> recognise_loop(std::span<const BlockOp> ops) {
  Iteration iteration;
  for (const BlockOp& op : ops.first(ops.size() - 1)) {
    if (!iteration.take(decoded(op))) return nullptr;
  }
  return iteration.finish(decoded(ops.back()), static_cast<std::uint32_t>(ops.size()));
}

}  // namespace vmrun
