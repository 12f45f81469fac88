// Tells somebody who mirrors the map (KVM slots, a vhost table, a translator) how it
// changes.
#ifndef VM_MEM_MEMORY_LISTENER_H_
#define VM_MEM_MEMORY_LISTENER_H_

#include "vm_mem/memory_map.h"

namespace vm_mem {

// Each change is one begin(), the sections that it took away, those that it added, those
// whose writes are tracked no longer or from now on, and one commit(). What stays as it
// was is not told. A section that changes in any other way (its range, its protection)
// is removed and added. A listener that is added is first told all that is there, as
// one change.
//
// Calls come on the thread that changes the map, after the new map is published and
// before the changing call returns; changes are told one at a time, in their order.
// A listener may access guest memory and ask about regions. It cannot change the map
// (kFailedPrecondition), and must not add or remove listeners.
class MemoryListener {
 public:
  virtual ~MemoryListener() = default;

  virtual void begin() {}
  // `section` is valid during the call; a copy of it keeps the host memory alive.
  virtual void region_added(const MapSection& section) = 0;
  virtual void region_removed(const MapSection& section) = 0;
  // A section that stays, but whose writes are now (no longer) tracked. A section that
  // is added says so itself.
  virtual void dirty_log_started(const MapSection&) {}
  virtual void dirty_log_stopped(const MapSection&) {}
  virtual void commit() {}
};

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_LISTENER_H_
