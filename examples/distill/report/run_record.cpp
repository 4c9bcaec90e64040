#include "distill/report/run_record.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "distill/cli/settings.hpp"
#include "distill/report/table.hpp"

namespace distill {
namespace {

namespace fs = std::filesystem;
using retort::IoError;
using retort::message;
using retort::Tensor;
using nlohmann::literals::operator""_json_pointer;

/// Opens a file of the run and passes it to `read`.
/// Throws: IoError naming the file if it cannot be opened or `read` throws.
template <class Read>
auto reading(const std::string& folder, const char* name, Read read) {
  const std::string path = (fs::path(folder) / name).string();
  std::ifstream file(path);
  if (!file)
    throw IoError(message("report: cannot read {}; a run of distill with --out {} writes it", path, folder));
  try {
    return read(file);
  } catch (const std::exception& error) {
    throw IoError(message("report: {}: {}", path, error.what()));
  }
}

/// Adds the values inside `value` by path, such as `teacher.lr`.
void flatten(const Json& value, const std::string& path, RunRecord::Entries& entries) {
  if (!value.is_object()) {
    entries.emplace_back(path, value.is_string() ? value.get<std::string>() : value.dump());
    return;
  }
  for (const auto& [key, below] : value.items())
    flatten(below, path.empty() ? key : path + '.' + key, entries);
}

std::vector<Event> events_of(std::istream& lines) {
  std::vector<Event> events;
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) throw IoError(message("line {}: expected a JSON object", events.size() + 1));
    events.push_back({json.at("event") == "epoch", json.at("network").get<std::string>(),
                      json.at("epoch").get<double>(), json.at("step").get<double>(), number_in(json, "loss"),
                      number_in(json, "test_accuracy"), number_in(json, "test_nll")});
  }
  return events;
}

Tensor logits_in(const retort::StateDict& tensors, const std::string& network, const Data& data,
                 const std::string& path) {
  if (!tensors.contains(network)) throw IoError(message("report: {}: has no logits \"{}\"", path, network));
  const Tensor& logits = tensors.at(network);
  const retort::Shape expected = {data.test.size(), data.classes};
  if (logits.shape() != expected || logits.dtype() != retort::DType::float32)
    throw IoError(message("report: {}: \"{}\" is {} {}, but the test images need float32 {}", path, network,
                          logits.dtype(), logits.shape(), expected));
  return logits;
}

void read_predictions(RunRecord& record, const std::string& folder, const Data& data) {
  const std::string path = (fs::path(folder) / "predictions.safetensors").string();
  const retort::StateDict tensors = retort::load_safetensors(path);
  if (tensors.contains("teacher")) record.teacher = logits_in(tensors, "teacher", data, path);
  record.alone = logits_in(tensors, "alone", data, path);
  record.distilled = logits_in(tensors, "distilled", data, path);
  if (!tensors.contains("labels") || tensors.at("labels").dtype() != retort::DType::int64 ||
      !std::ranges::equal(tensors.at("labels").data<std::int64_t>(),
                          data.test.targets().data<std::int64_t>()))
    throw IoError(
        message("report: {}: its labels are not those of the test images; give the folder that the "
                "run learned from as --data",
                path));
}

constexpr const char* fashion_mnist = "crc32:b2d765c6";  // the checksum of its test set

std::vector<std::string> class_names(const std::string& folder, const Data& data) {
  std::vector<std::string> names;
  if (std::ifstream file(fs::path(folder) / "classes.txt"); file) {
    for (std::string line; std::getline(file, line);) names.push_back(line);
  } else if (checksum_of(data.test) == fashion_mnist) {
    return {"T-shirt", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal",  "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  }
  for (auto k = static_cast<std::int64_t>(names.size()); k < data.classes; ++k)
    names.push_back(message("{}", k));
  return names;
}

}  // namespace

RunRecord read_run(const std::string& folder, const Data& data) {
  RunRecord record;
  reading(folder, "config.json", [&](std::istream& file) {
    const Json config = Json::parse(file);
    flatten(config, "", record.config);
    record.data_folder = config.value("data", "");
    record.temperature = config.value("/distillation/temperature"_json_pointer, 1.0);
  });
  reading(folder, "environment.json",
          [&](std::istream& file) { flatten(Json::parse(file), "", record.environment); });
  record.result =
      reading(folder, "result.json", [](std::istream& file) { return result_of(Json::parse(file)); });
  record.events = reading(folder, "metrics.jsonl", events_of);
  read_predictions(record, folder, data);
  record.class_names = class_names(record.data_folder, data);
  return record;
}

}  // namespace distill
