#include "tools/vmmem/limit_json.h"

#include <gtest/gtest.h>

#include <limits>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

TEST(JsonTest, NestsAndClosesWhatIsOpen) {
  Json json;
  json.add("a", "b");
  json.open_array("list");
  json.add("", std::uint64_t{1});
  json.add("", 2.5);
  json.close();
  json.open_object("inner");
  json.add_flag("yes", true);
  EXPECT_EQ(std::move(json).text(),
            "{\"a\": \"b\", \"list\": [1, 2.5], \"inner\": {\"yes\": true}}\n");
}

TEST(JsonTest, EscapesWhatWouldEndAString) {
  Json json;
  json.add("k", "\"\\\n");
  EXPECT_EQ(std::move(json).text(), "{\"k\": \"\\\"\\\\\\u000a\"}\n");
}

TEST(JsonTest, LimitsMayBeNeverAndNoNumberIsNull) {
  Json json;
  add_limit(json, "a", vm_mem::kNever);
  add_limit(json, "b", 7);
  json.add("c", std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(std::move(json).text(), "{\"a\": \"never\", \"b\": 7, \"c\": null}\n");
}

}  // namespace
}  // namespace vmmem
