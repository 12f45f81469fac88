// Limits of a policy in the tool's JSON.
#ifndef VMMEM_LIMIT_JSON_H_
#define VMMEM_LIMIT_JSON_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tools/json/json.h"
#include "vm_mem/copy_policy.h"

namespace vmmem {

using json_text::Json;

// "never" for kNever.
inline void add_limit(Json& json, std::string_view key, std::size_t limit) {
  if (limit == vm_mem::kNever) return json.add(key, "never");
  json.add(key, static_cast<std::uint64_t>(limit));
}

}  // namespace vmmem

#endif  // VMMEM_LIMIT_JSON_H_
