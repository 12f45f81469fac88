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
  JitBlocks(vm_engine::CodeBuffer& buffer, const std::byte* code) : buffer_(&buffer), code_(code) {}
  JitBlocks(const JitBlocks&) = delete;
  JitBlocks& operator=(const JitBlocks&) = delete;

  JitBlock* find(std::uint64_t pc, JitRegime regime, std::uint64_t host) const;
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
  // Has indirect jumps find it.
  void enter_jump(JitBlock& block);
  void forget_jumps();
  // What they look into; stays where it is.
  const JitJump* jumps(JitRegime regime) { return table(regime).data(); }

 private:
  using Jumps = std::array<JitJump, kJitJumps>;
  struct Key {
    std::uint64_t pc = 0;
    JitRegime regime;
    std::uint64_t host = 0;
    friend constexpr bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    // Places and addresses run in parallel: one of them tells blocks apart.
    std::size_t operator()(const Key& key) const {
      return std::hash<std::uint64_t>{}(key.pc ^ std::uint64_t{key.regime.fetch_mode} << 60 ^
                                        std::uint64_t{key.regime.data_mode} << 56);
    }
  };
  using Pages = std::unordered_map<std::uint64_t, std::vector<JitBlock*>>;

  static Key key_of(const JitBlock& block) { return {block.pc, block.regime, block.host}; }
  Jumps& table(JitRegime regime);
  JitJump& jump_of(std::uint64_t pc, JitRegime regime);
  void unlink(JitLink& link);
  void release(vme_tc* tc, JitBlock& block);

  vm_engine::CodeBuffer* buffer_;
  const std::byte* code_;
  std::unordered_map<Key, std::unique_ptr<JitBlock>, Hash> blocks_;
  Pages pages_;
  std::unordered_map<std::uint64_t, std::uint64_t> host_pages_;  // how many begin there
  std::vector<std::pair<JitRegime, std::unique_ptr<Jumps>>> jumps_;
};

}  // namespace vmrun

#endif  // VMRUN_JIT_BLOCKS_H_
