#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "retort/framework/distributed/agreement_impl.hpp"
#include "retort/framework/distributed/communicator.hpp"
#include "retort/framework/distributed/transport_impl.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/input_impl.hpp"
#include "retort/framework/train/training.hpp"

namespace retort {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string settings_text(const JsonFields& settings) {
  std::string text;
  std::unordered_set<std::string> keys;
  for (const auto& [key, value] : settings)
    if (key.empty() || !keys.insert(key).second)
      throw ValueError(
          message("RunFolder: the setting \"{}\" {}", key, key.empty() ? "has no name" : "is given twice"));
  for (const auto& [key, value] : settings)
    text += (text.empty() ? "{\n  " : ",\n  ") + Json(key).dump() + ": " + value.text();
  return settings.empty() ? "{}\n" : text + "\n}\n";
}

/// Describes the first setting that differs between the texts of two places.
std::string difference(const std::string& was, const std::string& is, const std::string& place = "there",
                       const std::string& here = "now") {
  const Json there = Json::parse(was, nullptr, false), now = Json::parse(is);
  if (!there.is_object()) return "its settings.json is not a JSON object";
  const auto value = [](const Json& settings, const std::string& key) {
    return settings.contains(key) ? settings.at(key).dump() : "missing";
  };
  for (const Json& settings : {now, there})
    for (const auto& [key, unused] : settings.items())
      if (value(there, key) != value(now, key))
        return message("\"{}\" is {} {}, {} {}", key, value(there, key), place, value(now, key), here);
  return "their order or form differs";
}

InterruptGuard guard_of_folder() {
  try {
    return {};
  } catch (const Error& error) {
    const std::string_view text = error.what();
    throw Error(message("RunFolder{}", text.substr(text.find(':'))));
  }
}

/// The name of a training in the folder; empty if there is none.
std::string any_training(const std::string& folder) {
  std::string name;
  for (const auto& entry : fs::directory_iterator(folder))
    if (fs::path log = entry.path();
        log.extension() == ".jsonl" && fs::exists(log.replace_extension(".json")))
      if (const std::string stem = log.stem().string(); name.empty() || stem < name) name = stem;
  return name;
}

/// Throws on every rank if a rank has other settings than rank 0.
void require_same_settings(detail::Transport& transport, const std::string& own) {
  const std::string first = detail::broadcast_text(transport, own, 0);
  const char differs = own != first;
  std::vector<char> all(static_cast<std::size_t>(transport.size()));
  transport.all_gather(&differs, all.data(), 1);
  const auto rank = static_cast<int>(std::ranges::find(all, char{1}) - all.begin());
  if (rank == transport.size()) return;
  const std::string text =
      differs ? message("RunFolder: the ranks have different settings ({}); give all of them the same",
                        difference(first, own, "on rank 0", message("on rank {}", transport.rank())))
              : std::string();
  throw ValueError(detail::broadcast_text(transport, text, rank));
}

}  // namespace

RunFolder::RunFolder(std::string path, const JsonFields& settings, const Communicator* world)
    : RunFolder(&settings, std::move(path), world) {}

RunFolder RunFolder::without_settings(std::string path, const Communicator* world) {
  return {nullptr, std::move(path), world};
}

RunFolder::RunFolder(const JsonFields* settings, std::string path, const Communicator* world)
    : path_(std::move(path)), world_(world), guard_(guard_of_folder()) {
  if (settings && detail::transport_of(world_))
    require_same_settings(*detail::transport_of(world_), settings_text(*settings));
  detail::on_first_rank(detail::transport_of(world_), [&] { open(settings); });
}

void RunFolder::open(const JsonFields* settings) {
  if (path_.empty()) throw ValueError("RunFolder: the path of the folder is empty");
  std::error_code error;
  fs::create_directories(path_, error);
  if (error)
    throw IoError(message("RunFolder: {}: cannot be created: {}", path_, error.message()), path_,
                  error.value());
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0)
    throw IoError(message("RunFolder: {}: {}", path_, detail::system_message(errno)), path_, errno);
  try {
    while (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) break;  // a file system without locks
      throw IoError(
          message(
              "RunFolder: another run is writing to {}; wait for it, or give another folder; under mpirun, "
              "give the RunFolder the Communicator",
              path_),
          path_);
    }
    AtomicFile::remove_stale("RunFolder", path_);
    if (!settings) return;
    const std::string now = settings_text(*settings);
    const std::optional<std::string> before = detail::text_of(file("settings.json"));
    if (!before) {
      if (const std::string training = any_training(path_); !training.empty())
        throw IoError(
            message(
                "RunFolder: {}: holds the training '{}', but no settings.json, with which the settings could "
                "be compared; restore it, or give another folder",
                path_, training),
            path_);
      AtomicFile::write_whole("RunFolder", file("settings.json"), now);
    } else if (*before != now) {
      throw ValueError(
          message("RunFolder: {}: holds a run with other settings ({}); give another folder, or remove it",
                  path_, difference(*before, now)));
    }
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

bool RunFolder::writes() const { return !world_ || world_->rank() == 0; }

std::string RunFolder::file(std::string_view name) const { return (fs::path(path_) / name).string(); }

RunFolder::Column RunFolder::column(std::string_view training, std::string_view key) const {
  const std::string path = file(std::string(training) + ".jsonl");
  std::ifstream log(path);
  Column column;
  for (std::string line; std::getline(log, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded())
      throw IoError(message("RunFolder: {}: the line {} is not JSON", path, line), path);
    const auto value = json.find(key);
    if (value == json.end() || !value->is_number()) continue;
    column.epochs.push_back(json.value("epoch", 0.0));
    column.values.push_back(value->get<double>());
  }
  return column;
}

}  // namespace retort
