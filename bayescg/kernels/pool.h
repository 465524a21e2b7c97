// Threads that wait from one call to the next: to start one takes as long as the energies of hundreds of frames.

#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

namespace bayescg {

using Work = std::function<void(int64_t)>;

class Pool {
 public:
  // That of this process; a forked one has none of its parent's threads. Never destroyed: its threads wait to the end.
  static Pool &here() {
    static std::atomic<Pool *> known{nullptr};
    Pool *pool = known.load();
    if (!pool || pool->process != getpid()) known.store(pool = new Pool);
    return *pool;
  }

  // work(0) in this thread, and work(1) ... work(count - 1) in others as far as there are any to be had.
  void share(int64_t count, const Work &work) {
    std::unique_lock<std::mutex> mine(taken, std::try_to_lock);
    if (!mine || count < 2) return work(0);
    {
      std::lock_guard<std::mutex> lock(mutex);
      for (; threads < count - 1; ++threads) {
        try {
          std::thread(&Pool::wait, this, threads + 1, round).detach();
        } catch (const std::system_error &) {
          break;  // fewer threads than asked for do the same work
        }
      }
      job = &work, wanted = left = std::min(threads, count - 1), ++round;
    }
    called.notify_all();
    work(0);
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [&] { return left == 0; });
  }

 private:
  void wait(int64_t number, uint64_t seen) {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      called.wait(lock, [&] { return round != seen; });
      seen = round;
      if (number > wanted) continue;
      const Work &work = *job;
      lock.unlock();
      work(number);
      lock.lock();
      if (--left == 0) finished.notify_one();
    }
  }

  const pid_t process = getpid();
  std::mutex taken, mutex;  // held by whoever uses the pool; of what follows
  std::condition_variable called, finished;
  const Work *job = nullptr;
  int64_t threads = 0, wanted = 0, left = 0;
  uint64_t round = 0;
};

}  // namespace bayescg
