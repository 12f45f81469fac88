// The judgement of one look; sampling is in profiler.cc.

#include "tools/vmrun/profile.h"

#include <cmath>
#include <initializer_list>
#include <numeric>

namespace vmrun {
namespace {

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> beginnings) {
  for (const std::string_view beginning : beginnings) {
    if (text.starts_with(beginning)) return true;
  }
  return false;
}

bool has_any(std::string_view text, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) {
    if (text.find(part) != std::string_view::npos) return true;
  }
  return false;
}

bool is_memory(Place place) { return place == Place::kMemory || place == Place::kScalarMemory; }
bool is_engine(Place place) { return place == Place::kEngine || place == Place::kBulkEngine; }

Finding judge_memory(std::span<const Place> stack) {
  bool is_copy = true;
  for (const Place place : stack) {
    if (place == Place::kScalarMemory) is_copy = false;
    if (is_memory(place) || place == Place::kElsewhere) continue;
    if (place == Place::kDevices) return {Activity::kDma, is_copy};
    return {is_engine(place) ? Activity::kEngine : Activity::kCpu, is_copy};
  }
  return {Activity::kCpu, is_copy};
}

Finding judge_engine(std::span<const Place> stack) {
  for (const Place place : stack) {
    if (place == Place::kBulkEngine) return {Activity::kEngine, true};
    if (!is_engine(place)) break;
  }
  return {Activity::kEngine, false};
}

// What the translator calls to decode is part of it.
Finding judge_machine(std::span<const Place> stack) {
  for (const Place place : stack) {
    if (place == Place::kTranslation) return {Activity::kTranslation, false};
    if (place == Place::kTranslated) break;
  }
  return {Activity::kMachine, false};
}

}  // namespace

const char* activity_name(Activity activity) {
  switch (activity) {
    case Activity::kTranslated: return "translated";
    case Activity::kMachine: return "machine";
    case Activity::kTranslation: return "translation";
    case Activity::kWaiting: return "waiting";
    case Activity::kCpu: return "cpu";
    case Activity::kDma: return "dma";
    case Activity::kEngine: return "engine";
    default: return "other";
  }
}

std::uint64_t Profile::total() const {
  return std::accumulate(samples.begin(), samples.end(), std::uint64_t{0});
}

double Profile::share(Activity activity) const {
  if (total() == 0) return 0;
  return static_cast<double>(samples[static_cast<std::size_t>(activity)]) /
         static_cast<double>(total());
}

double Profile::copies_share() const {
  return total() == 0 ? 0 : static_cast<double>(copies) / static_cast<double>(total());
}

double Profile::copies_error() const {
  if (total() == 0) return 0;
  const double share = copies_share();
  return std::sqrt(share * (1 - share) / static_cast<double>(total()));
}

Place place_of(std::string_view function) {
  constexpr std::string_view kThunk = "non-virtual thunk to ";
  if (function.starts_with(kThunk)) function.remove_prefix(kThunk.size());
  if (function.starts_with("vmrun::")) {
    if (has_any(function, {"Terminal::wait(", "HostSlots::wait("})) return Place::kWaiting;
    if (has_any(function, {"::make_block(", "::translate("})) return Place::kTranslation;
    return Place::kMachine;
  }
  if (function.starts_with("asmjit::")) return Place::kTranslation;
  if (function.starts_with("vm_device::")) return Place::kDevices;
  if (begins_with_any(function, {"vme_copy", "vme_fill", "vme_read", "vme_write"})) {
    return Place::kBulkEngine;
  }
  if (begins_with_any(function, {"vm_engine::", "vme_"})) return Place::kEngine;
  if (!function.starts_with("vm_mem::")) return Place::kElsewhere;
  return has_any(function, {"_bits(", "_device(", "_element("}) ? Place::kScalarMemory
                                                                : Place::kMemory;
}

Finding judge(std::span<const Place> stack) {
  while (!stack.empty() && stack.front() == Place::kElsewhere) stack = stack.subspan(1);
  if (stack.empty()) return {};
  switch (stack.front()) {
    case Place::kTranslated: return {Activity::kTranslated, false};
    case Place::kTranslation: return {Activity::kTranslation, false};
    case Place::kWaiting: return {Activity::kWaiting, false};
    case Place::kDevices: return {Activity::kDma, false};
    case Place::kMachine: return judge_machine(stack);
    case Place::kMemory:
    case Place::kScalarMemory: return judge_memory(stack);
    default: return judge_engine(stack);
  }
}

}  // namespace vmrun
