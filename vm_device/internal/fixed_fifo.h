// A queue that takes its memory when it is made.
#ifndef VM_DEVICE_INTERNAL_FIXED_FIFO_H_
#define VM_DEVICE_INTERNAL_FIXED_FIFO_H_

#include <cstddef>
#include <vector>

namespace vm_device::internal {

template <typename T>
class FixedFifo {
 public:
  explicit FixedFifo(std::size_t capacity) : items_(capacity) {}

  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  // Needs:  fewer than the capacity.
  void push(T item) { items_[(first_ + count_++) % items_.size()] = item; }
  // Needs:  not empty.
  const T& front() const { return items_[first_]; }
  T pop() {
    const T item = items_[first_];
    first_ = (first_ + 1) % items_.size();
    --count_;
    return item;
  }
  // Calls take(item) for each, oldest first, and keeps those for which it is false.
  template <typename Take>
  void remove_if(Take take) {
    for (std::size_t left = count_; left > 0; --left) {
      const T item = pop();
      if (!take(item)) push(item);
    }
  }

 private:
  std::vector<T> items_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_FIXED_FIFO_H_
