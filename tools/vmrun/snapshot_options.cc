#include "tools/vmrun/snapshot_options.h"

#include <utility>

#include <fmt/format.h>

namespace vmrun {
namespace {

command_line::Exit usage_error(const std::string& text) {
  return command_line::usage_error("vmrun", text);
}

// What the snapshot has brought to the machine already.
constexpr const char* kBootOptions[] = {"--firmware", "--kernel", "--initrd", "--append"};

}  // namespace

std::optional<command_line::Exit> read_snapshot_options(
    const TypedSnapshot& typed, const std::function<bool(const char*)>& is_given,
    SnapshotOptions& out) {
  for (const auto& [name, file] :
       {std::pair("--save", &typed.save), {"--restore", &typed.restore}}) {
    if (is_given(name) && file->empty()) {
      return usage_error(fmt::format("{}: a file name is needed", name));
    }
  }
  if (typed.save.empty() != !is_given("--at")) {
    return usage_error(typed.save.empty() ? "--at: needs --save" : "--save: needs --at");
  }
  if (typed.lazy && typed.restore.empty()) return usage_error("--lazy: needs --restore");
  if (!typed.save.empty() && is_given("--gdb")) {
    return usage_error("--save: not with --gdb, which holds the machine");
  }
  for (const char* name : kBootOptions) {
    if (!typed.restore.empty() && is_given(name)) {
      return usage_error(fmt::format("{}: not with --restore, which does not boot", name));
    }
  }
  if (!typed.save.empty()) {
    const auto mark = parse_save_mark(typed.at);
    if (!mark) {
      return usage_error(std::string("--at: a text, or instructions:NUMBER above 0, is needed"));
    }
    out.at = *mark;
  }
  out.save = typed.save;
  out.restore = typed.restore;
  out.mode = typed.lazy ? RestoreMode::kLazy : RestoreMode::kEager;
  out.has_memory = is_given("--memory");
  out.has_harts = is_given("--harts");
  out.has_iommu = is_given("--iommu");
  return std::nullopt;
}

}  // namespace vmrun
