// The hart's translator: blocks of guest code become code of the host. Optional: without
// one a hart interprets.
#ifndef VMRUN_JIT_H_
#define VMRUN_JIT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/vmrun/block.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

// How translated code reaches guest memory.
enum class MemoryMode : std::uint8_t { kSoftTlb, kFastmem };

struct JitStatistics {
  std::uint64_t decoded = 0;      // blocks that were looked at for it
  std::uint64_t translated = 0;   // blocks, each time
  std::uint64_t invalidated = 0;  // blocks whose guest code changed
  std::uint64_t dispatches = 0;   // times that translated code was entered
  std::uint64_t links = 0;        // jumps from block to block that were made direct
  std::uint64_t flushes = 0;      // times that all of it was forgotten
  std::uint64_t hot = 0;          // accesses that fastmem is not used for any more
  std::uint64_t interpreted = 0;  // blocks that could not be translated, each time
  std::uint64_t cold = 0;         // blocks that were not translated yet, each time

  JitStatistics& operator+=(const JitStatistics& other) {
    decoded += other.decoded;
    translated += other.translated;
    invalidated += other.invalidated;
    dispatches += other.dispatches;
    links += other.links;
    flushes += other.flushes;
    hot += other.hot;
    interpreted += other.interpreted;
    cold += other.cold;
    return *this;
  }
};

class Jit {
 public:
  Jit() = default;
  Jit(const Jit&) = delete;
  Jit& operator=(const Jit&) = delete;
  virtual ~Jit() = default;

  // Runs blocks from the hart's pc on until `end` instructions are retired, a block ended
  // in something that the caller has to see to, or exit_request was set; at least one, but
  // where exit_request was set before and there is an interrupt to look at.
  // Registers, pc and clock are then exact.
  virtual Flow run(std::uint64_t end) = 0;
  // Nothing that was translated is run after the next block's end.
  virtual void forget() = 0;
  // Guest addresses may be those of other memory, or of none: all of them, or these. The
  // hart's thread.
  virtual void forget_translations() = 0;
  virtual void forget_translations_of(std::uint64_t begin, std::uint64_t bytes) = 0;

  virtual const JitStatistics& statistics() const = 0;
  // Where fastmem was asked for and is not used: why. Else empty.
  virtual std::string fallback_reason() const = 0;
};

struct JitOptions {
  // How often a block is interpreted before it is translated. For a Linux and a U-Boot that
  // boot, 16 to 64 make little difference; 0 takes twice as long.
  std::uint32_t interpreted_runs = 32;
  // Of translated code: where they are full, all of it is forgotten. 128 KiB at least.
  std::size_t code_bytes = 32 << 20;
  MemoryMode memory_mode = MemoryMode::kSoftTlb;
  // What kFastmem shows, from its first guest physical address on.
  std::uint64_t ram_base = 0;
  std::uint64_t ram_bytes = 0;
};

class Hart;

// `neighbours` are vCPUs that the hart's thread runs as well, one at a time: they cannot come
// by while watching code waits for them, and are parked before that.
//
// Needs:   all of them outlive it. RAM that code is run from has CodeWatching::kOn; other
//          code is interpreted.
// Errors:  kUnimplemented       this host has no translator
//          kPermissionDenied, kResourceExhausted as CodeMemory
absl::StatusOr<std::unique_ptr<Jit>> make_jit(Hart& hart, vme_engine& engine,
                                              vm_mem::MemoryManager& memory, JitOptions options,
                                              std::vector<vme_cpu*> neighbours);

}  // namespace vmrun

#endif  // VMRUN_JIT_H_
