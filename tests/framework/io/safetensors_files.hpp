// Functions shared by the tests of safetensors.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "files.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort::tests {

inline void check_values(const Tensor& tensor, DType dtype, const Shape& shape,
                         const std::vector<double>& values) {
  BOOST_TEST((tensor.dtype() == dtype), "is " << name(tensor.dtype()));
  BOOST_TEST(tensor.shape() == shape);
  BOOST_TEST(tensor.values<double>() == values, boost::test_tools::per_element());
}

/// A file of that header and as many zero bytes of data.
inline std::string make_file(const std::string& header, std::size_t data = 0) {
  const std::uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + std::string(data, '\0');
}

}  // namespace retort::tests
