#include "vm_mem/internal/size_history.h"

#include <gtest/gtest.h>

#include <thread>

namespace vm_mem::internal {
namespace {

// Of a thread of its own, whose history is empty.
template <typename Body>
void run_in_new_thread(Body body) {
  std::thread(body).join();
}

TEST(SizeHistoryTest, ForeseesASizeAfterFourOfIt) {
  run_in_new_thread([] {
    for (int i = 0; i < 4; ++i) EXPECT_FALSE(size_repeats(17)) << i;
    EXPECT_TRUE(size_repeats(17));
    EXPECT_TRUE(size_repeats(17));
  });
}

TEST(SizeHistoryTest, ForgetsAtTheFirstOtherSize) {
  run_in_new_thread([] {
    for (int i = 0; i < 5; ++i) size_repeats(17);
    EXPECT_FALSE(size_repeats(18));
    for (int i = 0; i < 4; ++i) EXPECT_FALSE(size_repeats(17)) << i;
    EXPECT_TRUE(size_repeats(17));
  });
}

TEST(SizeHistoryTest, NeverForeseesSizesThatAlternate) {
  run_in_new_thread([] {
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(size_repeats(i % 2 == 0 ? 8 : 16)) << i;
  });
}

TEST(SizeHistoryTest, BelongsToOneThread) {
  for (int i = 0; i < 5; ++i) size_repeats(17);
  run_in_new_thread([] { EXPECT_FALSE(size_repeats(17)); });
  EXPECT_TRUE(size_repeats(17));
}

}  // namespace
}  // namespace vm_mem::internal
