// The manager's calls about dirty pages.
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {

absl::StatusOr<DirtyClient> MemoryManager::add_dirty_client(std::string_view name,
                                                            DirtyStart start) {
  return state_->dirty_book().add(name, start);
}

absl::Status MemoryManager::remove_dirty_client(DirtyClient client) {
  return state_->dirty_book().remove(client);
}

absl::Status MemoryManager::harvest_dirty(DirtyClient client, RegionId region, DirtyPages& out) {
  return state_->dirty_book().harvest(client, region, out);
}

absl::Status MemoryManager::harvest_dirty(DirtyClient client, std::vector<DirtyRegion>& out) {
  return state_->dirty_book().harvest_all(client, out);
}

std::uint64_t MemoryManager::dirty_epoch() const {
  return dirty_epoch_word().load(std::memory_order_acquire);
}

const std::atomic<std::uint64_t>& MemoryManager::dirty_epoch_word() const {
  return state_->dirty_book().epoch();
}

}  // namespace vm_mem
