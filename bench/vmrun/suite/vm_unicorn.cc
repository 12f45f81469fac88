// The vm suite, beside Unicorn: one source of copies, its loops on Unicorn's CPU and on ours,
// translated, and its bulk copies on ours.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/suite.h"
#include "bench/peers/unicorn.h"
#include "bench/vm_mem/suite/started_session.h"
#include "tools/vmrun/hart.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {
namespace {

using vmrun::LoopMode;

// As bench/vmrun/guest/pass.S and copies.c have them.
constexpr std::uint64_t kCode = 0x8000'0000;
constexpr std::uint64_t kDone = kCode + 4;
constexpr std::uint64_t kBuffers = 0x8010'0000;
constexpr std::uint64_t kBufferBytes = 2 << 20;
constexpr std::uint64_t kRamBytes = 4 << 20;
constexpr std::uint64_t kManyInstructions = 1 << 24;

using Bytes = std::vector<std::byte>;

Bytes program(const std::string& name) {
  std::ifstream file(VM_BENCH_GUESTS "/copies_" + name + ".bin", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty()) give_up("no guest program copies_" + name);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Bytes content() {
  Bytes out(kBufferBytes);
  std::uint64_t state = 1;
  for (std::byte& byte : out) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<std::byte>(state >> 56);
  }
  return out;
}

// A translating hart and RAM.
class Ours {
 public:
  Ours(const Bytes& guest, LoopMode loops) {
    const auto ram = vm_mem::GuestRange::make(vm_mem::GuestAddress{kCode}, kRamBytes);
    static_cast<void>(memory_
                          ->add_ram(*ram, {.dirty_tracking = vm_mem::DirtyTracking::kOn,
                                           .code_watch = vm_mem::CodeWatching::kOn})
                          .value());
    static_cast<void>(memory_->write(vm_mem::GuestAddress{kCode}, guest));
    static_cast<void>(memory_->write(vm_mem::GuestAddress{kBuffers}, content()));
    hart_->set_loop_mode(loops);
    if (!hart_->use_jit({}).ok()) std::abort();
  }

  void pass() {
    hart_->state().pc = kCode;
    while (hart_->run(kManyInstructions) != vmrun::StopReason::kWait) continue;
  }
  Bytes buffers() {
    Bytes out(kBufferBytes);
    static_cast<void>(memory_->read(vm_mem::GuestAddress{kBuffers}, out));
    return out;
  }

 private:
  std::unique_ptr<vm_mem::MemoryManager> memory_ = vm_mem::MemoryManager::create({}).value();
  std::unique_ptr<vmrun::Hart> hart_ = vmrun::Hart::create(*memory_).value();
};

class Theirs {
 public:
  explicit Theirs(const Bytes& guest) {
    cpu_.write(kCode, guest);
    cpu_.write(kBuffers, content());
  }

  void pass() const { cpu_.run(kCode, kDone); }
  Bytes buffers() const {
    Bytes out(kBufferBytes);
    cpu_.read(kBuffers, out);
    return out;
  }

 private:
  UnicornRiscv cpu_{{kCode, kRamBytes}};
};

Regime beside_unicorn(std::string name, std::string guest, LoopMode loops) {
  std::string missing{unicorn_missing()};
  if (missing.empty()) missing = VM_BENCH_NO_GUESTS;
  return {std::move(name),
          [guest, loops](Session& session) -> Ratio {
            Ours ours(program(guest), loops);
            const Theirs theirs(program("loops"));
            ours.pass();
            theirs.pass();
            if (ours.buffers() != theirs.buffers()) give_up("the copies differ");
            const Contest contest{.ours = passes_of([&] { ours.pass(); }),
                                  .peer = passes_of([&] { theirs.pass(); })};
            const Outcome outcome = settle(contest, session.effort());
            return {outcome, "unicorn", in_nanoseconds(outcome)};
          },
          std::move(missing)};
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  using vm_bench::beside_unicorn, vm_bench::LoopMode;
  vm_bench::Session session = vm_bench::started_session("vm", argc, argv);
  return vm_bench::run_suite(session,
                             {beside_unicorn("unicorn_cpy", "bulk", LoopMode::kRecognised),
                              beside_unicorn("unicorn_loop", "loops", LoopMode::kRecognised),
                              beside_unicorn("unicorn_plain", "loops", LoopMode::kPlain)});
}
