#include "tools/vmrun/block_cache.h"

#include <array>
#include <cstring>
#include <span>

#include "tools/vmrun/decode.h"
#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart_state.h"
#include "tools/vmrun/loop.h"

namespace vmrun {
namespace {

// The bytes from one address to the end of its page, as far as a block can use them,
// and whatever lies beyond asked for parcel by parcel.
class Window {
 public:
  Window(vm_engine::CodeFetcher& fetcher, std::uint64_t begin) : fetcher_(&fetcher), begin_(begin) {
    bytes_ = fetcher.fetch_in_page(begin, buffer_).done;
  }

  vme_rc parcel(std::uint64_t pc, std::uint16_t& value) {
    const std::uint64_t offset = pc - begin_;
    if (offset + sizeof value > bytes_) return fetcher_->parcel(pc, value);
    std::memcpy(&value, &buffer_[offset], sizeof value);
    return VME_OK;
  }

 private:
  vm_engine::CodeFetcher* fetcher_;
  std::uint64_t begin_;
  std::uint64_t bytes_ = 0;
  std::array<std::byte, 4 * BlockCache::kMaxBlockOps> buffer_;
};

struct Fetched {
  vme_rc rc = VME_OK;
  std::int32_t fault_offset = 0;  // of the parcel that could not be fetched
  DecodedOp decoded{};
};

Fetched fetch_op(Window& window, std::uint64_t pc) {
  std::uint16_t low = 0;
  if (const vme_rc rc = window.parcel(pc, low); rc != VME_OK) return {.rc = rc};
  if (instruction_bytes(low) == 2) return {.decoded = decode_compressed(low)};
  std::uint16_t high = 0;
  if (const vme_rc rc = window.parcel(pc + 2, high); rc != VME_OK) {
    return {.rc = rc, .fault_offset = 2};
  }
  return {.decoded = decode(low | (std::uint32_t{high} << 16))};
}

void append(Block& block, Handler run, std::uint64_t pc, const DecodedOp& op) {
  block.ops.push_back({.run = run,
                       .pc = pc,
                       .imm = op.imm,
                       .raw = op.raw,
                       .rd = op.rd == 0 && !writes_float(op.op) ? kSink : op.rd,
                       .rs1 = op.rs1,
                       .rs2 = op.rs2,
                       .rs3 = op.rs3,
                       .rm = op.rm,
                       .bytes = op.bytes,
                       .index = static_cast<std::uint16_t>(block.ops.size())});
}

// The jump that ends a block is no instruction: it has the index of the one before it.
void close(Block& block, std::uint64_t pc) {
  append(block, leave_block, pc, {});
  block.ops.back().index = static_cast<std::uint16_t>(block.ops.size() - 2);
}

bool is_loop_branch(const BlockOp& op, std::uint64_t target) {
  const Op kind =
      op.bytes == 2 ? decode_compressed(static_cast<std::uint16_t>(op.raw)).op : decode(op.raw).op;
  return kind >= Op::kBeq && kind <= Op::kBgeu &&
         op.pc + static_cast<std::uint64_t>(std::int64_t{op.imm}) == target;
}

Handler fault_handler(vme_rc rc) { return rc == VME_XLAT ? fetch_page_fault : fetch_access_fault; }

}  // namespace

std::uint64_t BlockCache::find_host(std::uint64_t pc) {
  void* host = nullptr;
  static_cast<void>(vme_probe(cpu_, pc, 1, VME_ACCESS_EXECUTE, mode_, &host));
  return reinterpret_cast<std::uintptr_t>(host);
}

bool BlockCache::must_close(const Block& block, std::uint64_t at, std::size_t most_ops) const {
  if (block.ops.empty()) return false;
  if (block.ops.size() == most_ops || at / kPageBytes != block.pc / kPageBytes) return true;
  return breakpoints_ != nullptr && breakpoints_->contains(at);
}

// A breakpoint at its beginning is one in each iteration.
bool BlockCache::may_be_loop(const Block& block) const {
  if (loop_mode_ == LoopMode::kPlain || !block.lasts() || block.ops.size() == 1) return false;
  if (breakpoints_ != nullptr && breakpoints_->contains(block.pc)) return false;
  return is_loop_branch(block.ops.back(), block.pc);
}

void BlockCache::fill(Block& block, std::uint64_t pc, std::uint64_t host, std::size_t most_ops) {
  block.pc = pc;
  block.host = host;
  block.epoch = epoch_;
  block.ops.clear();
  block.loop.reset();
  decode_into(block, most_ops);
  if (may_be_loop(block)) block.loop = recognise_loop(block.ops);
}

// An instruction that reaches into the next page is a block of its own, which is not
// found again: that page may be another one by then.
void BlockCache::decode_into(Block& block, std::size_t most_ops) {
  const std::uint64_t pc = block.pc;
  Window window(fetcher_, pc);
  for (std::uint64_t at = pc;;) {
    if (must_close(block, at, most_ops)) return close(block, at);
    const Fetched next = fetch_op(window, at);
    const bool first = block.ops.empty();
    const bool straddles =
        at % kPageBytes == kPageBytes - 2 && (next.rc != VME_OK || next.decoded.bytes == 4);
    if ((next.rc != VME_OK || straddles || stands_alone(next.decoded.op)) && !first) {
      return close(block, at);
    }
    if (next.rc != VME_OK || straddles) block.epoch = 0;
    if (next.rc != VME_OK) {
      return append(block, fault_handler(next.rc), at, {.imm = next.fault_offset});
    }
    append(block, handler_of(next.decoded.op), at, next.decoded);
    if (ends_block(next.decoded.op)) return;
    at += next.decoded.bytes;
    if (straddles) return close(block, at);
  }
}

}  // namespace vmrun
