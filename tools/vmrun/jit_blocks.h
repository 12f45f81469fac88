// The translated blocks of one hart: found by guest address and by the memory that they
// were made from, tied together by direct jumps.
#ifndef VMRUN_JIT_BLOCKS_H_
#define VMRUN_JIT_BLOCKS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tools/vmrun/jit_block.h"
#include "tools/vmrun/jit_translator.h"
#include "vm_engine/emit_config.h"

namespace vmrun {

class JitBlocks {
 public:
  // Both outlive it. `code` is where `buffer` is run.
  JitBlocks(vm_engine::CodeBuffer& buffer, const std::byte* code);
  JitBlocks(const JitBlocks&) = delete;
  JitBlocks& operator=(const JitBlocks&) = delete;

  JitBlock* find(std::uint64_t pc, JitRegime regime, std::uint64_t host) {
    JitBlock* const recent = slot_of(host);
    const bool is_it =
        recent != nullptr && recent->host == host && recent->pc == pc && recent->regime == regime;
    return is_it ? recent : find_anywhere({pc, regime, host});
  }
  // Needs:  none is there for its pc, regime and place.
  JitBlock& add(std::unique_ptr<JitBlock> block);
  // Nothing jumps there any more. Its watch and its sites are released.
  void remove(vme_tc* tc, JitBlock& block);
  void remove_all(vme_tc* tc);
  std::vector<JitBlock*> made_from(const vme_tc_range& written) const;
  // Whether one of them begins on the page of this place in memory.
  bool has_some_on_page_of(std::uint64_t host) const {
    return host_pages_.contains(host >> VME_PAGE_BITS);
  }
  JitBlock* with_sites(const vme_code* sites) const;

  // Makes a jump direct.
  void link(JitLink& link, JitBlock& to);
  // Has indirect jumps find it: until the next fence, or as long as it is there.
  enum class JumpLife : std::uint8_t { kFence, kBlock };
  void enter_jump(JitBlock& block, JumpLife life);
  // A fence, of all guest addresses or of these.
  void forget_jumps() { forget_jumps(0, ~std::uint64_t{0}); }
  void forget_jumps(std::uint64_t begin, std::uint64_t bytes);
  // What they look into; stays where it is.
  const JitJump* jumps(JitRegime regime) { return table(regime).data(); }
  // Where an indirect jump goes; null where it finds none.
  const std::byte* target_of(std::uint64_t pc, JitRegime regime) {
    const JitJump& jump = jump_of(pc, regime);
    return jump.pc == pc ? jump.code : nullptr;
  }

 private:
  using Jumps = std::array<JitJump, kJitJumps>;
  struct Key {
    std::uint64_t pc = 0;
    JitRegime regime;
    std::uint64_t host = 0;
    friend constexpr bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    // Places and addresses run in parallel, but many processes have one address each.
    std::size_t operator()(const Key& key) const {
      return std::hash<std::uint64_t>{}(key.pc ^ key.host << 16 ^
                                        std::uint64_t{key.regime.fetch_mode} << 60 ^
                                        std::uint64_t{key.regime.data_mode} << 56);
    }
  };
  using Pages = std::unordered_map<std::uint64_t, std::vector<JitBlock*>>;

  static constexpr std::size_t kRecent = 8192;

  JitBlock* find_anywhere(const Key& key);
  JitBlock*& slot_of(std::uint64_t host) { return recent_[(host >> 1) % kRecent]; }
  static Key key_of(const JitBlock& block) { return {block.pc, block.regime, block.host}; }
  Jumps& table(JitRegime regime);
  JitJump& jump_of(std::uint64_t pc, JitRegime regime);
  void unlink(JitLink& link);
  void release(vme_tc* tc, JitBlock& block);

  vm_engine::CodeBuffer* buffer_;
  const std::byte* code_;
  std::unordered_map<Key, std::unique_ptr<JitBlock>, Hash> blocks_;
  std::vector<JitBlock*> recent_;  // by where they are in memory
  Pages pages_;
  std::unordered_map<std::uint64_t, std::uint64_t> host_pages_;  // how many begin there
  std::vector<std::pair<JitRegime, std::unique_ptr<Jumps>>> jumps_;
  std::vector<JitJump*> until_fence_;  // some more than once, or empty by now
};

}  // namespace vmrun

#endif  // VMRUN_JIT_BLOCKS_H_
