// The map as plainly as it can be written down: regions in containers, and for one
// address the search for what is seen there. No sections, no tables.
#ifndef VM_TESTS_VM_MEM_FUZZ_MAP_MODEL_H_
#define VM_TESTS_VM_MEM_FUZZ_MAP_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "absl/status/status.h"
#include "tests/vm_mem/model.h"
#include "vm_mem/region_info.h"

namespace vm_mem {

// What a call may answer. None: it succeeds.
using Codes = std::set<absl::StatusCode>;

struct MapNode {
  RegionType type = RegionType::kRam;
  std::uint64_t begin = 0;  // in its container
  std::uint64_t bytes = 0;
  int priority = 0;
  std::uint64_t container = 0;
  Enabled enabled = Enabled::kYes;
  Protection protection = Protection::kReadWrite;
  std::uint64_t target = 0;  // of an alias
  std::uint64_t offset = 0;
  std::uint64_t capacity = 0;  // of RAM and ROM
  // Of RAM and ROM. What is cut off and added again is made anew, but for ROM, files and
  // the caller's memory: `owned` says which.
  std::shared_ptr<ModelBacking> memory = {};
  bool owned = true;
  bool tracked = false;

  std::uint64_t end() const { return begin + bytes; }
};

// What an address shows.
struct Seen {
  std::uint64_t key = 0;
  std::uint64_t offset = 0;
  Protection protection = Protection::kReadWrite;
  std::uint64_t window = 0;  // the outermost alias that shows it, or itself
};

class MapModel {
 public:
  // By the keys that the caller gives; 0 is the address space.
  std::map<std::uint64_t, MapNode>& nodes() { return nodes_; }
  const MapNode& node(std::uint64_t key) const { return nodes_.at(key); }
  bool has(std::uint64_t key) const { return nodes_.contains(key); }

  std::optional<Seen> see(std::uint64_t address) const { return see(0, address); }

  // Of an alias: resolves its target, which may be an alias itself.
  Codes refuse_add(const MapNode& node) const;
  Codes refuse_alias(MapNode& alias) const;
  Codes refuse_remove(std::uint64_t key) const;
  Codes refuse_enable(std::uint64_t key, Enabled enabled) const;
  Codes refuse_protection(std::uint64_t key, Protection protection) const;
  Codes refuse_move(std::uint64_t key, std::uint64_t begin) const;
  Codes refuse_resize(std::uint64_t key, std::uint64_t bytes) const;

 private:
  std::optional<Seen> see(std::uint64_t container, std::uint64_t address) const;
  std::optional<Seen> see_in(std::uint64_t key, std::uint64_t offset) const;
  bool reaches(std::uint64_t from, std::uint64_t to) const;
  bool meets_a_peer(std::uint64_t key, const MapNode& node) const;

  std::map<std::uint64_t, MapNode> nodes_;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_FUZZ_MAP_MODEL_H_
