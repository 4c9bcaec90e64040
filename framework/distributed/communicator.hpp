// The processes of one job, on one or more machines.
#pragma once

#include <string>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {
class Transport;
}

/// The reduction of all_reduce over the ranks.
enum class ReduceOp { sum, min, max };

/// The processes started together by `mpirun`, `srun` or another launcher, connected by MPI. Without a
/// launcher there is one process, rank 0 of 1, and MPI is not started. Construct it first in main; only one
/// can exist at a time. The destructor ends MPI.
///
///     int main(int argc, char** argv) {
///       rt::Communicator world(argc, argv);
///
/// All ranks must make the calls that exchange data in the same order, with tensors of the same shape and
/// element type; a difference is an error on every rank. These calls include the steps of a DataParallel or
/// a Training, and the destructor, so that a rank that returns early ends the job with a message. A
/// Communicator must be used by one thread at a time.
///
/// A failure on one rank ends the job. If an exception leaves main or another thread, its text is printed
/// with the rank, and all ranks are ended. If an exception destroys the Communicator and main catches it,
/// main prints its message as usual, and all ranks are ended when the process exits.
///
/// Throws: Error, naming the rank and the MPI call, if MPI reports an error; Error if a Communicator exists
/// already, under a launcher of several processes if the library was built without MPI, or, on every
/// rank, if ranks make different calls.
class Communicator {
 public:
  Communicator(int argc, char** argv);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// The number of this process, in [0, size()).
  int rank() const noexcept { return rank_; }
  /// Number of processes.
  int size() const noexcept { return size_; }

  /// Returns when all ranks have called it.
  void barrier() const;
  /// Copies the values of `tensor` on rank `root` to `tensor` on every rank, and returns it.
  /// Throws: ValueError if the rank does not exist or, on every rank, if `root` differs between ranks;
  /// ShapeError or TypeError, on every rank, if the tensors differ.
  Tensor broadcast(const Tensor& tensor, int root = 0) const;
  /// Replaces the values of `tensor` on every rank by their sum, minimum or maximum over the ranks, and
  /// returns it. All ranks get the same bits. Sums use a fixed binary tree that depends on the number of
  /// ranks.
  /// Edge cases: as in elementwise operations, NaN propagates.
  /// Throws: ShapeError or TypeError, on every rank, if the tensors differ.
  Tensor all_reduce(const Tensor& tensor, ReduceOp op = ReduceOp::sum) const;
  /// Returns the tensors of all ranks, in rank order.
  /// Shapes: tensor (…); the result is (size(), …).
  /// Throws: ShapeError or TypeError, on every rank, if the tensors differ.
  Tensor all_gather(const Tensor& tensor) const;

  /// Internal: null in a job of one process.
  detail::Transport* transport() const noexcept { return transport_; }

 private:
  int rank_ = 0;
  int size_ = 1;
  int exceptions_ = 0;                      // number of exceptions in flight at construction
  detail::Transport* transport_ = nullptr;  // owned; null for one process without MPI
};

}  // namespace retort
