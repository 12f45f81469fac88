// A JSON text, built from the outside in.
#ifndef TOOLS_JSON_JSON_H_
#define TOOLS_JSON_JSON_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace json_text {

// With its quotation marks.
std::string quoted(std::string_view value);

// In an object every element has a key; in an array, none: the key is then empty.
class Json {
 public:
  Json() { open("", '{'); }

  void open_object(std::string_view key) { open(key, '{'); }
  void open_array(std::string_view key) { open(key, '['); }
  void close();

  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, double value);
  void add(std::string_view key, std::uint64_t value);
  // A plain `true` or `false`; named, so that nothing else turns into one.
  void add_flag(std::string_view key, bool value);

  // Everything, with what is open closed, and a line end.
  std::string text() &&;

 private:
  void open(std::string_view key, char bracket);
  void begin(std::string_view key);

  std::string text_;
  std::string open_;  // the closing brackets to come
  bool first_ = true;
};

}  // namespace json_text

#endif  // TOOLS_JSON_JSON_H_
