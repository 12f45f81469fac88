#include "tools/vmrun/jit_blocks.h"

#include <algorithm>

#include "tools/vmrun/jit_code.h"

namespace vmrun {
namespace {

// A write of more pages than this is looked for block by block.
constexpr std::uint64_t kManyPages = 64;
constexpr unsigned kRegionShift = 48;

std::uint64_t first_page(const vme_tc_range& range) { return range.ram_off >> VME_PAGE_BITS; }
std::uint64_t last_page(const vme_tc_range& range) {
  return (range.ram_off + range.len - 1) >> VME_PAGE_BITS;
}
std::uint64_t page_key(const vme_tc_range& range, std::uint64_t page) {
  return range.ram_id << kRegionShift ^ page;
}

bool overlaps(const vme_tc_range& a, const vme_tc_range& b) {
  if (a.ram_id != b.ram_id) return false;
  return a.ram_off < b.ram_off + b.len && b.ram_off < a.ram_off + a.len;
}

bool was_made_from(const JitBlock& block, const vme_tc_range& written) {
  for (std::uint64_t i = 0; i < block.watched.n; ++i) {
    if (overlaps(block.watched.ranges[i], written)) return true;
  }
  return false;
}

template <typename Function>
void for_each_page(const JitBlock& block, Function function) {
  for (std::uint64_t i = 0; i < block.watched.n; ++i) {
    const vme_tc_range& range = block.watched.ranges[i];
    for (std::uint64_t page = first_page(range); page <= last_page(range); ++page) {
      function(page_key(range, page));
    }
  }
}

}  // namespace

JitBlocks::JitBlocks(vm_engine::CodeBuffer& buffer, const std::byte* code)
    : buffer_(&buffer), code_(code), recent_(kRecent) {
  blocks_.reserve(kRecent);
}

JitBlock* JitBlocks::find_anywhere(const Key& key) {
  const auto found = blocks_.find(key);
  if (found == blocks_.end()) return nullptr;
  return slot_of(key.host) = found->second.get();
}

JitBlock& JitBlocks::add(std::unique_ptr<JitBlock> block) {
  JitBlock& added = *block;
  added.jump = &jump_of(added.pc, added.regime);
  slot_of(added.host) = &added;
  blocks_.emplace(key_of(added), std::move(block));
  ++host_pages_[added.host >> VME_PAGE_BITS];
  for_each_page(added, [&](std::uint64_t page) {
    added.pages.push_back(page);
    pages_[page].push_back(&added);
  });
  return added;
}

void JitBlocks::remove(vme_tc* tc, JitBlock& block) {
  if (block.jump->code == code_ + block.entry) *block.jump = {};
  if (slot_of(block.host) == &block) slot_of(block.host) = nullptr;
  while (!block.incoming.empty()) unlink(*block.incoming.back());
  for (JitLink& link : block.links) unlink(link);
  for (const std::uint64_t page : block.pages) std::erase(pages_[page], &block);
  release(tc, block);
  const auto page = host_pages_.find(block.host >> VME_PAGE_BITS);
  if (--page->second == 0) host_pages_.erase(page);
  blocks_.erase(key_of(block));
}

void JitBlocks::remove_all(vme_tc* tc) {
  for (auto& [key, block] : blocks_) release(tc, *block);
  blocks_.clear();
  pages_.clear();
  host_pages_.clear();
  until_fence_.clear();
  std::fill(recent_.begin(), recent_.end(), nullptr);
  for (auto& [regime, jumps] : jumps_) jumps->fill({});
}

void JitBlocks::forget_jumps(std::uint64_t begin, std::uint64_t bytes) {
  std::erase_if(until_fence_, [&](JitJump* jump) {
    const bool forgotten = jump->code == nullptr || jump->pc - begin < bytes;
    if (forgotten) *jump = {};
    return forgotten;
  });
}

void JitBlocks::release(vme_tc* tc, JitBlock& block) {
  vme_tc_release(tc, &block.watched);
  static_cast<void>(vme_code_unregister(block.sites));
}

std::vector<JitBlock*> JitBlocks::made_from(const vme_tc_range& written) const {
  std::vector<JitBlock*> out;
  const auto consider = [&](JitBlock* block) {
    const bool known = std::find(out.begin(), out.end(), block) != out.end();
    if (!known && was_made_from(*block, written)) out.push_back(block);
  };
  if (written.len == 0) return out;
  if (last_page(written) - first_page(written) > kManyPages) {
    for (const auto& [key, block] : blocks_) consider(block.get());
    return out;
  }
  for (std::uint64_t page = first_page(written); page <= last_page(written); ++page) {
    const auto found = pages_.find(page_key(written, page));
    if (found != pages_.end()) std::for_each(found->second.begin(), found->second.end(), consider);
  }
  return out;
}

JitBlock* JitBlocks::with_sites(const vme_code* sites) const {
  for (const auto& [key, block] : blocks_) {
    if (block->sites == sites) return block.get();
  }
  return nullptr;
}

void JitBlocks::link(JitLink& link, JitBlock& to) {
  unlink(link);
  JitCode::set_target(*buffer_, link.field, to.entry);
  link.to = &to;
  to.incoming.push_back(&link);
}

void JitBlocks::unlink(JitLink& link) {
  if (link.to == nullptr) return;
  JitCode::set_target(*buffer_, link.field, link.cold);
  std::erase(link.to->incoming, &link);
  link.to = nullptr;
}

JitBlocks::Jumps& JitBlocks::table(JitRegime regime) {
  for (auto& [known, jumps] : jumps_) {
    if (known == regime) return *jumps;
  }
  return *jumps_.emplace_back(regime, std::make_unique<Jumps>()).second;
}

JitJump& JitBlocks::jump_of(std::uint64_t pc, JitRegime regime) {
  return table(regime)[(pc >> 1) % kJitJumps];
}

void JitBlocks::enter_jump(JitBlock& block, JumpLife life) {
  JitJump& jump = *block.jump;
  if (life == JumpLife::kFence && jump.code == nullptr) {
    if (until_fence_.size() > kJitJumps * jumps_.size()) forget_jumps();
    until_fence_.push_back(&jump);
  }
  jump = {.pc = block.pc, .code = code_ + block.entry};
}

}  // namespace vmrun
