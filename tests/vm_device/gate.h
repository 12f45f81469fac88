// Where a test holds threads up.
#ifndef TESTS_VM_DEVICE_GATE_H_
#define TESTS_VM_DEVICE_GATE_H_

#include <condition_variable>
#include <mutex>

namespace vm_device {

// Keeps threads until it is opened.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_GATE_H_
