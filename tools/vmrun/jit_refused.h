// Code that was looked at and cannot be translated: it is not looked at again each time that
// it runs.
#ifndef VMRUN_JIT_REFUSED_H_
#define VMRUN_JIT_REFUSED_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrun {

// Of fixed size: what is added may take the place of another one.
class JitRefused {
 public:
  struct Code {
    std::uint64_t pc = 0;
    std::uint64_t host = 0;   // where its first instruction is
    std::uint64_t epoch = 0;  // of the hart's code
    friend constexpr bool operator==(const Code&, const Code&) = default;
  };

  bool has(const Code& code) const { return codes_[slot_of(code)] == code; }
  void add(const Code& code) { codes_[slot_of(code)] = code; }

 private:
  static constexpr std::size_t kSlots = 1024;
  static std::size_t slot_of(const Code& code) {
    // Where pages end is where most of them are.
    return ((code.pc >> 1) ^ (code.pc >> 12)) % kSlots;
  }

  std::array<Code, kSlots> codes_{};
};

}  // namespace vmrun

#endif  // VMRUN_JIT_REFUSED_H_
