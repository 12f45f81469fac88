// Hand-written code with instructions that may fault, as an emitter would make it: each
// has a landing pad. It lies between vm_test_sites and vm_test_sites_end.
#ifndef TESTS_VM_ENGINE_FAULT_SITES_H_
#define TESTS_VM_ENGINE_FAULT_SITES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "vm_engine/vm_engine.h"

extern "C" {
extern const std::byte vm_test_sites[];
extern const std::byte vm_test_sites_end[];
extern const std::byte vm_test_load_site[];
extern const std::byte vm_test_load_land[];
extern const std::byte vm_test_store_site[];
extern const std::byte vm_test_store_land[];
extern const std::byte vm_test_copy_load_site[];
extern const std::byte vm_test_copy_store_site[];
extern const std::byte vm_test_copy_land[];
extern const std::byte vm_test_frame_load_site[];
extern const std::byte vm_test_frame_load_land[];

// Eight bytes at base + index. *faulted is set to 0, or 1 where the access faulted.
std::uint64_t vm_test_load(const void* base, std::uint64_t index, std::uint64_t* faulted);
void vm_test_store(void* base, std::uint64_t index, std::uint64_t value, std::uint64_t* faulted);
// Byte by byte; returns how many were copied.
std::uint64_t vm_test_copy(void* to, const void* from, std::uint64_t bytes);
// Eight bytes at base + index, by the frame's register; returns 1 where the access faulted.
std::uint64_t vm_test_frame_load(const void* base, std::uint64_t index);
}

namespace vm_test {

// Indexes with which no base is an address of a process.
std::vector<std::uint64_t> lost_indexes();

inline std::uint32_t offset_of(const std::byte* label) {
  return static_cast<std::uint32_t>(label - vm_test_sites);
}

inline constexpr std::uint16_t kLoadCookie = 71;
inline constexpr std::uint16_t kStoreCookie = 72;
inline constexpr std::uint64_t kGuestPc = 0x4000;

inline std::vector<vme_site> fault_sites(std::uint8_t flags) {
  const auto site = [&](const std::byte* at, const std::byte* land, int access,
                        std::uint8_t size_log2, std::uint16_t cookie, std::uint64_t pc) {
    const int side = access == VME_ACCESS_WRITE ? VME_SIDE_DESTINATION : VME_SIDE_SOURCE;
    return vme_site{.pc_off = offset_of(at),
                    .land_off = offset_of(land),
                    .access = static_cast<std::uint8_t>(access),
                    .size_log2 = size_log2,
                    .side = static_cast<std::uint8_t>(side),
                    .flags = flags,
                    .cookie = cookie,
                    .adj = 0,
                    .guest_pc = pc};
  };
  return {
      site(vm_test_load_site, vm_test_load_land, VME_ACCESS_READ, 3, kLoadCookie, kGuestPc),
      site(vm_test_store_site, vm_test_store_land, VME_ACCESS_WRITE, 3, kStoreCookie, kGuestPc + 4),
      site(vm_test_copy_load_site, vm_test_copy_land, VME_ACCESS_READ, 0, 73, kGuestPc + 8),
      site(vm_test_copy_store_site, vm_test_copy_land, VME_ACCESS_WRITE, 0, 74, kGuestPc + 8),
      site(vm_test_frame_load_site, vm_test_frame_load_land, VME_ACCESS_READ, 3, 75, kGuestPc)};
}

inline void* code_base() { return const_cast<std::byte*>(vm_test_sites); }
inline std::uint64_t code_bytes() {
  return static_cast<std::uint64_t>(vm_test_sites_end - vm_test_sites);
}

// The code, registered.
class FaultCode {
 public:
  explicit FaultCode(vme_engine* engine, std::uint8_t flags = 0) {
    const std::vector<vme_site> sites = fault_sites(flags);
    if (vme_code_register(engine, code_base(), code_bytes(), sites.data(), sites.size(), &code_) !=
        VME_OK) {
      throw std::runtime_error("vme_code_register");
    }
  }
  FaultCode(const FaultCode&) = delete;
  FaultCode& operator=(const FaultCode&) = delete;
  ~FaultCode() { unregister(); }

  vme_code* get() const { return code_; }
  vme_rc unregister() { return vme_code_unregister(std::exchange(code_, nullptr)); }

 private:
  vme_code* code_ = nullptr;
};

}  // namespace vm_test

#endif  // TESTS_VM_ENGINE_FAULT_SITES_H_
