// A vhost-user back end in a process of its own.
#ifndef BENCH_VM_DEVICE_VHOST_BACK_END_H_
#define BENCH_VM_DEVICE_VHOST_BACK_END_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "bench/harness/process.h"

namespace vm_bench {

// Whatever fails ends this program, with a line that says what.
class BackEnd {
 public:
  // Starts a program on the CPUs that stay_on_one_cpu() has left, and waits until it listens.
  // In its words "%s" stands for the path of the socket. It ends with this object, or with
  // this program.
  explicit BackEnd(const std::vector<std::string>& words);
  BackEnd(const BackEnd&) = delete;
  BackEnd& operator=(const BackEnd&) = delete;
  ~BackEnd();

  const std::string& name() const { return name_; }
  const std::string& socket() const { return socket_.path(); }
  // CPU time of the process up to now.
  double cpu_ns() const;

 private:
  void wait_until_it_listens();

  std::string name_;
  const ScratchFile socket_{""};  // or what the back end makes there
  pid_t process_ = 0;
  clockid_t clock_{};
};

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_VHOST_BACK_END_H_
