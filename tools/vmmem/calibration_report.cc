#include <fmt/format.h>

#include "tools/vmmem/calibrate.h"
#include "tools/vmmem/console.h"
#include "tools/vmmem/limit_json.h"

namespace vmmem {
namespace {

std::string verdict(const Finding& finding) {
  const Crossover& crossover = finding.crossover;
  if (!finding.not_measured.empty()) return "not measured: " + finding.not_measured;
  if (crossover.sizes == 0) return "kept: nothing measured better";
  const std::string gain =
      fmt::format("{:.2f}x over the {} sizes between", crossover.gain, crossover.sizes);
  return (crossover.chosen == crossover.measured ? "taken: " : "kept: only ") + gain;
}

}  // namespace

std::string calibration_text(const Calibration& calibration, const std::string& file) {
  std::string text =
      fmt::format("{:<18} {:>8} {:>9} {:>8}\n", "limit", "default", "measured", "chosen");
  for (const Finding& finding : calibration.findings) {
    const Crossover& crossover = finding.crossover;
    text += fmt::format("{:<18} {:>8} {:>9} {:>8}   {}\n", finding.field,
                        limit_name(finding.field, finding.standard),
                        limit_name(finding.field, crossover.measured),
                        limit_name(finding.field, crossover.chosen), verdict(finding));
  }
  return text + fmt::format("written to {0}; use it with: VM_MEM_POLICY={0} PROGRAM\n", file);
}

std::string calibration_json(const Calibration& calibration, const std::string& file) {
  Json json;
  json.open_object("limits");
  for (const Finding& finding : calibration.findings) {
    json.open_object(finding.field);
    add_limit(json, "default", finding.standard);
    add_limit(json, "measured", finding.crossover.measured);
    add_limit(json, "chosen", finding.crossover.chosen);
    json.add("gain", finding.crossover.gain);
    json.add("verdict", verdict(finding));
    json.close();
  }
  json.close();
  json.add("file", file);
  return std::move(json).text();
}

}  // namespace vmmem
