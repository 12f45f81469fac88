// A guest with pages that fail, an arena over it, and what a byte-by-byte copy, fill, load or
// store would leave behind in it.
#ifndef TESTS_SUPPORT_FAULTY_GUEST_H_
#define TESTS_SUPPORT_FAULTY_GUEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vm_engine/engine.h"
#include "vm_engine/fastmem.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/memory_manager.h"

namespace vm_test {

// An operation of guest memory, 1 byte an element.
struct GuestOperation {
  std::uint64_t dst = 0;
  std::uint64_t src = 0;
  std::uint64_t bytes = 0;
  bool reads = false;   // src
  bool writes = false;  // dst
  bool whole = false;   // a word: all of it or nothing
  // What is written, where it is not what src holds.
  std::vector<std::byte> content = {};
};

// What has to be left behind.
struct GuestOutcome {
  std::uint64_t done = 0;
  // Where done is not all:
  std::uint32_t rc = VME_OK;
  std::uint8_t side = 0;
  std::uint64_t gva = 0;
};

// Guest virtual = guest physical. Its memory holds noise, again before each operation.
class FaultyGuest {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;
  // Four pages where nothing fails.
  static constexpr std::uint64_t kPlain = 0x10000;
  // Three pages each, of which the second: is not there; is read-only; belongs to a file that
  // was cut short; is protected in the arena, so that stores there go to the helper.
  static constexpr std::uint64_t kHole = 0x20000;
  static constexpr std::uint64_t kReadOnly = 0x30000;
  static constexpr std::uint64_t kLost = 0x40000;
  static constexpr std::uint64_t kWatched = 0x50000;
  static constexpr std::array kAreas{kHole, kReadOnly, kLost, kWatched};

  // Attaches the thread. Throws where the host has no memory.
  FaultyGuest();
  ~FaultyGuest();
  FaultyGuest(const FaultyGuest&) = delete;
  FaultyGuest& operator=(const FaultyGuest&) = delete;

  vme_engine* engine() const { return engine_.get(); }
  vme_cpu* cpu() const { return cpu_.get(); }

  // What a loop over bytes comes to.
  GuestOutcome expected_of(const GuestOperation& operation) const;
  // The guest should hold what so many bytes of it leave, from now on.
  void expect(const GuestOperation& operation, std::uint64_t done);
  const std::byte* expected(std::uint64_t gpa) const { return &image_[gpa]; }
  // Whether the pages around the operation's bytes hold what is expected.
  bool is_as_expected(const GuestOperation& operation) const;
  // Back to noise.
  void restore(const GuestOperation& operation);

 private:
  static constexpr std::uint64_t kEnd = 0x54000;

  void add_regions();
  bool has(std::uint64_t gpa, std::uint32_t access) const;
  std::uint32_t why(std::uint64_t gpa, std::uint32_t access) const;
  void find_pages();
  std::byte* page(std::uint64_t gpa) const { return pages_[gpa / kPageBytes]; }

  std::unique_ptr<vm_mem::MemoryManager> memory_;
  vm_engine::EnginePtr engine_;
  vm_engine::CpuPtr cpu_;
  std::unique_ptr<vm_engine::FastmemArena> arena_;
  std::vector<std::byte> noise_;
  std::vector<std::byte> image_;
  std::array<std::byte*, kEnd / kPageBytes> pages_{};  // null: cannot be read
};

}  // namespace vm_test

#endif  // TESTS_SUPPORT_FAULTY_GUEST_H_
