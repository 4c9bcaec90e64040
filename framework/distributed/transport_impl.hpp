// Exchange of bytes between processes: the interface between Communicator and MPI. Internal.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace retort::detail {

/// The processes of one job. A request is the number of a started exchange; it is valid until clear(). All
/// calls throw Error, naming the rank and the failed MPI call, if MPI reports an error.
class Transport {
 public:
  using Request = std::size_t;

  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Blocking calls of all processes.
  virtual void broadcast(void* bytes, std::size_t count, int root) = 0;
  /// `all` receives `count` bytes from each rank, in rank order.
  virtual void all_gather(const void* own, void* all, std::size_t count) = 0;
  // Blocking calls of two processes.
  virtual void send(const void* bytes, std::size_t count, int to) = 0;
  virtual void receive(void* bytes, std::size_t count, int from) = 0;

  // Non-blocking calls; the bytes must not change until the request is done. Collective calls of one kind are
  // started in the same order on every rank.
  virtual Request start_send(const void* bytes, std::size_t count, int to, int tag) = 0;
  virtual Request start_receive(void* bytes, std::size_t count, int from, int tag) = 0;
  virtual Request start_broadcast(void* bytes, std::size_t count, int root) = 0;
  virtual Request start_all_gather(const void* own, void* all, std::size_t count) = 0;
  /// Lets MPI make progress and notes completed requests; `wait` blocks until at least one more is done.
  virtual void progress(bool wait) = 0;
  virtual bool done(Request request) const = 0;
  /// Forgets all requests, which must be done.
  virtual void clear() = 0;

  /// Ends MPI after all other ranks have made the same call.
  virtual void finalize() noexcept = 0;
  /// Ends the processes of all ranks immediately.
  virtual void abort() noexcept = 0;
};

/// True if the library was built with MPI.
bool has_mpi() noexcept;
/// Initialises MPI.
/// Throws: Error without MPI, or if MPI was ended before or lacks MPI_THREAD_SERIALIZED.
std::unique_ptr<Transport> make_mpi_transport(int& argc, char**& argv);

}  // namespace retort::detail
