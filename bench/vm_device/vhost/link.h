// A front end's connection to a vhost-user back end.
#ifndef BENCH_VM_DEVICE_VHOST_LINK_H_
#define BENCH_VM_DEVICE_VHOST_LINK_H_

#include <cstdint>
#include <initializer_list>
#include <string>

#include "bench/vm_device/vhost/back_end.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_device/internal/vhost_user_protocol.h"

namespace vm_bench {

// Whatever fails ends the program, with a line that says what. The payload of a message are
// words of 64 bits.
class VhostLink {
 public:
  using Request = vm_device::internal::VhostUserRequest;

  explicit VhostLink(const BackEnd& back_end);

  void tell(Request request, std::initializer_list<std::uint64_t> payload, int descriptor = -1);
  // The last word of the answer.
  std::uint64_t ask(Request request, std::initializer_list<std::uint64_t> payload = {},
                    int descriptor = -1);
  // The back end can say whether it has done what it was told: it has to from here on.
  void use_acknowledgements() { acknowledges_ = true; }

 private:
  void send(Request request, std::uint32_t flags, std::initializer_list<std::uint64_t> payload,
            int descriptor);
  std::uint64_t receive(Request request);
  [[noreturn]] void give_up_on(const std::string& what) const;

  std::string name_;
  vm_device::internal::OwnedFd socket_;
  bool acknowledges_ = false;
};

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_VHOST_LINK_H_
