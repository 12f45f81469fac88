// A program and a plugin that both have the static library linked in. The program uses
// little of it, so that the plugin finds some of its functions in the program and some
// in itself alone.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>

#include "vm_mem/inline_copy.h"

namespace {

using MoveUp = void(std::byte* bytes, std::size_t n);

std::array<std::byte, 300> numbered() {
  std::array<std::byte, 300> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i % 251);
  return bytes;
}

TEST(PluginTest, SharesTheCoreWithTheProgramThatLoadsIt) {
  const auto source = numbered();
  auto bytes = source;
  vm_mem::memcpy_raw(bytes.data() + 150, source.data(), 100);  // starts the program's core
  void* const plugin = dlopen(VM_TEST_PLUGIN, RTLD_NOW);
  ASSERT_NE(plugin, nullptr) << dlerror();
  bytes = source;
  reinterpret_cast<MoveUp*>(dlsym(plugin, "move_up"))(bytes.data(), 250);
  for (std::size_t i = 1; i <= 250; ++i) ASSERT_EQ(bytes[i], source[i - 1]) << i;
  dlclose(plugin);
  vm_mem::memcpy_raw(bytes.data(), source.data(), bytes.size());
  EXPECT_EQ(bytes, source);
}

}  // namespace
