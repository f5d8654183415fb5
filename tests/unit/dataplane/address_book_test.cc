#include "dataplane/flow/address_book.h"

#include <map>

#include "tests/unit/dataplane/property.h"

namespace sluice::address_book_test {
namespace {

IpAddress address(std::uint64_t number) { return number % 3 == 0 ? IpAddress::v4(be32(static_cast<std::uint32_t>(number))) : IpAddress{0x20010db8, number}; }

TEST(AddressBook, AnAddressHasOneNumberForAsLongAsItIsUsed) {
  AddressBook book(2);
  const std::uint16_t first = book.take(address(1));
  EXPECT_NE(first, 0);
  EXPECT_EQ(book.take(address(1)), first);
  const std::uint16_t second = book.take(address(2));
  EXPECT_NE(second, first);
  EXPECT_EQ(book.take(address(3)), 0) << "the book is full";
  book.release(first);
  EXPECT_EQ(book.take(address(3)), 0) << "the first is used once more";
  book.release(first);
  EXPECT_EQ(book.count(), 1u);
  const std::uint16_t third = book.take(address(3));
  ASSERT_NE(third, 0);
  EXPECT_EQ(book[third], address(3));
  EXPECT_EQ(book[second], address(2));
}

TEST(AddressBook, AgreesWithAMap) {
  SLUICE_TRACE_SEED();
  test::Random random(21);
  AddressBook book(100);
  std::map<std::uint64_t, std::pair<std::uint16_t, int>> model;  // number and uses
  for (std::uint64_t step = 0; step < test::tries(200'000); ++step) {
    const std::uint64_t which = random.below(160);
    const auto known = model.find(which);
    if (random.one_in(2)) {
      const std::uint16_t number = book.take(address(which));
      if (known != model.end()) {
        ASSERT_EQ(number, known->second.first);
        ++known->second.second;
      } else if (model.size() == 100) {
        ASSERT_EQ(number, 0);
      } else {
        ASSERT_NE(number, 0);
        model[which] = {number, 1};
      }
    } else if (known != model.end()) {
      book.release(known->second.first);
      if (--known->second.second == 0) model.erase(known);
    }
    ASSERT_EQ(book.count(), model.size());
  }
  for (const auto& [which, number] : model) EXPECT_EQ(book[number.first], address(which));
}

}  // namespace
}  // namespace sluice::address_book_test
