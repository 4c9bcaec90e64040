// Reads and writes files of networks and of a teacher's answers.
#pragma once

#include <cstdint>
#include <string>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/training.hpp"

namespace distill {

/// Reads linear layers, with ReLU between them, from a .safetensors file written here or by PyTorch. A layer
/// is "NAME.weight" [out, in] and optionally "NAME.bias" [out]. Layers are sorted by name, with numbers
/// compared by value (2 before 10). If they do not fit together in this order, they are in the file's order.
/// Throws: IoError naming file and entry if there is any other entry; IoError if the layers do not connect
/// `pixels` to `classes`.
Mlp load_network(const std::string& path, std::int64_t pixels, std::int64_t classes);

/// A teacher's logits of all images.
struct TeacherLogits {
  retort::Tensor train = {};  ///< [training images, classes]
  retort::Tensor test = {};   ///< [test images, classes]; undefined if they were not stored
};

/// Writes the logits as "logits" and "test_logits" in float32, with the checksums of their data.
void save_logits(const std::string& path, const TeacherLogits& logits, const Data& data);

/// Reads a file of save_logits(). Converts float16 to float32; "test_logits" may be missing.
/// Throws: IoError naming the file if a checksum is missing or belongs to other data, or if the logits have
/// another shape or type or are not finite.
TeacherLogits load_logits(const std::string& path, const Data& data);

/// Writes the sparse answers to the training images, with the checksum of their data.
void save_sparse_answers(const std::string& path, const retort::SparseTeacher& teacher, const Data& data);

/// Reads a file of save_sparse_answers().
/// Throws: IoError naming the file if the checksum is missing or belongs to other data, or if the numbers of
/// rows or classes differ from the data; ValueError if the options specify another temperature, another
/// top_k, or a divergence other than plain forward_kl.
retort::SparseTeacher load_sparse_answers(const std::string& path, const Data& data, const Options& options);

}  // namespace distill
