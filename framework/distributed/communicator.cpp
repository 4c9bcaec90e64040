#include "retort/framework/distributed/communicator.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/data/row_source.hpp"
#include "retort/framework/distributed/transport_impl.hpp"

namespace retort {
namespace {

using Call = detail::Announcement::Call;
using detail::Transport;

std::atomic<bool> exists{false};
std::terminate_handler previous_terminate = nullptr;
std::atomic<Transport*> terminating{
    nullptr};  // ended by the terminate handler and at exit of a failed process

// Number of processes according to the launcher; 0 without one.
int launched_processes() {
  for (const char* const name :
       {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"})
    if (const char* const value = std::getenv(name)) return std::max(1, std::atoi(value));
  if (std::getenv("PMIX_RANK")) {
    const char* const value = std::getenv("SLURM_NTASKS");
    return value ? std::max(1, std::atoi(value)) : 1;
  }
  return 0;
}

void report_and_abort() noexcept {
  Transport* const transport = terminating.load();
  std::string text = "std::terminate was called";
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      text = error.what();
    } catch (...) {
      text = "an exception of unknown type";
    }
  }
  if (!transport || transport->size() == 1) {
    if (previous_terminate) previous_terminate();
    std::abort();
  }
  detail::write_quietly(STDERR_FILENO,
                        message("retort: rank {} of {}: {}\n", transport->rank(), transport->size(), text));
  transport->abort();
}

void abort_at_exit() {
  if (Transport* const transport = terminating.load()) transport->abort();
}

// Called while an exception leaves the Communicator's scope. The code that catches it prints its message and
// ends the process, which then ends all ranks. A process that does not end is terminated, since the other
// ranks wait for it.
void abort_soon(Transport* transport) {
  terminating = transport;
  std::atexit(abort_at_exit);
  std::thread([transport] {
    std::this_thread::sleep_for(std::chrono::seconds(5));
    detail::write_quietly(
        STDERR_FILENO,
        message("retort: rank {} of {}: an exception destroyed the Communicator 5 s ago, but the "
                "process continues; ending all ranks\n",
                transport->rank(), transport->size()));
    transport->abort();
  }).detach();
}

template <class T>
void combine(const T* left, const T* right, T* out, std::int64_t n, ReduceOp op) {
  parallel_for(n, 16384, [=](std::int64_t begin, std::int64_t end) {
    const auto each = [=](auto f) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = f(left[i], right[i]);
    };
    const auto is_nan = [](T value) { return value != value; };
    switch (op) {
      case ReduceOp::sum: return each([](T a, T b) { return static_cast<T>(a + b); });
      case ReduceOp::min: return each([=](T a, T b) { return a < b || is_nan(a) ? a : b; });
      case ReduceOp::max: return each([=](T a, T b) { return a > b || is_nan(a) ? a : b; });
    }
  });
}

/// Waits for all ranks. Throws on each of them unless all make this call with the same kind of tensor.
void check_same(Transport& transport, Call call, const Tensor& tensor, int root = 0) {
  std::uint64_t extents = 0;
  for (const std::int64_t extent : tensor.shape())
    extents = detail::mix(extents, static_cast<std::uint64_t>(extent));
  const auto all = transport.announce(
      {call,
       {static_cast<std::uint64_t>(tensor.dtype()), static_cast<std::uint64_t>(tensor.dim()), extents,
        static_cast<std::uint64_t>(root)}});
  const auto other = std::ranges::find_if(all, [&](const auto& each) { return each != all[0]; });
  if (other == all.end()) return;
  if (other->details[3] != all[0].details[3])
    throw ValueError(message(
        "Communicator::broadcast: rank {} gives root {}, but rank 0 gives root {}; it must be the same",
        other - all.begin(), other->details[3], all[0].details[3]));
  const bool types = other->details[0] != all[0].details[0];
  const std::string text = message(
      "Communicator::{}: the tensor of rank {} has another {} than that of rank 0; this rank {} has {} of "
      "shape {}",
      call == Call::broadcast    ? "broadcast"
      : call == Call::all_reduce ? "all_reduce"
                                 : "all_gather",
      other - all.begin(), types ? "element type" : "shape", transport.rank(), tensor.dtype(),
      tensor.shape());
  if (types) throw TypeError(text);
  throw ShapeError(text);
}

}  // namespace

Communicator::Communicator(int argc, char** argv) : exceptions_(std::uncaught_exceptions()) {
  const int launched = launched_processes();
  if (launched > 1 && !detail::has_mpi())
    throw Error(message(
        "Communicator: a launcher has started {}, but this build of Retort has no MPI; install MPI and "
        "build again with -DRETORT_MPI=ON",
        detail::counted(launched, "process")));
  if (exists.exchange(true))
    throw Error("Communicator: there is one already; make one, at the beginning of main");
  if (launched == 0 || !detail::has_mpi()) return;
  try {
    transport_ = detail::make_mpi_transport(argc, argv).release();
  } catch (...) {
    exists = false;
    throw;
  }
  rank_ = transport_->rank();
  size_ = transport_->size();
  terminating = transport_;
  previous_terminate = std::set_terminate(report_and_abort);
}

Communicator::~Communicator() {
  exists = false;
  if (!transport_) return;
  std::set_terminate(previous_terminate);
  terminating = nullptr;
  if (size_ > 1 && std::uncaught_exceptions() > exceptions_) {
    abort_soon(transport_);
  } else {
    try {
      if (size_ > 1) transport_->announce({Call::destructor});
    } catch (const std::exception& error) {
      detail::write_quietly(STDERR_FILENO,
                            message("retort: rank {} of {}: {}\n", rank_, size_, error.what()));
      transport_->abort();
    }
    transport_->finalize();
    delete transport_;
  }
}

void Communicator::barrier() const {
  if (size_ > 1) transport_->announce({Call::barrier});  // waits for all ranks
}

Tensor Communicator::broadcast(const Tensor& tensor, int root) const {
  if (root < 0 || root >= size_)
    throw ValueError(
        message("Communicator::broadcast: rank {} does not exist; the ranks are 0 to {}", root, size_ - 1));
  if (size_ == 1) return tensor;
  check_same(*transport_, Call::broadcast, tensor, root);
  visit_dtype(tensor.dtype(), [&](auto zero) {
    const auto values = tensor.mutable_data<decltype(zero)>();
    transport_->broadcast(values.data(), values.size_bytes(), root);
  });
  return tensor;
}

Tensor Communicator::all_reduce(const Tensor& tensor, ReduceOp op) const {
  if (size_ == 1) return tensor;
  check_same(*transport_, Call::all_reduce, tensor);
  visit_dtype(tensor.dtype(), [&]<class T>(T) {
    const std::span<T> own = tensor.mutable_data<T>();
    const Tensor other = empty(tensor.shape(), tensor.dtype());
    const std::span<T> received = other.mutable_data<T>();
    for (int step = 1; step < size_; step *= 2) {
      if (rank_ % (2 * step) != 0) {
        transport_->send(own.data(), own.size_bytes(), rank_ - step);
        break;
      }
      if (rank_ + step >= size_) continue;
      transport_->receive(received.data(), received.size_bytes(), rank_ + step);
      combine<T>(own.data(), received.data(), own.data(), tensor.size(), op);
    }
    transport_->broadcast(own.data(), own.size_bytes(), 0);
  });
  return tensor;
}

Tensor Communicator::all_gather(const Tensor& tensor) const {
  if (size_ > 1) check_same(*transport_, Call::all_gather, tensor);
  std::vector<std::int64_t> extents{size_};
  extents.insert(extents.end(), tensor.shape().begin(), tensor.shape().end());
  const Tensor all = empty(Shape(extents), tensor.dtype());
  visit_dtype(tensor.dtype(), [&]<class T>(T) {
    const std::span<const T> own = tensor.data<T>();
    const std::span<T> gathered = all.mutable_data<T>();
    if (size_ > 1) {
      transport_->all_gather(own.data(), gathered.data(), own.size_bytes());
    } else {
      std::ranges::copy(own, gathered.begin());
    }
  });
  return all;
}

}  // namespace retort
