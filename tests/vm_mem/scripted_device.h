// A device that writes down what it is asked, answers something different each time,
// and refuses where it is told to.
#ifndef VM_TESTS_VM_MEM_SCRIPTED_DEVICE_H_
#define VM_TESTS_VM_MEM_SCRIPTED_DEVICE_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <vector>

#include "vm_mem/mmio_handler.h"

namespace vm_mem {

enum class DeviceOp : std::uint8_t { kRead, kWrite };

struct DeviceAccess {
  DeviceOp op = DeviceOp::kRead;
  std::uint64_t offset = 0;
  unsigned size = 0;
  std::uint64_t value = 0;
  AccessFault answer = AccessFault::kNone;

  friend bool operator==(const DeviceAccess&, const DeviceAccess&) = default;
  friend std::ostream& operator<<(std::ostream& out, const DeviceAccess& access) {
    return out << (access.op == DeviceOp::kRead ? "read" : "write") << access.size << " +0x"
               << std::hex << access.offset << " = 0x" << access.value << std::dec << " "
               << access_fault_name(access.answer);
  }
};

class ScriptedDevice : public MmioHandler {
 public:
  void refuse(std::uint64_t offset, AccessFault answer) { refusals_[offset] = answer; }
  const std::vector<DeviceAccess>& log() const { return log_; }
  void clear_log() { log_.clear(); }

  AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override {
    const AccessFault answer = answer_to(offset, size);
    const std::uint64_t fresh = (reads_ + offset) * 0x9e3779b97f4a7c15;
    if (answer == AccessFault::kNone) {
      ++reads_;
      value = size == 8 ? fresh : fresh & ((std::uint64_t{1} << (8 * size)) - 1);
    }
    log_.push_back({DeviceOp::kRead, offset, size, 0, answer});
    return answer;
  }

  AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override {
    const AccessFault answer = answer_to(offset, size);
    log_.push_back({DeviceOp::kWrite, offset, size, value, answer});
    return answer;
  }

 private:
  AccessFault answer_to(std::uint64_t offset, unsigned size) const {
    const auto at = refusals_.lower_bound(offset);
    return at != refusals_.end() && at->first < offset + size ? at->second : AccessFault::kNone;
  }

  std::map<std::uint64_t, AccessFault> refusals_;
  std::vector<DeviceAccess> log_;
  std::uint64_t reads_ = 1;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_SCRIPTED_DEVICE_H_
