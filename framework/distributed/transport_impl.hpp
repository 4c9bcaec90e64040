// Exchange of bytes between processes: the interface between Communicator and MPI. Internal.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace retort::detail {

/// The collective call that a rank is about to make. The ranks exchange it first, so that different calls
/// cause an error and not a deadlock.
struct Announcement {
  enum class Call : std::uint64_t {
    barrier,
    broadcast,
    all_reduce,
    all_gather,
    destructor,
    step,     // of a DataParallel
    internal  // of DataParallel's constructor, a Training, a RunFolder, a Checkpoint or interrupted()
  };
  Call call = Call::internal;
  std::array<std::uint64_t, 4> details = {};  // which depend on the call

  bool operator==(const Announcement&) const = default;
};

/// A message that names the first rank whose call differs from that of rank 0; empty if none does.
std::string call_difference(std::span<const Announcement> all);

/// The processes of one job. A request is the number of a started exchange; it is valid until clear(). All
/// calls throw Error, naming the rank and the failed MPI call, if MPI reports an error.
class Transport {
 public:
  using Request = std::size_t;

  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Blocking calls of all processes. They throw Error on every rank if a rank makes another call.
  /// Returns the announcements of all ranks, in rank order.
  std::vector<Announcement> announce(const Announcement& own);
  void broadcast(void* bytes, std::size_t count, int root);
  /// `all` receives `count` bytes from each rank, in rank order.
  void all_gather(const void* own, void* all, std::size_t count);
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

 private:
  /// Matches start_all_gather of one Announcement on other ranks.
  virtual void do_announce(const Announcement& own, Announcement* all) = 0;
  virtual void do_broadcast(void* bytes, std::size_t count, int root) = 0;
  virtual void do_all_gather(const void* own, void* all, std::size_t count) = 0;
};

/// True if the library was built with MPI.
bool has_mpi() noexcept;
/// Initialises MPI.
/// Throws: Error without MPI, or if MPI was ended before or lacks MPI_THREAD_SERIALIZED.
std::unique_ptr<Transport> make_mpi_transport(int& argc, char**& argv);

}  // namespace retort::detail
