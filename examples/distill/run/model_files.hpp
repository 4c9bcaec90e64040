// Networks and answers that come from files: any teacher will do.
#pragma once

#include <cstdint>
#include <retort/framework/core/tensor.hpp>
#include <string>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/mlp.hpp"

namespace distill {

/// Reads linear layers from a .safetensors file, written here or by PyTorch, with ReLU assumed between
/// them; their sizes are the file's. Layers are "NAME.weight" [out, in] and, where there is one, "NAME.bias"
/// [out], in the order of the names' numbers (2 before 10), or, should they not fit together then, in the
/// file's. IoError that names file and entry when something else is in it, or when the layers do not lead
/// from `pixels` to `classes`.
Mlp load_network(const std::string& path, std::int64_t pixels, std::int64_t classes);

/// The teacher's logits of all images.
struct TeacherLogits {
  retort::Tensor train = {};  ///< [training images, classes]
  retort::Tensor test = {};   ///< [test images, classes]; undefined if they were not stored
};

/// Writes them as "logits" and "test_logits" float32, with the checksums of the data that they belong to.
void save_logits(const std::string& path, const TeacherLogits& logits, const Data& data);

/// Reads such a file; float16 is converted, and "test_logits" may be missing. IoError that names the file
/// when the logits belong to other data or do not say to which, are of another shape or type, or are not
/// finite.
TeacherLogits load_logits(const std::string& path, const Data& data);

/// True if the file holds a sparse teacher, as train-teacher --save-logits --top-k writes it.
bool is_sparse_teacher(const std::string& path);

/// Writes the kept answers to the training images, with the checksum of the data that they belong to.
void save_sparse_answers(const std::string& path, const retort::SparseTeacher& teacher, const Data& data);

/// Reads such a file. IoError that names the file when the answers belong to other data, do not say to
/// which, or have other rows or classes; ValueError when the options ask for another temperature or number
/// of classes.
retort::SparseTeacher load_sparse_answers(const std::string& path, const Data& data, const Options& options);

}  // namespace distill
