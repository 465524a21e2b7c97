// Energies and forces of many frames of one molecule, by hand.
//
// Frames are taken in tiles. Within a tile the frame is the innermost, contiguous index, so that every operation is a
// vector operation over frames, the terms of the force field are a plain loop around it, and forces are added up in
// place: no term of one tile meets another thread's. What a frame gets never depends on the frames around it.
// The formulas are those of bonded.py, nonbonded.py and born.py.

#include <atomic>
#include <functional>
#include <new>
#include <vector>

#include "bonded.h"
#include "born.h"
#include "dynamics.h"
#include "pairs.h"
#include "pool.h"
#include "torsions.h"

namespace bayescg {

template <class T> void evaluate(Tile<T> &tile) {
  add_bonds(tile);
  add_angles(tile);
  add_torsions(tile);
  add_pairs(tile);
  if (tile.t.born) add_born(tile);
}

// Work on all tiles in so many threads; zero, or one where the memory does not suffice.
template <class T, class Work> int run(const Tables<T> &tables, int64_t frames, int64_t threads, const Work &work) {
  const int64_t tiles = (frames + W - 1) / W;
  std::atomic<int64_t> next{0};
  std::vector<Tile<T>> room;  // taken here: memory of a thread that ends is given back and faulted in anew
  try {
    for (int64_t n = 0; n < std::max<int64_t>(1, std::min(threads, tiles)); ++n) room.emplace_back(tables);
  } catch (const std::bad_alloc &) {
    return 1;
  }
  Pool::here().share(int64_t(room.size()), [&](int64_t thread) {
    for (int64_t n = next++; n < tiles; n = next++) work(room[thread], n * W, int(std::min<int64_t>(frames - n * W, W)));
  });
  return 0;
}

template <class T> int forces(const Tables<T> &tables, const T *x, T *energy, T *force, int64_t frames, int64_t threads) {
  const int64_t dim = 3 * tables.atoms;
  return run(tables, frames, threads, [&](Tile<T> &tile, int64_t from, int count) {
    tile.load(x + from * dim, tile.x, count);
    tile.reset();
    evaluate(tile);
    std::copy(tile.e, tile.e + count, energy + from);
    tile.store(tile.f, force + from * dim, count);
  });
}

template <class T> int dynamics(const Tables<T> &tables, const Motion<T> &motion, int64_t frames, int64_t threads) {
  return run(tables, frames, threads, [&](Tile<T> &tile, int64_t from, int count) { move(tile, motion, from, count); });
}

}  // namespace bayescg

extern "C" {

int evaluate_float(const bayescg::Tables<float> *tables, const float *x, float *energy, float *force, int64_t frames,
                   int64_t threads) {
  return bayescg::forces(*tables, x, energy, force, frames, threads);
}

int evaluate_double(const bayescg::Tables<double> *tables, const double *x, double *energy, double *force,
                    int64_t frames, int64_t threads) {
  return bayescg::forces(*tables, x, energy, force, frames, threads);
}

int move_float(const bayescg::Tables<float> *tables, const bayescg::Motion<float> *motion, int64_t frames,
               int64_t threads) {
  return bayescg::dynamics(*tables, *motion, frames, threads);
}

int move_double(const bayescg::Tables<double> *tables, const bayescg::Motion<double> *motion, int64_t frames,
                int64_t threads) {
  return bayescg::dynamics(*tables, *motion, frames, threads);
}

}
