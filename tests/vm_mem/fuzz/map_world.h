// A MemoryManager and the MapModel of it, changed side by side. After every change each
// page of four windows of the address space is looked up, loaded and compared. Accesses
// are held to the Model, whose regions are what the MapModel says is seen.
#ifndef VM_TESTS_VM_MEM_FUZZ_MAP_WORLD_H_
#define VM_TESTS_VM_MEM_FUZZ_MAP_WORLD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "tests/vm_mem/access_world.h"
#include "tests/vm_mem/fuzz/losable_memory.h"
#include "tests/vm_mem/fuzz/map_model.h"
#include "tests/vm_mem/fuzz/mirror_listener.h"
#include "vm_mem/memory_lease.h"
#include "vm_mem/mmio_handler.h"

namespace vm_mem {

// Answers with the offset that it is asked for.
class OffsetDevice : public MmioHandler {
 public:
  AccessFault mmio_read(std::uint64_t offset, unsigned, std::uint64_t& value) override {
    return value = offset + 1, AccessFault::kNone;
  }
  AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    return AccessFault::kNone;
  }
};

// What can be changed of a region that stays.
struct RegionSettings {
  std::uint64_t begin = 0;
  Enabled enabled = Enabled::kYes;
  Protection protection = Protection::kReadWrite;

  friend bool operator==(const RegionSettings&, const RegionSettings&) = default;
};

class MapWorld : public AccessWorld {
 public:
  // Low memory, both sides of 2^40 and of 2^52, and the last pages that there are.
  static constexpr std::uint64_t kPages = 68;
  static std::uint64_t page_address(std::uint64_t page);

  MapWorld();
  ~MapWorld() override;

  // Each does one thing to both sides, and throws std::logic_error with all that was
  // done where they differ. A `pick` chooses one of the regions.
  void add(RegionType type, std::uint64_t begin, std::uint64_t bytes, int priority,
           std::uint64_t container_pick, std::uint64_t most_bytes);
  void add_losable(Loss loss, std::uint64_t begin, std::uint64_t bytes, int priority,
                   std::uint64_t container_pick);
  void add_alias(std::uint64_t begin, std::uint64_t bytes, int priority,
                 std::uint64_t container_pick, std::uint64_t pick, std::uint64_t offset);
  void remove(std::uint64_t pick, RemovePolicy policy);
  void set_enabled(std::uint64_t pick, Enabled enabled);
  void set_protection(std::uint64_t pick, Protection protection);
  void move(std::uint64_t pick, std::uint64_t begin);
  void resize(std::uint64_t pick, std::uint64_t bytes);
  // Of one of the regions that add_losable() made.
  void lose(std::uint64_t pick, std::uint64_t page);
  void bring_back(std::uint64_t pick);
  void lease(std::uint64_t page, std::uint64_t pages);
  void end_lease(std::uint64_t pick);
  // What `edits` do, as one change; undone where `kept` says so.
  void change(const std::function<void()>& edits, Enabled kept);
  // Accesses are not to be made there.
  bool changing() const { return changing_; }

  // Of every region, and to that, as one change.
  std::map<std::uint64_t, RegionSettings> settings() const;
  void set_all(const std::map<std::uint64_t, RegionSettings>& settings);
  MemoryManager& manager() { return *manager_; }
  // What a read gives by the model.
  AccessResult model_read(std::uint64_t from, std::vector<std::uint8_t>& to);

 private:
  struct Lease {
    MemoryLease lease;
    std::set<std::uint64_t> keys;  // of the regions under it
  };

  void settle(const char* what, const absl::Status& answer, const Codes& codes);
  void added(const char* what, const absl::StatusOr<RegionId>& answer, const Codes& codes,
             const MapNode& node);
  void compare_state() override;
  void rebuild_model();
  void show_page(std::uint64_t begin);
  void compare_map(const MemoryMap& map) const;
  void compare_page(const MemoryMap& map, std::uint64_t address);
  void compare_word(std::uint64_t address);
  void compare_marks();
  void compare_leases();
  std::set<std::uint64_t> leasable(std::uint64_t address, std::uint64_t pages) const;
  std::uint64_t lease_count(std::uint64_t key) const;
  RegionKind kind_of(const MapNode& node) const;
  bool is_too_short(std::uint64_t key, std::uint64_t bytes) const;
  static void cut_off(MapNode& node, std::uint64_t old_bytes);
  MapNode ram_node(std::uint64_t begin, std::uint64_t bytes, int priority,
                   std::uint64_t container_pick);
  std::uint64_t pick_key(std::uint64_t pick) const;
  std::uint64_t pick_container(std::uint64_t pick) const;
  RegionId id_of(std::uint64_t key) const;

  MirrorListener listener_;
  OffsetDevice device_;
  MapModel map_model_;
  std::map<std::uint64_t, RegionId> ids_;
  std::map<std::uint64_t, std::shared_ptr<LosableMemory>> losable_;
  std::vector<std::shared_ptr<LosableMemory>> removed_;  // until its last access has ended
  std::vector<Lease> leases_;
  std::uint64_t next_key_ = 1;
  std::uint64_t generation_ = 0;
  bool changing_ = false;
  std::map<std::uint64_t, std::uint64_t> published_bytes_;  // inside a change
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_FUZZ_MAP_WORLD_H_
