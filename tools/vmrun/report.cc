#include "tools/vmrun/report.h"

#include <array>

#include <fmt/format.h>

#include "tools/json/json.h"

namespace vmrun {
namespace {

using vm_mem::CopyPath;
using vm_mem::PathCount;
using vm_mem::Route;

constexpr std::array kRoutes = {Route::kCpu, Route::kDma, Route::kEngine, Route::kSnapshot};
constexpr std::array kPaths = {CopyPath::kInline, CopyPath::kVector, CopyPath::kStream};

std::string route_json(const Report& report, Route route) {
  std::string out;
  for (const CopyPath path : kPaths) {
    const PathCount& count = report.traffic.at(route, path);
    out += fmt::format(R"({}"{}": {{"operations": {}, "bytes": {}}})", out.empty() ? "" : ", ",
                       vm_mem::copy_path_name(path), count.operations, count.bytes);
  }
  return fmt::format(R"("{}": {{{}}})", vm_mem::route_name(route), out);
}

struct JitCounter {
  const char* name;
  std::uint64_t JitStatistics::*value;
};
constexpr std::array kJitCounters = {JitCounter{"decoded", &JitStatistics::decoded},
                                     JitCounter{"translated", &JitStatistics::translated},
                                     JitCounter{"invalidated", &JitStatistics::invalidated},
                                     JitCounter{"dispatches", &JitStatistics::dispatches},
                                     JitCounter{"links", &JitStatistics::links},
                                     JitCounter{"flushes", &JitStatistics::flushes},
                                     JitCounter{"hot", &JitStatistics::hot},
                                     JitCounter{"interpreted", &JitStatistics::interpreted},
                                     JitCounter{"cold", &JitStatistics::cold}};

std::string jit_json(const std::optional<JitStatistics>& jit) {
  if (!jit) return "null";
  std::string out;
  for (const auto& [name, value] : kJitCounters) {
    out += fmt::format(R"({}"{}": {})", out.empty() ? "" : ", ", name, *jit.*value);
  }
  return "{" + out + "}";
}

std::string jit_text(const JitStatistics& jit) {
  std::string out;
  for (const auto& [name, value] : kJitCounters) {
    out += fmt::format("jit {:<11}{:>14}\n", name, jit.*value);
  }
  return out;
}

std::string profile_json(const Report& report) {
  if (!report.profile) return "null";
  const Profile& profile = *report.profile;
  std::string out;
  for (std::size_t i = 0; i < kActivities; ++i) {
    const auto activity = static_cast<Activity>(i);
    out += fmt::format(R"({}"{}": {:.6f})", out.empty() ? "" : ", ", activity_name(activity),
                       profile.share(activity) * report.wall_seconds);
  }
  return fmt::format(
      R"({{"samples": {}, "copies_share": {:.6f}, "copies_error": {:.6f}, "seconds": {{{}}}}})",
      profile.total(), profile.copies_share(), profile.copies_error(), out);
}

std::string profile_text(const Report& report) {
  const Profile& profile = *report.profile;
  std::string out = fmt::format("samples        {:>14}\n", profile.total());
  for (std::size_t i = 0; i < kActivities; ++i) {
    const auto activity = static_cast<Activity>(i);
    if (profile.samples[i] == 0) continue;
    out +=
        fmt::format("time {:<12}{:>12.2f} s {:>6.1f} %\n", activity_name(activity),
                    profile.share(activity) * report.wall_seconds, profile.share(activity) * 100);
  }
  return out + fmt::format("in copies      {:>14.1f} % (+- {:.1f})\n", profile.copies_share() * 100,
                           profile.copies_error() * 100);
}

}  // namespace

double Report::guest_mips() const {
  return wall_seconds > 0
             ? static_cast<double>(instructions - instructions_before) / wall_seconds / 1e6
             : 0;
}

std::string as_text(const Report& report) {
  std::string out = fmt::format("--- vmrun: {} after {:.2f} s\n", report.end, report.wall_seconds);
  out += fmt::format("instructions   {:>14}   {:.0f} guest MIPS\n", report.instructions,
                     report.guest_mips());
  out += fmt::format("pages dirtied  {:>14}\n", report.pages_dirtied);
  if (report.iommu_faults.has_value()) {
    out += fmt::format("iommu faults   {:>14}\n", *report.iommu_faults);
  }
  if (report.state_hash) out += fmt::format("state hash   {:016x}\n", *report.state_hash);
  if (report.jit) out += jit_text(*report.jit);
  if (report.profile) out += profile_text(report);
  out += fmt::format("copy core      {:>14}\n", report.isa);
  out += fmt::format("{:<8} {:<8} {:>14} {:>16}\n", "route", "path", "operations", "bytes");
  for (const Route route : kRoutes) {
    for (const CopyPath path : kPaths) {
      const PathCount& count = report.traffic.at(route, path);
      if (count.operations == 0) continue;
      out += fmt::format("{:<8} {:<8} {:>14} {:>16}\n", vm_mem::route_name(route),
                         vm_mem::copy_path_name(path), count.operations, count.bytes);
    }
  }
  return out;
}

std::string as_json(const Report& report) {
  std::string routes;
  for (const Route route : kRoutes) {
    routes += (routes.empty() ? "" : ", ") + route_json(report, route);
  }
  return fmt::format(
      R"({{"end": {}, "message": {}, "isa": {}, "instructions": {}, "wall_seconds": {:.6f}, )"
      R"("guest_mips": {:.3f}, "pages_dirtied": {}, "iommu_faults": {}, "state_hash": {}, )"
      R"("jit": {}, "profile": {}, "routes": {{{}}}}})"
      "\n",
      json_text::quoted(report.end), json_text::quoted(report.message),
      json_text::quoted(report.isa), report.instructions, report.wall_seconds, report.guest_mips(),
      report.pages_dirtied,
      report.iommu_faults.has_value() ? fmt::to_string(*report.iommu_faults) : "null",
      report.state_hash ? fmt::format("\"{:016x}\"", *report.state_hash) : "null",
      jit_json(report.jit), profile_json(report), routes);
}

}  // namespace vmrun
