// A listener that keeps its own picture of the map from what it is told.
#ifndef VM_TESTS_VM_MEM_FUZZ_MIRROR_LISTENER_H_
#define VM_TESTS_VM_MEM_FUZZ_MIRROR_LISTENER_H_

#include <map>
#include <stdexcept>
#include <tuple>

#include "vm_mem/memory_listener.h"

namespace vm_mem {

class MirrorListener : public MemoryListener {
 public:
  using Picture =
      std::tuple<std::uint64_t, RegionId, RegionKind, Protection, std::uint64_t, const void*>;

  static Picture picture_of(const MapSection& section) {
    return {section.range.end().value, section.region,        section.kind,
            section.protection,        section.region_offset, section.host};
  }

  // By the address of their first byte.
  const std::map<std::uint64_t, Picture>& sections() const { return sections_; }

  void begin() override { require(!open_), open_ = true; }
  void commit() override { require(open_), open_ = false; }
  void region_removed(const MapSection& section) override {
    const auto at = sections_.find(section.range.begin().value);
    require(open_ && at != sections_.end() && at->second == picture_of(section));
    sections_.erase(at);
  }
  void region_added(const MapSection& section) override {
    require(open_);
    require(sections_.emplace(section.range.begin().value, picture_of(section)).second);
  }

 private:
  static void require(bool holds) {
    if (!holds) throw std::logic_error("a listener was told what cannot be");
  }

  std::map<std::uint64_t, Picture> sections_;
  bool open_ = false;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_FUZZ_MIRROR_LISTENER_H_
