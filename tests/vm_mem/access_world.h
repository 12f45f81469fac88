// A MemoryManager and its reference model, accessed side by side: every result and every
// byte is compared. Who derives from it changes the map.
#ifndef VM_TESTS_VM_MEM_ACCESS_WORLD_H_
#define VM_TESTS_VM_MEM_ACCESS_WORLD_H_

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

// As many bytes, different for each seed.
std::vector<std::uint8_t> pattern(std::uint64_t bytes, std::uint64_t seed);

class AccessWorld {
 public:
  AccessWorld(const AccessWorld&) = delete;
  AccessWorld& operator=(const AccessWorld&) = delete;
  virtual ~AccessWorld();

  // Each does one thing to both sides, and throws std::logic_error with all that was
  // done where they differ.
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

 protected:
  AccessWorld();

  void require(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) const;
  void expect_same(const char* what, const AccessResult& real, const AccessResult& model);
  // All else that can be seen of both. Follows every access.
  virtual void compare_state() = 0;

  std::unique_ptr<MemoryManager> manager_;
  MemoryReader reader_;
  Model model_;
  std::ostringstream trace_;

 private:
  // As it stands in the model. Needs: it can be loaded.
  template <typename Word>
  Word model_word(std::uint64_t at);
  template <typename Word>
  void modify_as(std::uint64_t at, unsigned operation, Word operand);
  template <typename Word>
  void compare_exchange_as(std::uint64_t at, Word expected, Word desired);
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_ACCESS_WORLD_H_
