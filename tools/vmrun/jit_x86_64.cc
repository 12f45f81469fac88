// The translator of x86-64 hosts: finds or makes the block at the hart's pc, runs it and
// whatever it is tied to, and sees to what ended that.

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"
#include "tools/vmrun/jit.h"
#include "tools/vmrun/jit_blocks.h"
#include "tools/vmrun/jit_code.h"
#include "tools/vmrun/jit_fastmem.h"
#include "tools/vmrun/jit_heat.h"
#include "tools/vmrun/jit_refused.h"
#include "tools/vmrun/jit_runtime.h"
#include "tools/vmrun/jit_translator.h"
#include "tools/vmrun/jit_watch.h"
#include "tools/vmrun/trap.h"
#include "vm_engine/code_memory.h"
#include "vm_engine/emit.h"

namespace vmrun {
namespace {

// rax, rcx and rdx; r14 too, where it is not the arena's.
constexpr vm_engine::RegSet kScratch =
    reg_bit(vm_engine::Reg::kRax) | reg_bit(vm_engine::Reg::kRcx) | reg_bit(vm_engine::Reg::kRdx);

std::uint64_t code_bytes(const Block& block) {
  const BlockOp& last = block.ops.back();
  const std::uint64_t end = last.run == leave_block ? last.pc : last.pc + last.bytes;
  return end - block.ops.front().pc;
}

bool was_decoded_from(const Block& block, const std::byte* bytes) {
  for (const BlockOp& op : block.ops) {
    if (op.run == leave_block) return true;
    if (std::memcmp(bytes + (op.pc - block.ops.front().pc), &op.raw, op.bytes) != 0) return false;
  }
  return true;
}

// An instruction that two pages have, as a block of its own.
bool straddles(const Block& block) {
  const BlockOp& op = block.ops.front();
  return op.pc % kJitPageBytes == kJitPageBytes - 2 && op.bytes == 4;
}

// A locked entry binds M-mode too.
bool is_locked(const HartState& state) {
  constexpr std::uint8_t kLocked = 0x80;
  const auto& entries = state.csrs.pmpcfg;
  return std::any_of(entries.begin(), entries.end(),
                     [](std::uint8_t entry) { return (entry & kLocked) != 0; });
}

class X86Jit : public Jit {
 public:
  X86Jit(Hart& hart, vme_engine& engine, vm_engine::CodeMemory memory, JitOptions options,
         std::vector<vme_cpu*> neighbours)
      : hart_(&hart),
        engine_(&engine),
        options_(options),
        neighbours_(std::move(neighbours)),
        memory_(std::move(memory)),
        buffer_{.bytes = memory_.writable()},
        blocks_(buffer_, memory_.executable().data()),
        watch_(cpu()),
        context_{.hart = &hart, .jit = this, .next = next_code} {}
  ~X86Jit() override {
    fastmem_.reset();
    blocks_.remove_all(watch_.tc());
  }

  absl::Status start();
  void use_fastmem(std::unique_ptr<JitFastmem> fastmem) { fastmem_ = std::move(fastmem); }
  Flow run(std::uint64_t end) override;
  void forget() override;
  void forget_translations() override { forget_translations_of(0, ~std::uint64_t{0}); }
  void forget_translations_of(std::uint64_t begin, std::uint64_t bytes) override;
  const JitStatistics& statistics() const override { return statistics_; }
  std::string fallback_reason() const override {
    return fastmem_ == nullptr ? std::string() : fastmem_->reason();
  }

 private:
  vme_cpu& cpu() { return hart_->memory().cpu(); }
  std::uint64_t address_of(std::size_t offset) const {
    return reinterpret_cast<std::uint64_t>(memory_.executable().data() + offset);
  }
  JitRegime regime() const {
    return {.fetch_mode = fetch_mode(hart_->state()), .data_mode = data_mode(hart_->state())};
  }
  bool is_physical() const;
  bool has_fastmem() const { return fastmem_ != nullptr && fastmem_->is_on(); }
  void address_memory(vm_engine::EmitConfig& config, JitRegime regime) const;
  bool register_sites(JitBlock& block);
  static void note_hot(void* opaque, const vme_hot_site* site);
  bool take_up_requests();
  void drop_blocks();
  JitBlock* find_block();
  JitBlock* known_block(std::uint64_t pc, std::uint64_t host);
  std::uint64_t host_behind(std::uint64_t pc);
  std::unique_ptr<JitBlock> new_block(std::uint64_t host) const;
  JitBlock* make_block(std::uint64_t host);
  vme_rc watch(JitBlock& block, const Block& decoded);
  JitBlock* refuse(std::uint64_t host);
  JitTarget target_for(JitRegime regime);
  static bool may_link(const JitLink& link, const JitBlock& to);
  void follow_link(JitBlock& block);
  Flow finish(const JitExit& exit);
  Flow finish_fault(const JitBlock& block);
  Flow finish_flow();
  static const std::byte* next_code(void* jit);

  Hart* hart_;
  vme_engine* engine_;
  JitOptions options_;
  std::vector<vme_cpu*> neighbours_;
  vm_engine::CodeMemory memory_;
  vm_engine::CodeBuffer buffer_;
  JitBlocks blocks_;
  JitHeat heat_;
  JitRefused refused_;
  JitWatch watch_;
  JitContext context_;
  JitLayout layout_;
  JitRuntime runtime_;
  std::size_t runtime_end_ = 0;
  JitEnter enter_ = nullptr;
  JitLink* followed_ = nullptr;  // the way that the last exit went
  bool forget_ = false;
  bool locked_ = false;  // physical memory protection binds M-mode too
  std::unordered_set<std::uint64_t> slow_;
  std::unique_ptr<JitFastmem> fastmem_;
  JitStatistics statistics_;
};

absl::Status X86Jit::start() {
  if (const vme_rc rc = watch_.follow(*engine_); rc != VME_OK) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("translated code cannot be watched: %s", vme_rc_name(rc)));
  }
  layout_ = layout_of(hart_->state());
  JitCode code(buffer_);
  runtime_ = emit_runtime(code, layout_);
  if (!code.ok()) return absl::InternalError("the translator's own code cannot be emitted");
  runtime_end_ = buffer_.used;
  const std::byte* const enter = memory_.executable().data() + runtime_.enter;
  enter_ = reinterpret_cast<JitEnter>(reinterpret_cast<std::uintptr_t>(enter));
  return memory_.publish(0, runtime_end_);
}

void X86Jit::forget() {
  forget_ = true;
  request_exit(cpu());
}

// Translated code may be running: what it is tied to otherwise than by these jumps is in
// the same page, or does not depend on translations. An instruction that begins in front of
// the addresses may end in them.
void X86Jit::forget_translations_of(std::uint64_t begin, std::uint64_t bytes) {
  followed_ = nullptr;
  const std::uint64_t reaching_in = std::min<std::uint64_t>(begin, 2);
  blocks_.forget_jumps(begin - reaching_in, bytes + reaching_in);
  if (locked_ != is_locked(hart_->state())) forget();
}

// Whether every address is what it says.
bool X86Jit::is_physical() const {
  return hart_->state().privilege == Privilege::kMachine && !locked_;
}

void X86Jit::drop_blocks() {
  forget_ = false;
  locked_ = is_locked(hart_->state());
  followed_ = nullptr;
  blocks_.remove_all(watch_.tc());
  buffer_.used = runtime_end_;
  ++statistics_.flushes;
}

// In this order: what is told after the request was cleared sets it again. Whether there was
// one.
bool X86Jit::take_up_requests() {
  if (has_fastmem()) vme_hot_take(engine_, note_hot, this);
  if (__atomic_load_n(&cpu().exit_request, __ATOMIC_ACQUIRE) == 0) return false;
  __atomic_fetch_and(&cpu().exit_request, ~(kExitNow | std::uint32_t{VME_EXIT_CODE}),
                     __ATOMIC_SEQ_CST);
  if (forget_) drop_blocks();
  for (const vme_tc_range& written : watch_.take()) {
    for (JitBlock* block : blocks_.made_from(written)) {
      followed_ = nullptr;
      heat_.cool(block->host);
      blocks_.remove(watch_.tc(), *block);
      ++statistics_.invalidated;
    }
  }
  return true;
}

// Where r14 holds the arena it is a fourth scratch register nowhere: blocks of one regime
// follow each other without it being loaded again.
void X86Jit::address_memory(vm_engine::EmitConfig& config, JitRegime regime) const {
  const bool direct = has_fastmem() && is_physical() && regime.data_mode == regime.fetch_mode;
  if (!direct) {
    config.address_mode = vm_engine::AddressMode::kSoftTlb;
    config.scratch = kScratch | reg_bit(vm_engine::Reg::kR14);
    return;
  }
  config.address_mode = vm_engine::AddressMode::kFastmem;
  config.scratch = kScratch;
  config.fastmem_base = vm_engine::Reg::kR14;
  config.arena_bits = fastmem_->arena_bits();
}

bool X86Jit::register_sites(JitBlock& block) {
  if (buffer_.fault_sites.empty()) return true;
  for (vme_site& site : buffer_.fault_sites) {
    site.pc_off -= static_cast<std::uint32_t>(block.begin);
    site.land_off -= static_cast<std::uint32_t>(block.begin);
  }
  auto* const code = reinterpret_cast<void*>(address_of(block.begin));
  return vme_code_register(engine_, code, block.end - block.begin, buffer_.fault_sites.data(),
                           buffer_.fault_sites.size(), &block.sites) == VME_OK;
}

// A site that faults again and again, as those that reach devices do: its block is made
// anew, with a helper's call in its place.
void X86Jit::note_hot(void* opaque, const vme_hot_site* site) {
  auto& jit = *static_cast<X86Jit*>(opaque);
  jit.slow_.insert(site->site.guest_pc);
  ++jit.statistics_.hot;
  JitBlock* const block = jit.blocks_.with_sites(site->code);
  if (block == nullptr) return;
  jit.followed_ = nullptr;
  jit.blocks_.remove(jit.watch_.tc(), *block);
}

JitTarget X86Jit::target_for(JitRegime regime) {
  JitTarget target;
  target.runtime = runtime_;
  target.layout = layout_;
  target.jumps = blocks_.jumps(regime);
  target.links_pages = is_physical();
  target.config = vm_engine::default_emit_config();
  target.slow = &slow_;
  address_memory(target.config, regime);
  target.config.flags = regime.data_mode << VME_MMU_SRC_SHIFT | regime.data_mode
                                                                    << VME_MMU_DST_SHIFT;
  target.config.rsp_mod_16 = 0;
  target.config.red_zone_bytes = 0;
  target.config.helpers.load = address_of(runtime_.load);
  target.config.helpers.store = address_of(runtime_.store);
  return target;
}

// Watched before it is compared: what is written from then on is told. VME_INTR: it was
// written meanwhile. A page that is watched already is open for stores nowhere.
vme_rc X86Jit::watch(JitBlock& block, const Block& decoded) {
  std::array<std::byte, 4 * BlockCache::kMaxBlockOps> bytes;
  if (block.host_behind != 0 || !blocks_.has_some_on_page_of(block.host)) {
    for (vme_cpu* neighbour : neighbours_) vme_cpu_park(neighbour);
  }
  const std::uint64_t left =
      vme_tc_fetch(watch_.tc(), &cpu(), block.pc, bytes.data(), code_bytes(decoded),
                   block.regime.fetch_mode, &block.watched);
  if (left == 0 && was_decoded_from(decoded, bytes.data())) return VME_OK;
  vme_tc_release(watch_.tc(), &block.watched);
  return left == 0 ? VME_INTR : static_cast<vme_rc>(cpu().fault.rc);
}

JitBlock* X86Jit::refuse(std::uint64_t host) {
  refused_.add({.pc = hart_->state().pc, .host = host, .epoch = hart_->code_epoch()});
  return nullptr;
}

std::unique_ptr<JitBlock> X86Jit::new_block(std::uint64_t host) const {
  auto made = std::make_unique<JitBlock>();
  made->pc = hart_->state().pc;
  made->regime = regime();
  made->host = host;
  return made;
}

JitBlock* X86Jit::make_block(std::uint64_t host) {
  const Block& decoded = hart_->decode_block();
  ++statistics_.decoded;
  if (!decoded.lasts() && !straddles(decoded)) return nullptr;
  if (buffer_.bytes.size() - buffer_.used < kJitBlockRoom) drop_blocks();
  auto made = new_block(host);
  if (straddles(decoded)) {
    made->host_behind = host_behind(made->pc);
    if (made->host_behind == 0) return nullptr;  // a fault, this time
  }
  if (const vme_rc rc = watch(*made, decoded); rc != VME_OK) {
    return rc == VME_ENOTSUP ? refuse(host) : nullptr;
  }
  made->ops = decoded.ops;
  made->loop = decoded.loop;
  JitBlock& block = blocks_.add(std::move(made));
  const bool translated = translate(block, target_for(block.regime), buffer_) &&
                          memory_.publish(block.begin, block.end - block.begin).ok() &&
                          register_sites(block);
  ++statistics_.translated;
  if (translated && vme_tc_end_translate(watch_.tc(), &block.watched) == 1) return &block;
  blocks_.remove(watch_.tc(), block);
  return nullptr;
}

// Where an instruction goes on that begins with the last two bytes of its page.
std::uint64_t X86Jit::host_behind(std::uint64_t pc) {
  void* host = nullptr;
  static_cast<void>(vme_probe(&cpu(), pc + 2, 2, VME_ACCESS_EXECUTE, regime().fetch_mode, &host));
  return reinterpret_cast<std::uintptr_t>(host);
}

// An instruction that another page ends by now is another one.
JitBlock* X86Jit::known_block(std::uint64_t pc, std::uint64_t host) {
  JitBlock* const block = host == 0 ? nullptr : blocks_.find(pc, regime(), host);
  if (block == nullptr || block->host_behind == 0) return block;
  if (block->host_behind == host_behind(pc)) return block;
  followed_ = nullptr;
  blocks_.remove(watch_.tc(), *block);
  return nullptr;
}

// Null where the code is interpreted, this time or each time.
JitBlock* X86Jit::find_block() {
  const std::uint64_t host = hart_->find_code();
  const std::uint64_t pc = hart_->state().pc;
  JitBlock* block = known_block(pc, host);
  if (block != nullptr) return block;
  const bool refused =
      host == 0 || refused_.has({.pc = pc, .host = host, .epoch = hart_->code_epoch()});
  if (!refused && !heat_.note_run(host, options_.interpreted_runs)) {
    ++statistics_.cold;
    return nullptr;
  }
  if (!refused) block = make_block(host);
  if (block == nullptr) ++statistics_.interpreted;
  return block;
}

// Direct jumps within a page outlive fences, and stay right as both ends are in the same
// memory. Without a fence they need not be: the entry of the page may have been changed, and
// its translation lost for lack of room.
bool X86Jit::may_link(const JitLink& link, const JitBlock& to) {
  const JitBlock& from = *link.owner;
  if (link.target != to.pc || from.regime != to.regime) return false;
  const bool same_page = from.pc >> VME_PAGE_BITS == to.pc >> VME_PAGE_BITS;
  return !same_page || from.host - from.pc == to.host - to.pc;
}

void X86Jit::follow_link(JitBlock& block) {
  JitLink* const link = std::exchange(followed_, nullptr);
  if (link == nullptr || !may_link(*link, block)) return;
  blocks_.link(*link, block);
  ++statistics_.links;
}

Flow X86Jit::run(std::uint64_t end) {
  // The pin that asked may have gone up since they were looked at.
  if (take_up_requests() && has_wakeup(hart_->state())) return Flow::kJump;
  JitBlock* const block = find_block();
  const bool may_run = !has_fastmem() || fastmem_->enter_thread();
  if (block == nullptr || !may_run) {
    followed_ = nullptr;
    return hart_->run_block();
  }
  follow_link(*block);
  blocks_.enter_jump(*block,
                     is_physical() ? JitBlocks::JumpLife::kBlock : JitBlocks::JumpLife::kFence);
  ++statistics_.dispatches;
  HartState& state = hart_->state();
  return finish(
      enter_(memory_.executable().data() + block->entry, state.x.data(), &cpu(), end, &context_));
}

Flow X86Jit::finish(const JitExit& exit) {
  switch (static_cast<JitReason>(static_cast<std::uint32_t>(exit.reason))) {
    case JitReason::kLink:
      followed_ = reinterpret_cast<JitLink*>(exit.value);
      hart_->state().pc = followed_->target;
      return Flow::kJump;
    case JitReason::kFault: return finish_fault(*reinterpret_cast<JitBlock*>(exit.value));
    case JitReason::kFlow: return finish_flow();
    default: return Flow::kJump;
  }
}

Flow X86Jit::finish_fault(const JitBlock& block) {
  const vme_fault& fault = cpu().fault;
  const BlockOp& op = block.ops[fault.site];
  hart_->state().clock.retire(op.index);
  const bool writes = fault.access == VME_ACCESS_WRITE;
  return hart_->raise_access(op, static_cast<vme_rc>(fault.rc),
                             writes ? AccessKind::kStore : AccessKind::kLoad);
}

// Null where something is to be done first. The code itself looks whether to stop.
const std::byte* X86Jit::next_code(void* jit) {
  auto& self = *static_cast<X86Jit*>(jit);
  HartState& state = self.hart_->state();
  state.clock.retire(std::exchange(self.context_.op, nullptr)->index + 1u);
  if (self.has_fastmem()) vme_hot_take(self.engine_, note_hot, &self);
  return has_wakeup(state) ? nullptr : self.blocks_.target_of(state.pc, self.regime());
}

Flow X86Jit::finish_flow() {
  if (context_.op == nullptr) return Flow::kJump;
  const unsigned retired = context_.flow == Flow::kTrap ? 0 : 1;
  hart_->state().clock.retire(context_.op->index + retired);
  return context_.flow;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Jit>> make_jit(Hart& hart, vme_engine& engine,
                                              vm_mem::MemoryManager& guest_memory,
                                              JitOptions options,
                                              std::vector<vme_cpu*> neighbours) {
  auto memory = vm_engine::CodeMemory::create(options.code_bytes);
  if (!memory.ok()) return memory.status();
  auto jit =
      std::make_unique<X86Jit>(hart, engine, *std::move(memory), options, std::move(neighbours));
  if (options.memory_mode == MemoryMode::kFastmem) {
    const auto ram =
        vm_mem::GuestRange::make(vm_mem::GuestAddress{options.ram_base}, options.ram_bytes);
    if (!ram) return absl::InvalidArgumentError("more memory than there are addresses");
    jit->use_fastmem(JitFastmem::create(hart.memory().cpu(), guest_memory, *ram));
  }
  if (const absl::Status status = jit->start(); !status.ok()) return status;
  return jit;
}

}  // namespace vmrun
