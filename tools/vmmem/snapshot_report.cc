#include "tools/vmmem/snapshot_report.h"
#include "tools/command_line/printable.h"

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <string_view>

#include <fmt/format.h>

#include "tools/json/json.h"
#include "tools/vmmem/console.h"

namespace vmmem {
namespace {

using command_line::printable;

using json_text::Json;
using vm_mem::GuestRange;
using vm_mem::kGuestPageBytes;
using vm_mem::Snapshot;
using vm_mem::SnapshotFiles;
using vm_mem::SnapshotInfo;

constexpr std::size_t kColumns = 32;

std::string hex(std::uint64_t value) { return fmt::format("0x{:x}", value); }

std::string pages_text(std::uint64_t pages) {
  return fmt::format("{} ({})", counted(pages, "page"), amount(pages * kGuestPageBytes));
}

// What a file says may be no time that has a year.
std::string time_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  char text[64];
  if (gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
    return fmt::format("{} s after 1970", seconds);
  }
  return text;
}

// Of the pages in `ranges`, those in [begin, end).
std::uint64_t bytes_within(const std::vector<GuestRange>& ranges, std::uint64_t begin,
                           std::uint64_t end) {
  auto range = std::ranges::lower_bound(ranges, begin, {},
                                        [](const GuestRange& each) { return each.begin().value; });
  if (range != ranges.begin() && std::prev(range)->end().value > begin) --range;
  std::uint64_t bytes = 0;
  for (; range != ranges.end() && range->begin().value < end; ++range) {
    bytes += std::min(end, range->end().value) - std::max(begin, range->begin().value);
  }
  return bytes;
}

std::uint64_t bytes_within(const std::vector<GuestRange>& ranges, const GuestRange& region) {
  return bytes_within(ranges, region.begin().value, region.end().value);
}

std::string density_bar(const GuestRange& region, const std::vector<GuestRange>& ranges) {
  std::string bar;
  for (const double part : density(region, ranges, kColumns)) {
    bar += part == 0 ? ' ' : part < 0.25 ? '.' : part < 0.75 ? '+' : '#';
  }
  return bar;
}

std::uint64_t memory_of(const SnapshotInfo& info) { return info.guest_pages * kGuestPageBytes; }

std::string parent_text(const SnapshotInfo& info) {
  if (info.parent.is_zero()) return "none: the file needs no other";
  return fmt::format("{}, snapshot {}", printable(info.parent_name), info.parent.text());
}

std::string features_text(const vm_mem::SnapshotFeatures& features) {
  return fmt::format("readers 0x{:x}, writers 0x{:x}, others 0x{:x}", features.incompatible,
                     features.read_only_compatible, features.compatible);
}

std::string file_text(const SnapshotInfo& info) {
  const std::string zeros =
      info.parent.is_zero() ? "" : fmt::format(", {} that became zero", info.zero_pages);
  const std::string packed =
      info.stored_pages == info.data_pages
          ? ""
          : fmt::format(" compressed to {}", amount(info.stored_pages * kGuestPageBytes));
  return fmt::format("{}{}{}, {}, {} on the disk", pages_text(info.data_pages), packed, zeros,
                     counted(info.extents, "extent"), amount(info.file_bytes));
}

std::string chain_text(const Snapshot& snapshot, const absl::Status& parents) {
  const SnapshotInfo& info = snapshot.info();
  if (!parents.ok()) {
    return fmt::format("\nchain        {} below, which cannot be read:\n             {}\n",
                       counted(info.depth, "parent"), printable(message_of(parents)));
  }
  std::string text = "\nchain, the youngest first\n";
  std::string name = printable(snapshot.path());
  for (const SnapshotInfo& file : snapshot.chain()) {
    text += fmt::format("  {}  {}  {}\n", file.id.text(), time_text(file.created), name);
    text += fmt::format("      {}\n", file_text(file));
    name = printable(file.parent_name);
  }
  return text;
}

std::string regions_text(const Snapshot& snapshot, const absl::Status& parents) {
  const auto own = data_ranges(snapshot, SnapshotFiles::kYoungest);
  const auto all = data_ranges(snapshot, SnapshotFiles::kOpen);
  std::string text = fmt::format(
      "\nregions, and how full their parts are{}:\n"
      "' ' empty, '.' below 25 %, '+' below 75 %, '#' more\n",
      parents.ok() ? "" : ", by this file alone");
  for (const GuestRange& region : snapshot.info().regions) {
    const std::uint64_t bytes = bytes_within(all, region);
    text += fmt::format("  {}  {}, of which {} ({:.1f} %), {} in this file\n  [{}]\n",
                        range_text(region), amount(region.bytes()), amount(bytes),
                        100 * static_cast<double>(bytes) / static_cast<double>(region.bytes()),
                        amount(bytes_within(own, region)), density_bar(region, all));
  }
  return text;
}

std::string states_text(const SnapshotInfo& info) {
  if (info.states.empty()) return "\nstates       none\n";
  std::string text = "\nstates\n";
  for (const vm_mem::DeviceStateInfo& state : info.states) {
    text += fmt::format("  {}  version {}, {}\n", printable(state.id), state.version,
                        amount(state.bytes));
  }
  return text;
}

void add_features(const vm_mem::SnapshotFeatures& features, Json& json) {
  json.open_object("features");
  json.add("readers", hex(features.incompatible));
  json.add("writers", hex(features.read_only_compatible));
  json.add("others", hex(features.compatible));
  json.close();
}

void add_file(const SnapshotInfo& info, Json& json) {
  json.add("id", info.id.text());
  json.add("created", time_text(info.created));
  json.add("depth", std::uint64_t{info.depth});
  json.add("data_pages", info.data_pages);
  json.add("stored_pages", info.stored_pages);
  json.add("zero_pages", info.zero_pages);
  json.add("extents", info.extents);
  json.add("file_bytes", info.file_bytes);
}

void add_range(const GuestRange& range, Json& json) {
  json.add("begin", hex(range.begin().value));
  json.add("bytes", range.bytes());
}

void add_ranges(std::string_view key, const std::vector<GuestRange>& ranges, Json& json) {
  json.open_array(key);
  for (const GuestRange& range : ranges) {
    json.open_object("");
    add_range(range, json);
    json.close();
  }
  json.close();
}

void add_names(std::string_view key, const std::vector<std::string>& names, Json& json) {
  json.open_array(key);
  for (const std::string& name : names) json.add("", printable(name));
  json.close();
}

void add_chain(const Snapshot& snapshot, const absl::Status& parents, Json& json) {
  const SnapshotInfo& info = snapshot.info();
  if (!info.parent.is_zero()) {
    json.open_object("parent");
    json.add("id", info.parent.text());
    json.add("name", printable(info.parent_name));
    json.close();
  }
  if (!parents.ok()) json.add("parents_error", printable(message_of(parents)));
  json.open_array("chain");
  for (const SnapshotInfo& file : snapshot.chain()) {
    json.open_object("");
    add_file(file, json);
    json.close();
  }
  json.close();
}

void add_regions(const Snapshot& snapshot, Json& json) {
  const auto own = data_ranges(snapshot, SnapshotFiles::kYoungest);
  const auto all = data_ranges(snapshot, SnapshotFiles::kOpen);
  json.open_array("regions");
  for (const GuestRange& region : snapshot.info().regions) {
    json.open_object("");
    add_range(region, json);
    json.add("data_bytes", bytes_within(all, region));
    json.add("data_bytes_in_file", bytes_within(own, region));
    json.open_array("density");
    for (const double part : density(region, all, kColumns)) json.add("", part);
    json.close();
    json.close();
  }
  json.close();
}

std::uint64_t bytes_of(const std::vector<GuestRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const GuestRange& range : ranges) bytes += range.bytes();
  return bytes;
}

std::string ranges_text(const std::vector<GuestRange>& ranges, std::string_view what) {
  std::string text;
  for (const GuestRange& range : ranges) {
    text += fmt::format("{}  {}{}\n", range_text(range),
                        pages_text(range.bytes() / kGuestPageBytes), what);
  }
  return text;
}

std::string names_text(const std::vector<std::string>& names, std::string_view what) {
  std::string text;
  for (const std::string& name : names)
    text += fmt::format("state {}  {}\n", printable(name), what);
  return text;
}

bool has_same_regions(const DiffReport& report) {
  return report.first.info().regions == report.second.info().regions;
}

}  // namespace

std::string range_text(const GuestRange& range) {
  return fmt::format("0x{:x}-0x{:x}", range.begin().value, range.end().value - 1);
}

std::vector<double> density(const GuestRange& region, const std::vector<GuestRange>& ranges,
                            std::size_t columns) {
  const std::uint64_t pages = region.bytes() / kGuestPageBytes;
  columns = std::min<std::size_t>(columns, pages);
  std::vector<double> parts;
  const auto edge = [&](std::size_t column) {
    return region.begin().value + pages * column / columns * kGuestPageBytes;
  };
  for (std::size_t i = 0; i < columns; ++i) {
    parts.push_back(static_cast<double>(bytes_within(ranges, edge(i), edge(i + 1))) /
                    static_cast<double>(edge(i + 1) - edge(i)));
  }
  return parts;
}

std::string inspect_text(const Snapshot& snapshot, const absl::Status& parents) {
  const SnapshotInfo& info = snapshot.info();
  std::string text = fmt::format("file         {}\n", printable(snapshot.path()));
  text += fmt::format("snapshot     {}, of {}\n", info.id.text(), time_text(info.created));
  text += fmt::format("format       {}.{}, features for {}\n", info.format_major, info.format_minor,
                      features_text(info.features));
  text += fmt::format("parent       {}\n", parent_text(info));
  text += fmt::format("memory       {} in {}\n", amount(memory_of(info)),
                      counted(info.regions.size(), "region"));
  text += fmt::format("in this file {}\n", file_text(info));
  text += fmt::format("working set  {}\n", pages_text(info.working_set_pages));
  if (!info.parent.is_zero()) text += chain_text(snapshot, parents);
  return text + regions_text(snapshot, parents) + states_text(info);
}

std::string inspect_json(const Snapshot& snapshot, const absl::Status& parents) {
  const SnapshotInfo& info = snapshot.info();
  Json json;
  json.add("file", printable(snapshot.path()));
  json.add("format", fmt::format("{}.{}", info.format_major, info.format_minor));
  add_features(info.features, json);
  add_file(info, json);
  json.add("guest_pages", info.guest_pages);
  json.add("working_set_pages", info.working_set_pages);
  add_chain(snapshot, parents, json);
  add_regions(snapshot, json);
  json.open_array("states");
  for (const vm_mem::DeviceStateInfo& state : info.states) {
    json.open_object("");
    json.add("id", printable(state.id));
    json.add("version", std::uint64_t{state.version});
    json.add("bytes", state.bytes);
    json.close();
  }
  return std::move(json).text();
}

bool DiffReport::is_same() const { return diff.empty() && has_same_regions(*this); }

std::string diff_text(const DiffReport& report) {
  const std::string first = printable(report.first.path());
  const std::string second = printable(report.second.path());
  const vm_mem::SnapshotDiff& diff = report.diff;
  if (report.is_same()) {
    return fmt::format("{} and {} are the same: {} of memory, {}\n", first, second,
                       amount(memory_of(report.first.info())),
                       counted(report.first.states().size(), "state"));
  }
  std::string text = ranges_text(diff.pages, "");
  text += ranges_text(diff.only_first, " of memory only in " + first);
  text += ranges_text(diff.only_second, " of memory only in " + second);
  text += names_text(diff.states, "differs");
  text += names_text(diff.states_only_first, "only in " + first);
  text += names_text(diff.states_only_second, "only in " + second);
  if (!has_same_regions(report)) text += "regions differ\n";
  const std::size_t states =
      diff.states.size() + diff.states_only_first.size() + diff.states_only_second.size();
  return text + fmt::format("{} and {} differ: {} in {}, {}\n", first, second,
                            pages_text(bytes_of(diff.pages) / kGuestPageBytes),
                            counted(diff.pages.size(), "range"), counted(states, "state"));
}

std::string diff_json(const DiffReport& report) {
  const vm_mem::SnapshotDiff& diff = report.diff;
  Json json;
  json.add_flag("same", report.is_same());
  json.add_flag("same_regions", has_same_regions(report));
  json.add("differing_pages", bytes_of(diff.pages) / kGuestPageBytes);
  json.add("read_pages", diff.read_pages);
  add_ranges("pages", diff.pages, json);
  add_ranges("only_first", diff.only_first, json);
  add_ranges("only_second", diff.only_second, json);
  add_names("states", diff.states, json);
  add_names("states_only_first", diff.states_only_first, json);
  add_names("states_only_second", diff.states_only_second, json);
  return std::move(json).text();
}

}  // namespace vmmem
