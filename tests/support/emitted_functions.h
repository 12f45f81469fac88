// Emitted copies, fills, loads and stores of guest memory as functions of the host's ABI,
// many in one piece of code memory, whose fault sites are registered together.
#ifndef TESTS_SUPPORT_EMITTED_FUNCTIONS_H_
#define TESTS_SUPPORT_EMITTED_FUNCTIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vm_engine/code_memory.h"
#include "vm_engine/emit.h"
#include "vm_engine/vm_engine.h"

namespace vm_test {

enum class LandingPads : std::uint8_t {
  kAsEmitted,
  // The broken control: all faults of a function go where its first one goes, as if the
  // operation could always begin again.
  kOneForAll,
};

// How emitted code says that all is done.
enum class Complete : std::uint8_t {
  kFallsThrough,  // what leaves bytes goes to the exit
  kResultIsZero,
};

// Where a function has its arguments, and a load its value.
struct FunctionRegisters {
  vm_engine::Reg dst, src, size;
  vm_engine::Reg loaded;  // the second register of a result
};

class EmittedFunctions {
 public:
  struct Result {
    std::uint64_t left;
    std::uint64_t value;  // of a load
  };

  // For this CPU's own ISA. Throws where the host gives no memory.
  EmittedFunctions(vm_engine::AddressMode mode, vm_engine::VectorLevel level);
  ~EmittedFunctions();
  EmittedFunctions(const EmittedFunctions&) = delete;
  EmittedFunctions& operator=(const EmittedFunctions&) = delete;

  // Of the functions that are emitted next; exit and registers are this class's.
  vm_engine::EmitConfig& config() { return config_; }
  static FunctionRegisters registers();

  // Has `emit`, which takes a CodeBuffer and a config and returns a status, write the body of
  // a function, and returns the function's number. Throws where it fails.
  template <typename Emit>
  std::size_t add(Emit emit, Complete complete = Complete::kFallsThrough) {
    begin();
    check(emit(buffer_, config_));
    return end(complete);
  }
  // After the last function, before any is called.
  void register_sites(vme_engine* engine, LandingPads pads);

  Result call(std::size_t function, vme_cpu* cpu, std::uint64_t dst, std::uint64_t src,
              std::uint64_t size) const;

 private:
  struct Function {
    std::size_t entry;
    std::size_t first_site;
  };

  static void check(const absl::Status& status);
  void begin();
  std::size_t end(Complete complete);
  template <typename Bytes>
  void append(const Bytes& bytes);

  vm_engine::CodeMemory memory_;
  vm_engine::CodeBuffer buffer_;
  vm_engine::EmitConfig config_;
  std::vector<Function> functions_;
  vme_code* registered_ = nullptr;
};

}  // namespace vm_test

#endif  // TESTS_SUPPORT_EMITTED_FUNCTIONS_H_
