// A MemoryManager and its reference model, changed side by side; after every step all
// that can be seen of both is compared.
#ifndef VM_TESTS_VM_MEM_MODEL_WORLD_H_
#define VM_TESTS_VM_MEM_MODEL_WORLD_H_

#include <array>
#include <cstdint>
#include <map>

#include "tests/vm_mem/access_world.h"
#include "tests/vm_mem/scripted_device.h"

namespace vm_mem {

class World : public AccessWorld {
 public:
  static constexpr std::size_t kDeviceCount = 3;

  // As those of AccessWorld.
  void add_ram(std::uint64_t begin, std::uint64_t bytes, RamOptions options);
  void add_rom(std::uint64_t begin, std::uint64_t bytes, std::uint64_t seed);
  void add_mmio(std::uint64_t begin, std::uint64_t bytes, std::size_t device);
  void add_alias(std::uint64_t begin, std::uint64_t bytes, std::uint64_t pick,
                 std::uint64_t offset);
  void remove(std::uint64_t pick, RemovePolicy policy);
  void refuse(std::size_t device, std::uint64_t offset, AccessFault answer);

 private:
  struct Entry {
    RegionId id{};
    std::uint64_t shows = 0;  // the key of the region that owns the memory
    bool tracked = false;
  };

  void expect_added(const char* what, const absl::StatusOr<RegionId>& added,
                    const ModelRegion& region, absl::StatusCode otherwise, Entry entry);
  void compare_state() override;
  std::uint64_t pick_key(std::uint64_t pick) const;

  std::array<ScriptedDevice, kDeviceCount> real_devices_;
  std::array<ScriptedDevice, kDeviceCount> model_devices_;
  std::map<std::uint64_t, Entry> entries_;
  std::uint64_t next_key_ = 1;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_MODEL_WORLD_H_
