// A bounded queue of frames between two threads.
#ifndef VM_DEVICE_INTERNAL_FRAME_QUEUE_H_
#define VM_DEVICE_INTERNAL_FRAME_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

namespace vm_device::internal {

// Threads:  one that pushes and one that pops; neither waits.
class FrameQueue {
 public:
  // Needs:  both above 0.
  FrameQueue(std::size_t frames, std::size_t frame_bytes)
      : frame_bytes_(frame_bytes), lengths_(frames), bytes_(frames * frame_bytes) {}

  std::size_t frame_bytes() const { return frame_bytes_; }

  // Room for the next frame, frame_bytes() of it; empty where the queue is full.
  std::span<std::byte> back() {
    const std::size_t pushed = pushed_.load(std::memory_order_relaxed);
    if (pushed - popped_.load(std::memory_order_acquire) == lengths_.size()) return {};
    return slot(pushed);
  }
  // Needs:  back() was not empty; bytes from 1 to frame_bytes().
  void push(std::size_t bytes) {
    const std::size_t pushed = pushed_.load(std::memory_order_relaxed);
    lengths_[pushed % lengths_.size()] = bytes;
    pushed_.store(pushed + 1, std::memory_order_release);
  }

  // The oldest frame; empty where there is none.
  std::span<const std::byte> front() {
    const std::size_t popped = popped_.load(std::memory_order_relaxed);
    if (popped == pushed_.load(std::memory_order_acquire)) return {};
    return slot(popped).first(lengths_[popped % lengths_.size()]);
  }
  // The frame that comes `after` so many others; empty where there is none.
  std::span<const std::byte> peek(std::size_t after) {
    const std::size_t index = popped_.load(std::memory_order_relaxed) + after;
    if (pushed_.load(std::memory_order_acquire) - index - 1 >= lengths_.size()) return {};
    return slot(index).first(lengths_[index % lengths_.size()]);
  }
  // Needs:  front() was not empty.
  void pop() { popped_.fetch_add(1, std::memory_order_release); }

 private:
  std::span<std::byte> slot(std::size_t index) {
    return std::span(bytes_).subspan(index % lengths_.size() * frame_bytes_, frame_bytes_);
  }

  std::size_t frame_bytes_;
  std::vector<std::size_t> lengths_;
  std::vector<std::byte> bytes_;
  std::atomic<std::size_t> pushed_{0};
  std::atomic<std::size_t> popped_{0};
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_FRAME_QUEUE_H_
