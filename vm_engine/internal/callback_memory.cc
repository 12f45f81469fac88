// Guest memory that an embedder serves through vme_memory_ops. It has no host
// pointers, so every access comes here.
#include <algorithm>
#include <array>
#include <atomic>
#include <new>

#include "vm_engine/internal/guest_memory.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine::internal {
namespace {

// A callback's answer is not trusted further than it makes sense.
vme_rc rc_of(std::uint32_t why) { return why <= VME_EABI ? static_cast<vme_rc>(why) : VME_BUS; }

class CallbackMemory : public GuestMemory {
 public:
  CallbackMemory(const vme_memory_ops& ops, void* opaque) : ops_(ops), opaque_(opaque) {}

  void renew() override {}
  void park() override {}
  bool faults_by_page() const override { return false; }

  Page page(std::uint64_t gpa, std::uint32_t access) override {
    if (ops_.probe == nullptr) return Page{};
    const vme_rc rc = rc_of(ops_.probe(opaque_, gpa, access));
    if (rc == VME_MMIO) return Page{.kind = PageKind::kDevice};
    return Page{.rc = rc};
  }

  Outcome read(std::uint64_t gpa, std::span<std::byte> to) override {
    std::uint32_t why = VME_BUS;
    const std::uint64_t done = ops_.read(opaque_, gpa, to.data(), to.size(), &why);
    return outcome(done, to.size(), why, VME_SIDE_SOURCE);
  }
  Outcome write(std::uint64_t gpa, std::span<const std::byte> from) override {
    std::uint32_t why = VME_BUS;
    const std::uint64_t done = ops_.write(opaque_, gpa, from.data(), from.size(), &why);
    return outcome(done, from.size(), why, VME_SIDE_DESTINATION);
  }

  Outcome copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes,
               std::uint64_t unit) override {
    const Outcome got = read(from, std::span(bounce_).first(bytes));
    const std::uint64_t whole = got.done - got.done % unit;
    if (whole == 0) return got;
    const Outcome put = write(to, std::span<const std::byte>(bounce_).first(whole));
    return put.rc == VME_OK ? got : put;
  }
  Outcome fill(std::uint64_t gpa, std::byte value, std::uint64_t bytes) override {
    vm_mem::memset_raw(bounce_.data(), std::to_integer<int>(value), bytes);
    return write(gpa, std::span<const std::byte>(bounce_).first(bytes));
  }
  Outcome load(std::uint64_t gpa, std::span<std::byte> to) override {
    const Outcome got = read(gpa, to);
    std::atomic_thread_fence(std::memory_order_acquire);
    return got;
  }
  Outcome store(std::uint64_t gpa, std::span<const std::byte> from) override {
    std::atomic_thread_fence(std::memory_order_release);
    return write(gpa, from);
  }

 private:
  static Outcome outcome(std::uint64_t done, std::uint64_t bytes, std::uint32_t why,
                         std::uint8_t side) {
    if (done >= bytes) return Outcome{.done = bytes, .side = side};
    return Outcome{.done = done, .rc = why == VME_OK ? VME_BUS : rc_of(why), .side = side};
  }

  vme_memory_ops ops_;
  void* opaque_;
  std::array<std::byte, kPageBytes> bounce_{};
};

}  // namespace

std::unique_ptr<GuestMemory> make_callback_memory(const vme_memory_ops& ops, void* opaque) {
  return std::unique_ptr<GuestMemory>(new (std::nothrow) CallbackMemory(ops, opaque));
}

}  // namespace vm_engine::internal
