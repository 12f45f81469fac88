// Two harts with the same memory contents, one translating, one interpreting block by block
// with nothing remembered: whatever they run, they must not differ.
#ifndef TESTS_VMRUN_TWIN_HARTS_H_
#define TESTS_VMRUN_TWIN_HARTS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/vm_mem/fuzz/byte_source.h"
#include "tools/vmrun/hart.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

// Bytes say what is run: settings; slices, each with the place and the privilege to begin in,
// its length and what happens before it from outside; the rest are instructions. They rewrite
// themselves through an alias, remap pages, change privilege and trap as they like.
class TwinHarts {
 public:
  explicit TwinHarts(std::span<const std::uint8_t> input);

  // Runs all slices. The first difference; empty where there is none.
  std::string run();

  // Of the one that translates.
  const JitStatistics& statistics() const { return translating_.hart->jit()->statistics(); }
  const LoopCount& loops() const { return translating_.hart->loops(); }
  std::uint64_t bulk_bytes() const { return translating_.hart->memory().bulk_bytes(); }
  bool has_fastmem() const { return has_fastmem_; }

 private:
  struct Twin {
    std::unique_ptr<vm_mem::MemoryManager> memory;
    std::unique_ptr<Hart> hart;
  };
  struct Slice {
    std::uint64_t pc;
    Privilege privilege;
    std::uint64_t instructions;
    std::uint64_t event;
    std::uint64_t operand;
  };

  static Twin make_twin(vm_mem::Backing backing);
  static std::string difference(Twin& got, Twin& want);
  void write(std::uint64_t address, std::span<const std::byte> bytes);
  void write_entry(std::uint64_t page, std::uint64_t physical, std::uint64_t bits);
  void map_pages(std::uint64_t bits);
  void set_up(vm_mem::ByteSource& source);
  void begin(const Slice& slice);
  void happen(const Slice& slice);
  void run_slice(const Slice& slice);

  Twin translating_;
  Twin interpreting_;
  bool is_ready_ = false;
  bool has_fastmem_ = false;
  std::vector<Slice> slices_;
};

}  // namespace vmrun

#endif  // TESTS_VMRUN_TWIN_HARTS_H_
