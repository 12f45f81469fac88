#include "vm_mem/memory_manager.h"

#include <utility>

#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/internal/without_exceptions.h"
#include "vm_mem/internal/word_access.h"

namespace vm_mem {
namespace {

using internal::without_exceptions;
using Pin = internal::MapPublisher::Pin;

WriteCause copies(Route route) { return cause_of(route, WriteCause::kCopy); }

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryManager>> MemoryManager::create(MemoryManagerOptions options) {
  return without_exceptions([&]() -> absl::StatusOr<std::unique_ptr<MemoryManager>> {
    return std::unique_ptr<MemoryManager>(new MemoryManager(options));
  });
}

CodeWatch& MemoryManager::code_watch() { return state_->code_watch(); }

MemoryManager::MemoryManager(MemoryManagerOptions options)
    : state_(std::make_unique<State>(options, generation_)) {}

MemoryManager::~MemoryManager() = default;

std::shared_ptr<const MemoryMap> MemoryManager::map() const { return state_->maps().current(); }

absl::StatusOr<std::uint64_t> MemoryManager::dirty_page_count(RegionId region) const {
  const auto log = state_->regions().find_dirty_log(region);
  if (!log.ok()) return log.status();
  const auto node = state_->regions().find_node(region);
  if (!node.ok()) return node.status();
  return (*log)->dirty_page_count(node->range.bytes() / kDirtyPageBytes);
}

void MemoryManager::add_listener(MemoryListener* listener) { state_->add_listener(listener); }

void MemoryManager::remove_listener(MemoryListener* listener) { state_->remove_listener(listener); }

AccessResult MemoryManager::read(GuestAddress from, std::span<std::byte> to, Route route) const {
  const Pin pin(state_->maps());
  return counted(internal::read_memory(pin.map(), from, to), route);
}

AccessResult MemoryManager::write(GuestAddress to, std::span<const std::byte> from, Route route) {
  const Pin pin(state_->maps());
  return counted(internal::write_memory(pin.map(), to, from, copies(route)), route);
}

AccessResult MemoryManager::copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes,
                                       Route route) {
  const Pin pin(state_->maps());
  return counted(internal::copy_memory(pin.map(), to, from, bytes, copies(route)), route);
}

AccessResult MemoryManager::fill_block(GuestAddress to, std::byte value, std::uint64_t bytes,
                                       Route route) {
  const Pin pin(state_->maps());
  return counted(internal::fill_memory(pin.map(), to, value, bytes, copies(route)), route);
}

AccessResult MemoryManager::compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes,
                                          int& order, Route route) const {
  const Pin pin(state_->maps());
  return counted(internal::compare_memory(pin.map(), a, b, bytes, order), route);
}

AccessResult MemoryManager::load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                                      std::memory_order order) const {
  const Pin pin(state_->maps());
  return internal::load_word(pin.map(), from, bytes, bits, order);
}

AccessResult MemoryManager::store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                                       std::memory_order order) {
  const Pin pin(state_->maps());
  return internal::store_word(pin.map(), to, bytes, bits, order, WriteCause::kStore);
}

AccessResult MemoryManager::modify_bits(GuestAddress at, unsigned bytes, WordOperation operation,
                                        std::uint64_t operand, std::uint64_t& previous,
                                        std::memory_order) {
  const Pin pin(state_->maps());
  return internal::modify_word(pin.map(), at, bytes, operation, operand, previous,
                               WriteCause::kStore);
}

AccessResult MemoryManager::compare_exchange_bits(GuestAddress at, unsigned bytes,
                                                  std::uint64_t& expected, std::uint64_t desired,
                                                  bool& exchanged, std::memory_order) {
  const Pin pin(state_->maps());
  return internal::compare_exchange_word(pin.map(), at, bytes, expected, desired, exchanged,
                                         WriteCause::kStore);
}

Statistics MemoryManager::statistics() const {
  Statistics sum = state_->statistics().sum();
  state_->readers().add_counts_to(sum);
  sum.leases = leases();
  return sum;
}

AccessResult MemoryManager::counted(const AccessResult& result, Route route) const {
  state_->statistics().add(route, result.done);
  return result;
}

}  // namespace vm_mem
