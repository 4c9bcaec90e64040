#include "retort/framework/distributed/transport_impl.hpp"

#include "retort/framework/base/error.hpp"

#ifdef RETORT_WITH_MPI

#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

namespace retort::detail {
namespace {

constexpr std::size_t largest_message = std::size_t{1} << 30;

class MpiTransport : public Transport {
 public:
  MpiTransport(int& argc, char**& argv) {
    int running = 0, over = 0;
    MPI_Finalized(&over);
    if (over)
      throw Error(
          "Communicator: MPI was ended in this process and cannot be started again; make one Communicator at "
          "the beginning of main and keep it");
    MPI_Initialized(&running);
    int level = MPI_THREAD_SINGLE;
    if (running) {
      MPI_Query_thread(&level);
    } else {
      check(MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level), "MPI_Init_thread");
      owner_ = true;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    if (level < MPI_THREAD_SERIALIZED) {
      if (owner_) MPI_Finalize();
      throw Error(
          message("Communicator: rank {}: MPI_Init_thread gave thread level {}, but MPI_THREAD_SERIALIZED "
                  "is needed; use a build of MPI with threads",
                  rank_, level));
    }
    for (MPI_Comm* communicator : {&world_, &broadcasts_}) {
      check(MPI_Comm_dup(MPI_COMM_WORLD, communicator), "MPI_Comm_dup");
      check(MPI_Comm_set_errhandler(*communicator, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void send(const void* bytes, std::size_t count, int to) override {
    in_parts(count, [&](std::size_t begin, int part) {
      check(MPI_Send(static_cast<const char*>(bytes) + begin, part, MPI_BYTE, to, blocking_tag, world_),
            "MPI_Send");
    });
  }
  void receive(void* bytes, std::size_t count, int from) override {
    in_parts(count, [&](std::size_t begin, int part) {
      check(MPI_Recv(static_cast<char*>(bytes) + begin, part, MPI_BYTE, from, blocking_tag, world_,
                     MPI_STATUS_IGNORE),
            "MPI_Recv");
    });
  }

  Request start_send(const void* bytes, std::size_t count, int to, int tag) override {
    return started(MPI_Isend(bytes, static_cast<int>(count), MPI_BYTE, to, tag, world_, add()), "MPI_Isend");
  }
  Request start_receive(void* bytes, std::size_t count, int from, int tag) override {
    return started(MPI_Irecv(bytes, static_cast<int>(count), MPI_BYTE, from, tag, world_, add()),
                   "MPI_Irecv");
  }
  Request start_broadcast(void* bytes, std::size_t count, int root) override {
    return started(MPI_Ibcast(bytes, static_cast<int>(count), MPI_BYTE, root, broadcasts_, add()),
                   "MPI_Ibcast");
  }
  Request start_all_gather(const void* own, void* all, std::size_t count) override {
    const int n = static_cast<int>(count);
    return started(MPI_Iallgather(own, n, MPI_BYTE, all, n, MPI_BYTE, world_, add()), "MPI_Iallgather");
  }
  // MPI sets completed requests to MPI_REQUEST_NULL.
  void progress(bool wait) override {
    const int n = static_cast<int>(requests_.size());
    int finished = 0;
    indices_.resize(requests_.size());
    if (n > 0)
      check(wait ? MPI_Waitsome(n, requests_.data(), &finished, indices_.data(), MPI_STATUSES_IGNORE)
                 : MPI_Testsome(n, requests_.data(), &finished, indices_.data(), MPI_STATUSES_IGNORE),
            wait ? "MPI_Waitsome" : "MPI_Testsome");
  }
  bool done(Request request) const override { return requests_[request] == MPI_REQUEST_NULL; }
  void clear() override { requests_.clear(); }

  void finalize() noexcept override {
    MPI_Comm_free(&broadcasts_);
    MPI_Comm_free(&world_);
    if (owner_) MPI_Finalize();
  }
  void abort() noexcept override {
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    std::abort();
  }

 private:
  static constexpr int blocking_tag = 32767;  // the largest tag that every MPI supports

  void do_announce(const Announcement& own, Announcement* all) override {
    MPI_Request request = MPI_REQUEST_NULL;
    constexpr int n = sizeof own;
    check(MPI_Iallgather(&own, n, MPI_BYTE, all, n, MPI_BYTE, world_, &request), "MPI_Iallgather");
    check(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
  }
  void do_broadcast(void* bytes, std::size_t count, int root) override {
    in_parts(count, [&](std::size_t begin, int part) {
      check(MPI_Bcast(static_cast<char*>(bytes) + begin, part, MPI_BYTE, root, world_), "MPI_Bcast");
    });
  }
  void do_all_gather(const void* own, void* all, std::size_t count) override {
    if (count <= largest_message) {
      const int n = static_cast<int>(count);
      check(MPI_Allgather(own, n, MPI_BYTE, all, n, MPI_BYTE, world_), "MPI_Allgather");
      return;
    }
    char* const gathered = static_cast<char*>(all);
    std::copy_n(static_cast<const char*>(own), count, gathered + count * static_cast<std::size_t>(rank_));
    for (int root = 0; root < size_; ++root)
      do_broadcast(gathered + count * static_cast<std::size_t>(root), count, root);
  }

  void check(int code, const char* call) const {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw Error(message("Communicator: rank {}: {} failed: {}", rank_, call, text));
  }

  MPI_Request* add() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  Request started(int code, const char* call) {
    check(code, call);
    return requests_.size() - 1;
  }

  // MPI 3 counts in int.
  template <class F>
  static void in_parts(std::size_t count, F f) {
    for (std::size_t begin = 0; begin < count; begin += largest_message)
      f(begin, static_cast<int>(std::min(largest_message, count - begin)));
  }

  bool owner_ = false;
  int rank_ = 0;
  int size_ = 1;
  MPI_Comm world_ = MPI_COMM_NULL;
  // A separate communicator, so that broadcasts match regardless of other traffic.
  MPI_Comm broadcasts_ = MPI_COMM_NULL;
  std::vector<MPI_Request> requests_;
  std::vector<int> indices_;
};

}  // namespace

bool has_mpi() noexcept { return true; }

std::unique_ptr<Transport> make_mpi_transport(int& argc, char**& argv) {
  return std::make_unique<MpiTransport>(argc, argv);
}

}  // namespace retort::detail

#else

namespace retort::detail {

bool has_mpi() noexcept { return false; }

std::unique_ptr<Transport> make_mpi_transport(int&, char**&) {
  throw Error("Communicator: this build of Retort has no MPI");
}

}  // namespace retort::detail

#endif
