// How processes exchange bytes: the interface between Communicator and MPI. Internal.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace retort::detail {

/// The processes of one job. All calls throw Error, with the rank and the failed MPI call, when MPI reports
/// an error. A request is the number of an exchange that was started; it is valid until clear().
class Transport {
 public:
  using Request = std::size_t;

  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Blocking calls of all processes.
  virtual void barrier() = 0;
  virtual void broadcast(void* bytes, std::size_t count, int root) = 0;
  /// `all` holds `count` bytes of each rank, in the order of the ranks.
  virtual void all_gather(const void* own, void* all, std::size_t count) = 0;
  // Blocking calls of two processes.
  virtual void send(const void* bytes, std::size_t count, int to) = 0;
  virtual void receive(void* bytes, std::size_t count, int from) = 0;

  // Calls that return at once; the bytes must stay untouched until the request is done. Collective ones of
  // the same kind are started in the same order on every rank.
  virtual Request start_send(const void* bytes, std::size_t count, int to, int tag) = 0;
  virtual Request start_receive(void* bytes, std::size_t count, int from, int tag) = 0;
  virtual Request start_broadcast(void* bytes, std::size_t count, int root) = 0;
  virtual Request start_all_gather(const void* own, void* all, std::size_t count) = 0;
  /// Lets MPI work and notes which requests are done; `wait` blocks until at least one more is done.
  virtual void progress(bool wait) = 0;
  virtual bool done(Request request) const = 0;
  /// Forgets all requests, which must be done.
  virtual void clear() = 0;

  /// Ends MPI, after all other ranks have come to the same call.
  virtual void finalize() noexcept = 0;
  /// Ends the processes of all ranks at once.
  virtual void abort() noexcept = 0;
};

/// True if the library was built with MPI.
bool has_mpi() noexcept;
/// Initialises MPI. Throws: Error without MPI, or if MPI was ended before or lacks MPI_THREAD_SERIALIZED.
std::unique_ptr<Transport> make_mpi_transport(int& argc, char**& argv);

}  // namespace retort::detail
