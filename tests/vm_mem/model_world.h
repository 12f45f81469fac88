// A MemoryManager and its reference model, changed and accessed side by side; after
// every step all that can be seen of both is compared.
#ifndef VM_TESTS_VM_MEM_MODEL_WORLD_H_
#define VM_TESTS_VM_MEM_MODEL_WORLD_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/vm_mem/model.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {

enum class Through : std::uint8_t { kManager, kReader };

class World {
 public:
  static constexpr std::size_t kDeviceCount = 3;

  World();

  // Each does one thing to both sides, and throws std::logic_error with all that was
  // done where they differ.
  void add_ram(std::uint64_t begin, std::uint64_t bytes, RamOptions options);
  void add_rom(std::uint64_t begin, std::uint64_t bytes, std::uint64_t seed);
  void add_mmio(std::uint64_t begin, std::uint64_t bytes, std::size_t device);
  void add_alias(std::uint64_t begin, std::uint64_t bytes, std::uint64_t pick,
                 std::uint64_t offset);
  void remove(std::uint64_t pick, RemovePolicy policy);
  void refuse(std::size_t device, std::uint64_t offset, AccessFault answer);

  void read(std::uint64_t from, std::uint64_t bytes, Through through);
  void write(std::uint64_t to, std::uint64_t bytes, std::uint64_t seed, Through through);
  void fill(std::uint64_t to, std::uint64_t bytes, std::uint8_t value, Through through);
  void copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes, Through through);
  void compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes);
  void load(std::uint64_t from, unsigned bytes, std::memory_order order);
  void store(std::uint64_t to, unsigned bytes, std::uint64_t value, std::memory_order order);
  void modify(std::uint64_t at, unsigned bytes, unsigned operation, std::uint64_t operand);
  void compare_exchange(std::uint64_t at, unsigned bytes, std::uint64_t expected,
                        std::uint64_t desired);

  // How often each thing happened, over all worlds.
  static std::map<std::string, std::uint64_t>& counts();

 private:
  struct Entry {
    RegionId id{};
    std::uint64_t shows = 0;  // the key of the region that owns the memory
    bool tracked = false;
  };

  void require(bool holds, int line = __builtin_LINE()) const;
  void expect_added(const char* what, const absl::StatusOr<RegionId>& added,
                    const ModelRegion& region, absl::StatusCode otherwise, Entry entry);
  void expect_same(const char* what, const AccessResult& real, const AccessResult& model);
  void expect_same_state();
  std::uint64_t pick_key(std::uint64_t pick) const;

  template <typename Word>
  void modify_as(std::uint64_t at, unsigned operation, Word operand);
  template <typename Word>
  void compare_exchange_as(std::uint64_t at, Word expected, Word desired);

  std::array<ScriptedDevice, kDeviceCount> real_devices_;
  std::array<ScriptedDevice, kDeviceCount> model_devices_;
  std::unique_ptr<MemoryManager> manager_;
  MemoryReader reader_;
  Model model_;
  std::map<std::uint64_t, Entry> entries_;
  std::uint64_t next_key_ = 1;
  std::ostringstream trace_;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_MODEL_WORLD_H_
