// Where a run is saved, and what a session knows beside the machine.
#ifndef VMRUN_SAVE_POINT_H_
#define VMRUN_SAVE_POINT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "vm_device/state_bytes.h"

namespace vmrun {

// "instructions:N", "text:TEXT", or any other text, which stands for itself.
struct SaveMark {
  std::string text = {};  // that the guest prints; empty: so many instructions are executed
  std::uint64_t instructions = 0;
};

// nullopt: an empty text, or no number above 0.
std::optional<SaveMark> parse_save_mark(std::string_view text);

// Of a line of the console, or one that is typed. What is beyond is no prompt.
inline constexpr std::size_t kMostLineBytes = 4096;

// What the guest has printed since its last end of line, as far as somebody who looks for a
// prompt has to know it.
class ConsoleLine {
 public:
  void hear(char byte);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// What a session goes on with.
struct SavedSession {
  std::uint64_t slice_left = 0;  // instructions before it looks around; 0: a new slice begins
  std::uint64_t polls_before = 0;
  std::uint64_t idle_slices = 0;
  std::string console_line = {};
  std::optional<std::string> typing = std::nullopt;  // what was not finished

  static constexpr std::uint32_t kVersion = 1;
  void save(vm_device::StateWriter& to) const;
  void load(vm_device::StateReader& from);
};

class SavePoint {
 public:
  // Gives what it has done, for the user.
  using Save = std::function<absl::StatusOr<std::string>(const SavedSession&)>;

  // `reached` is called once, when the text was printed.
  SavePoint(SaveMark mark, Save save, std::function<void()> reached)
      : mark_(std::move(mark)), save_(std::move(save)), reached_(std::move(reached)) {}

  // The guest has printed this.
  void hear(char byte);
  // In a line that began before, which does not count.
  void go_on(const std::string& console_line);

  // How many instructions the machine may have executed, at most.
  std::optional<std::uint64_t> instructions() const;
  bool is_due(std::uint64_t retired) const;
  // Of the console line this object knows itself.
  absl::StatusOr<std::string> save(SavedSession session);
  // "the guest never printed '=> '"
  std::string missed() const;

 private:
  SaveMark mark_;
  Save save_;
  std::function<void()> reached_;
  std::string recent_;  // as much as the text is long
  bool is_printed_ = false;
  ConsoleLine line_;
};

}  // namespace vmrun

#endif  // VMRUN_SAVE_POINT_H_
