// What the copy helpers should do, one byte and one element at a time, on a model of
// the Machine. Slow, and without any notion of runs, pages in flight or a TLB.
#ifndef TESTS_VM_ENGINE_COPY_MODEL_H_
#define TESTS_VM_ENGINE_COPY_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tests/vm_engine/machine.h"

namespace vm_test {

enum class Kind { kCopy, kFill, kRead, kWrite };

struct Operation {
  Kind kind = Kind::kCopy;
  std::uint64_t destination = 0;
  std::uint64_t source = 0;
  std::uint64_t bytes = 0;
  std::uint32_t flags = 0;
  std::uint64_t pattern = 0;
};
std::ostream& operator<<(std::ostream& out, const Operation& operation);

struct Fault {
  std::uint32_t rc = VME_OK;
  std::uint32_t access = 0;
  std::uint32_t side = 0;
  std::uint64_t gva = 0;
  std::uint64_t gpa = 0;
  std::uint64_t acc_gva = 0;
  std::uint64_t acc_size = 0;
  std::uint64_t done = 0;
  friend bool operator==(const Fault&, const Fault&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Fault& fault);
};

class CopyModel {
 public:
  CopyModel(const PageTable& table, Machine& machine);

  // The bytes not done. `host` is the buffer of kRead and kWrite.
  std::uint64_t run(const Operation& operation, std::vector<std::byte>& host);

  const Fault& fault() const { return fault_; }
  const std::map<std::uint64_t, std::vector<std::byte>>& memory() const { return memory_; }
  const std::vector<DeviceAccess>& device_log() const { return device_.log; }

  LoggingDevice& device() { return device_; }
  bool exit_requested = false;

 private:
  struct Side {
    std::uint64_t gva = 0;
    std::uint32_t access = 0;
    std::uint32_t side = 0;
  };
  using Value = std::vector<std::byte>;
  using Memory = std::map<std::uint64_t, std::vector<std::byte>>;

  bool valid(const Operation& operation) const;
  bool against_its_order() const;
  bool begins_step(std::uint64_t index) const;
  std::uint64_t offset_of(std::uint64_t index) const;
  std::vector<Side> sides() const;
  bool reachable(const Side& side, std::uint64_t offset);
  bool reachable_element(std::uint64_t offset);
  bool transfer(std::uint64_t offset, const Memory& source_memory, std::vector<std::byte>& host);
  bool get(const Side& side, std::uint64_t offset, const Memory& from, Value& value);
  bool put(const Side& side, std::uint64_t offset, const Value& value);
  bool fail(std::uint32_t rc, const Side& side, std::uint64_t offset, std::uint64_t at,
            std::uint64_t gpa);
  std::optional<std::uint64_t> translate(std::uint64_t gva) const;
  static bool is_device(std::uint64_t gpa);
  static unsigned piece_at(std::uint64_t gpa, std::uint64_t left);

  const PageTable& table_;
  Memory memory_;
  LoggingDevice device_;
  Fault fault_;
  Operation now_;
  std::uint64_t element_ = 1;
  bool devices_allowed_ = true;
};

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_COPY_MODEL_H_
