#include "retort/framework/train/checkpoint.hpp"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/draws.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/data/data_loader.hpp"
#include "retort/framework/distributed/agreement_impl.hpp"
#include "retort/framework/distributed/communicator.hpp"
#include "retort/framework/distributed/transport_impl.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/input_impl.hpp"
#include "retort/framework/io/safetensors.hpp"
#include "retort/framework/nn/module.hpp"
#include "retort/framework/train/checkpoint_impl.hpp"
#include "retort/framework/train/early_stopping.hpp"
#include "retort/framework/train/moving_average.hpp"
#include "retort/optim/lr_scheduler.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {
namespace {

namespace fs = std::filesystem;
using detail::CheckpointFile;

constexpr const char* format = "1";

[[noreturn]] void fail(std::string_view operation, const std::string& path, std::string_view cause) {
  throw IoError(message("Checkpoint::{}: {}: {}", operation, path, cause), path);
}

// Throws if `error`, a value of errno, is not 0.
void check(int error, const std::string& path, std::string_view cause) {
  if (error != 0) detail::throw_io_error("Checkpoint::save", path, cause, error);
}

// ---- the folder -----------------------------------------------------------------------------------------

std::string join(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

std::vector<CheckpointFile>::const_iterator find_best(const std::vector<CheckpointFile>& files) {
  return std::find_if(files.begin(), files.end(), [](const CheckpointFile& file) { return file.best; });
}

// Creates the folder and its parents, each flushed to its parent.
void make_folder(const fs::path& folder) {
  std::error_code error;
  if (folder.empty() || fs::is_directory(folder, error)) return;
  make_folder(folder.parent_path());
  if (!fs::create_directory(folder, error)) {
    check(error.value(), folder.string(), "cannot make the folder");
    return;  // if "runs" exists, so does "runs/"
  }
  const std::string parent = folder.has_parent_path() ? folder.parent_path().string() : ".";
  check(detail::flush_folder(parent), parent, "cannot flush the folder to the disk");
}

// Atomically makes `link` in the folder point to the file.
void point(const std::string& folder, const std::string& link, const std::string& name) {
  std::error_code error;
  const std::string path = join(folder, link);
  if (fs::read_symlink(path, error) == name) return;
  const std::string temporary = join(folder, ".retort-" + std::to_string(::getpid()) + "-link.tmp");
  ::unlink(temporary.c_str());
  // The links are for convenience; a file system without links works too.
  if (::symlink(name.c_str(), temporary.c_str()) != 0) {
    if (errno == EPERM || errno == ENOTSUP || errno == ENOSYS) return;
    check(errno, path, "cannot make the link");
  }
  if (::rename(temporary.c_str(), path.c_str()) == 0) return;
  const int cause = errno;
  ::unlink(temporary.c_str());
  check(cause, path, "cannot put the link into place");
}

// ---- a file's content -----------------------------------------------------------------------------------

// safetensors has no checksum, and continuing from corrupted data is worse than stopping.
std::string checksum(const StateDict& state, std::int64_t step, const std::string& json) {
  uLong sum = ::crc32_z(0, nullptr, 0);
  const auto add = [&sum](const void* bytes, std::size_t count) {
    if (count > 0)
      // A null pointer would restart the checksum.
      sum = ::crc32_z(sum, static_cast<const Bytef*>(bytes), count);
  };
  const auto add_text = [&add](const std::string& text) { add(text.data(), text.size()); };
  add_text(message("{} {}", step, json));
  for (const auto& [name, tensor] : state) {
    add_text(message("{} {} {}", name, tensor.dtype(), tensor.shape()));
    add(detail::Access::array(tensor).read(), detail::Access::array(tensor).byte_size());
  }
  return message("crc32:{}", std::size_t{sum});
}

void append(StateDict& all, const std::string& prefix, const StateDict& part) {
  for (const auto& [name, tensor] : part) all[prefix + name] = tensor;
}

StateDict part_of(const StateDict& all, std::string_view prefix) {
  StateDict part;
  for (const auto& [name, tensor] : all)
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  return part;
}

// Throws unless the file has the parts, whose own states are `own`. It may have more, but not more schedules
// of a given optimiser.
void require_parts(const StateDict& state, const StateDict& own, const CheckpointParts& parts) {
  const char* const remedy = "give this Checkpoint what it was saved with";
  using Names = std::pair<const char*, const char*>;
  for (const auto& [prefix, part] : {Names{"module.", "module"},
                                     {"optimizer.", "optimiser"},
                                     {"average.", "average"},
                                     {"early_stopping.", "early stopping"}})
    if (part_of(state, prefix).empty() && !part_of(own, prefix).empty())
      throw ValueError(message("it has no {}; {}", part, remedy));
  std::size_t saved = 0;
  while (!part_of(state, message("scheduler.{}.", saved)).empty()) ++saved;
  if (!part_of(state, "plateau.").empty()) ++saved;  // of an earlier version
  const std::size_t given = parts.schedulers.size();
  if (saved < given || (saved > given && parts.optimizer))
    throw ValueError(message("it has {}, but the parts have {}; {}",
                             saved == 0 ? "no schedule" : detail::counted(saved, "schedule"),
                             given == 0 ? "none" : std::to_string(given), remedy));
}

std::int64_t as_signed(std::uint64_t value) { return std::bit_cast<std::int64_t>(value); }
std::uint64_t as_unsigned(std::int64_t value) { return std::bit_cast<std::uint64_t>(value); }

Tensor encoded(const Generator& generator) {
  return tensor({as_signed(generator.seed()), as_signed(generator.position())});
}
// How a loader orders its rows; the values are those of the file.
constexpr std::array<const char*, 3> orders{"in order", "shuffled", "chosen by a sampler"};
std::int64_t order_of(const DataLoader& loader) {
  return loader.options().shuffle ? 1 : loader.options().sampler.order ? 2 : 0;
}

Tensor encoded(const DataLoader& loader) {
  const LoaderPosition at = loader.position();
  return tensor({as_signed(at.seed), at.epoch, at.batch, loader.size(), loader.source().size(),
                 loader.options().batch_size, order_of(loader)});
}

// The integers of an entry that must contain `count` of them.
std::vector<std::int64_t> integers(const StateDict& state, const std::string& path, const char* name,
                                   std::int64_t count) {
  const auto found = state.find(name);
  if (found == state.end())
    fail("load", path,
         message("holds no {}, which is to be restored; give the parts that it was saved with", name));
  const Tensor& tensor = found->second;
  if (tensor.dtype() != DType::int64 || tensor.shape() != Shape{count})
    fail("load", path,
         message("entry {} is {} of shape {}, not int64 of shape {}; restore a copy of the file", name,
                 tensor.dtype(), tensor.shape(), Shape{count}));
  return tensor.values<std::int64_t>();
}

Generator decode_generator(const StateDict& state, const std::string& path, const char* name) {
  const std::vector<std::int64_t> numbers = integers(state, path, name, 2);
  Generator generator(as_unsigned(numbers[0]));
  generator.set_position(as_unsigned(numbers[1]));
  return generator;
}

LoaderPosition decode_position(const StateDict& state, const std::string& path, const DataLoader& loader) {
  const auto entry = state.find("loader");
  const bool old = entry != state.end() && entry->second.shape() == Shape{5};  // of an earlier version
  const std::vector<std::int64_t> numbers = integers(state, path, "loader", old ? 5 : 7);
  const LoaderPosition at{as_unsigned(numbers[0]), numbers[1], numbers[2]};
  if (numbers[3] != loader.size() || numbers[4] != loader.source().size())
    fail("load", path,
         message("is of a loader with {} in {}, but this one has {} in {}; give it the same data and options",
                 detail::counted(numbers[4], "row"), detail::counted(numbers[3], "batch"),
                 detail::counted(loader.source().size(), "row"), loader.size()));
  if (!old && numbers[5] != loader.options().batch_size)
    fail("load", path,
         message("is of a loader with batch_size {}, but this one has {}; give it the same", numbers[5],
                 loader.options().batch_size));
  if (!old && numbers[6] != order_of(loader))
    fail("load", path,
         message("is of a loader whose rows are {}, but those of this one are {}; give it the same options",
                 orders.at(static_cast<std::size_t>(std::clamp<std::int64_t>(numbers[6], 0, 2))),
                 orders.at(static_cast<std::size_t>(order_of(loader)))));
  if (at.epoch < 0 || at.batch < 0 || at.batch > loader.size())
    fail("load", path,
         message("the loader's position is batch {} of epoch {}; restore a copy of the file", at.batch,
                 at.epoch));
  return at;
}

struct Content {
  StateDict state;
  Checkpoint::Loaded loaded;
};

// Throws IoError if the file is not a valid checkpoint.
Content read(const std::string& path) {
  Content content;
  Metadata metadata;
  content.state = load_safetensors(path, &metadata);
  content.loaded.path = path;
  const auto value = [&](std::string_view key) -> const std::string& {
    const auto found =
        std::find_if(metadata.begin(), metadata.end(), [&](const auto& pair) { return pair.first == key; });
    if (found == metadata.end())
      fail("load", path,
           message("is not a checkpoint: its metadata lacks {}; give a file that Checkpoint::save() wrote",
                   key));
    return found->second;
  };
  if (value("retort_checkpoint") != format)
    fail("load", path,
         message("is a checkpoint of another version, {}; load it with the version of Retort that wrote it",
                 value("retort_checkpoint")));
  std::string_view step = value("step");
  if (!detail::take(step, content.loaded.step)) fail("load", path, "its step is not a number");
  content.loaded.json = value("json");
  if (value("checksum") != checksum(content.state, content.loaded.step, content.loaded.json))
    fail("load", path, "is damaged: its content does not have the checksum that it states");
  return content;
}

// The newest valid checkpoint, if any.
std::optional<Content> read_newest(const std::string& folder) {
  std::string newest_error;
  for (const CheckpointFile& file : detail::checkpoints_in(folder)) {
    const std::string path = join(folder, file.name);
    try {
      return read(path);
    } catch (const IoError& error) {
      if (newest_error.empty()) newest_error = error.what();
      detail::warn_once(path, message("{}; continuing with the previous checkpoint", error.what()));
    }
  }
  if (!newest_error.empty())
    fail("load", folder,
         message("no checkpoint there is sound; restore one, or remove the folder to start again. "
                 "The newest: {}",
                 newest_error));
  return {};
}

// ---- several processes ----------------------------------------------------------------------------------

// Copies the content read by rank 0 to every rank.
void broadcast(detail::Transport& transport, Content& content) {
  const auto send_text = [&](std::string& text) { text = detail::broadcast_text(transport, text, 0); };
  transport.broadcast(&content.loaded.step, sizeof content.loaded.step, 0);
  send_text(content.loaded.json);
  send_text(content.loaded.path);
  std::size_t entries = content.state.size();
  transport.broadcast(&entries, sizeof entries, 0);
  auto entry = content.state.begin();
  for (std::size_t i = 0; i < entries; ++i) {
    const bool sends = transport.rank() == 0;
    std::string name = sends ? entry->first : std::string();
    Tensor tensor = sends ? entry->second : Tensor();
    send_text(name);
    std::vector<std::int64_t> header;
    if (sends) {
      header = {static_cast<std::int64_t>(tensor.dtype())};
      header.insert(header.end(), tensor.shape().begin(), tensor.shape().end());
      ++entry;
    }
    std::size_t numbers = header.size();
    transport.broadcast(&numbers, sizeof numbers, 0);
    header.resize(numbers);
    transport.broadcast(header.data(), numbers * sizeof header[0], 0);
    if (!sends) tensor = empty(Shape(header.begin() + 1, header.end()), static_cast<DType>(header[0]));
    transport.broadcast(detail::Access::array(tensor).write(), detail::Access::array(tensor).byte_size(), 0);
    if (!sends) content.state[name] = tensor;
  }
}

// True if the optimiser has a parameter of the module.
bool updates(const Optimizer& optimizer, const Module& module) {
  std::unordered_set<const Array*> updated;
  for (const Tensor& parameter : optimizer.parameters()) updated.insert(&detail::Access::array(parameter));
  return std::ranges::any_of(module.parameters(), [&](const Tensor& parameter) {
    return updated.contains(&detail::Access::array(parameter));
  });
}

}  // namespace

void detail::check_parts(const std::string& whose, const CheckpointParts& parts) {
  const std::vector<LRScheduler*>& schedulers = parts.schedulers;
  const bool has_sequence = std::ranges::any_of(
      schedulers, [](const LRScheduler* one) { return dynamic_cast<const SequentialLR*>(one) != nullptr; });
  for (auto at = schedulers.begin(); at != schedulers.end(); ++at) {
    const auto refuse = [&](const char* why) {
      throw ValueError(message("{}: scheduler {} {}", whose, at - schedulers.begin(), why));
    };
    if (!*at) refuse("is null; leave it out instead");
    if (!parts.optimizer)
      refuse("is given without its optimiser; add it, since a resumed run needs its state");
    if (&(*at)->optimizer() != parts.optimizer)
      refuse("sets the rates of another optimiser; construct it with the optimiser of these parts");
    if (std::find(schedulers.begin(), at, *at) != at) refuse("is in the list twice and would step twice");
    if (has_sequence && (*at)->is_in_sequence())
      refuse("is part of a SequentialLR and would step twice; list only the sequence");
  }
  if (parts.module && parts.optimizer && !updates(*parts.optimizer, *parts.module))
    throw ValueError(
        message("{}: the optimiser has no parameter of the module; construct it with the module's "
                "parameters()",
                whose));
  if (parts.module && parts.average && !parts.average->tracks(*parts.module))
    throw ValueError(
        message("{}: the average is of another module; construct it with the module of these parts", whose));
}

Checkpoint::Checkpoint(std::string folder, CheckpointParts parts, CheckpointOptions options)
    : folder_(std::move(folder)), parts_(std::move(parts)), options_(options) {
  if (folder_.empty()) folder_ = ".";
  if (options_.keep < 1)
    throw ValueError(message("Checkpoint: keep is {}; it must be at least 1", options_.keep));
  detail::check_parts("Checkpoint", parts_);
}

StateDict Checkpoint::states() const {
  StateDict all;
  if (parts_.module) append(all, "module.", parts_.module->state_dict());
  if (parts_.optimizer) append(all, "optimizer.", parts_.optimizer->state_dict());
  for (std::size_t i = 0; i < parts_.schedulers.size(); ++i)
    append(all, message("scheduler.{}.", i), parts_.schedulers[i]->state_dict());
  if (parts_.average) append(all, "average.", parts_.average->state_dict());
  if (parts_.early_stopping) append(all, "early_stopping.", parts_.early_stopping->state_dict());
  return all;
}

std::string Checkpoint::save(std::int64_t step, const std::string& json, bool best) {
  if (step < 0) throw ValueError(message("Checkpoint::save: step is {}; it must be at least 0", step));
  if (!nlohmann::json::accept(json))
    throw ValueError("Checkpoint::save: the text to be kept is not valid JSON; \"{}\" keeps nothing");
  if (parts_.average && parts_.average->is_applied())
    throw ValueError(
        "Checkpoint::save: the averages are in the module, so that its own weights would be lost; "
        "destroy the result of apply() first");
  detail::Transport* const transport = detail::transport_of(parts_.world);
  if (!transport) return write(step, json, best);
  struct Report {
    std::int64_t step;
    std::uint64_t states;
  };
  Report own{step, 0};
  for (const auto& [name, tensor] : states()) own.states = detail::hash_tensor(tensor, own.states);
  std::vector<Report> reports(static_cast<std::size_t>(transport->size()));
  transport->all_gather(&own, reports.data(), sizeof own);
  for (std::size_t rank = 1; rank < reports.size(); ++rank) {
    if (reports[rank].step != reports[0].step)
      throw ValueError(message("Checkpoint::save: rank {} is at step {}, but rank 0 at step {}", rank,
                               reports[rank].step, reports[0].step));
    if (reports[rank].states != reports[0].states)
      throw ValueError(
          message("Checkpoint::save: the weights or the optimiser's state of rank {} differ from those of "
                  "rank 0; every rank must make the same updates",
                  rank));
  }
  std::string path;
  detail::on_first_rank(transport, [&] { path = write(step, json, best); });
  return detail::broadcast_text(*transport, path, 0);
}

std::string Checkpoint::write(std::int64_t step, const std::string& json, bool best) {
  make_folder(folder_);
  AtomicFile::remove_stale("Checkpoint::save", folder_);

  StateDict state = states();
  state["default_generator"] = encoded(generator_state());
  if (const Generator* guarded = detail::guarded_generator()) state["guarded_generator"] = encoded(*guarded);
  if (parts_.generator) state["generator"] = encoded(*parts_.generator);
  if (parts_.loader) state["loader"] = encoded(*parts_.loader);
  std::vector<CheckpointFile> files = detail::checkpoints_in(folder_);
  const std::uint64_t serial = files.empty() ? 1 : files.front().serial + 1;
  files.insert(files.begin(),
               CheckpointFile{serial, step, best, detail::checkpoint_name(serial, step, best)});
  const std::string path = join(folder_, files.front().name);
  save_safetensors(path, state,
                   {{"retort_checkpoint", format},
                    {"step", std::to_string(step)},
                    {"json", json},
                    {"checksum", checksum(state, step, json)}});

  // The new file is durable now. The links must be too before their old targets are removed.
  point(folder_, "last.safetensors", files.front().name);
  const auto newest_best = find_best(files);
  if (newest_best != files.end()) point(folder_, "best.safetensors", newest_best->name);
  check(detail::flush_folder(folder_), folder_, "cannot flush the folder to the disk");
  for (std::size_t i = static_cast<std::size_t>(options_.keep); i < files.size(); ++i) {
    if (files.begin() + static_cast<std::ptrdiff_t>(i) == newest_best) continue;
    const std::string old = join(folder_, files[i].name);
    if (::unlink(old.c_str()) != 0 && errno != ENOENT) check(errno, old, "cannot remove the old checkpoint");
  }
  return path;
}

std::optional<Checkpoint::Loaded> Checkpoint::load() {
  std::optional<Content> content;
  detail::Transport* const transport = detail::transport_of(parts_.world);
  detail::on_first_rank(transport, [&] { content = read_newest(folder_); });
  bool found = content.has_value();
  if (transport) transport->broadcast(&found, sizeof found, 0);
  if (!found) return {};
  if (!content) content.emplace();
  if (transport) broadcast(*transport, *content);
  restore(content->state, content->loaded.path);
  return std::move(content->loaded);
}

Checkpoint::Loaded Checkpoint::load(const std::string& path) {
  Content content;
  detail::Transport* const transport = detail::transport_of(parts_.world);
  detail::on_first_rank(transport, [&] { content = read(path); });
  if (transport) broadcast(*transport, content);
  restore(content.state, content.loaded.path);
  return std::move(content.loaded);
}

void Checkpoint::load_states(const StateDict& state) {
  if (parts_.module) parts_.module->load_state_dict(part_of(state, "module."));
  for (std::size_t i = 0; i < parts_.schedulers.size(); ++i) {
    StateDict part = part_of(state, message("scheduler.{}.", i));
    if (part.empty() && dynamic_cast<ReduceLROnPlateau*>(parts_.schedulers[i]))
      part = part_of(state, "plateau.");  // the name in earlier versions
    parts_.schedulers[i]->load_state_dict(part);
  }
  if (parts_.average) parts_.average->load_state_dict(part_of(state, "average."));
  if (parts_.early_stopping) parts_.early_stopping->load_state_dict(part_of(state, "early_stopping."));
  // Loading a schedule sets the optimiser's rate, which may have been different.
  if (parts_.optimizer) parts_.optimizer->load_state_dict(part_of(state, "optimizer."));
}

void Checkpoint::restore(const StateDict& state, const std::string& path) {
  const Generator default_generator = decode_generator(state, path, "default_generator");
  std::optional<Generator> generator, guarded;
  std::optional<LoaderPosition> position;
  if (detail::guarded_generator()) guarded = decode_generator(state, path, "guarded_generator");
  if (parts_.generator) generator = decode_generator(state, path, "generator");
  if (parts_.loader) position = decode_position(state, path, *parts_.loader);

  const StateDict before = states();
  for (const auto& [name, tensor] : part_of(before, "module."))
    if (const auto stored = state.find("module." + name);
        stored != state.end() && stored->second.dtype() != tensor.dtype())
      fail("load", path,
           message("does not fit: {} is {} there, but {} here; a resumed run would not be the same", name,
                   stored->second.dtype(), tensor.dtype()));
  try {
    require_parts(state, before, parts_);
    load_states(state);
  } catch (const Error& error) {
    load_states(before);
    fail("load", path, message("does not fit: {}", error.what()));
  } catch (...) {
    load_states(before);
    throw;
  }
  set_generator_state(default_generator);
  if (guarded) *detail::guarded_generator() = *guarded;
  if (generator) *parts_.generator = *generator;
  if (position) parts_.loader->set_position(*position);
}

std::optional<std::string> Checkpoint::last() const {
  const std::vector<CheckpointFile> files = detail::checkpoints_in(folder_);
  return files.empty() ? std::nullopt : std::optional(join(folder_, files.front().name));
}

std::optional<std::string> Checkpoint::best() const {
  const std::vector<CheckpointFile> files = detail::checkpoints_in(folder_);
  const auto found = find_best(files);
  return found == files.end() ? std::nullopt : std::optional(join(folder_, found->name));
}

}  // namespace retort
