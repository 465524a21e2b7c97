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

// Zero, or one where the memory does not suffice.
template <class T> int run(const Tables<T> &tables, const T *x, T *energy, T *force, int64_t frames, int64_t threads) {
  const int64_t tiles = (frames + W - 1) / W, dim = 3 * tables.atoms;
  std::atomic<int64_t> next{0};
  auto work = [&](Tile<T> &tile) {
    for (int64_t n = next++; n < tiles; n = next++) {
      const int64_t from = n * W;
      const int count = int(frames - from < W ? frames - from : W);
      tile.load(x + from * dim, count);
      evaluate(tile);
      tile.store(energy + from, force + from * dim, count);
    }
  };
  std::vector<Tile<T>> room;  // taken here: memory of a thread that ends is given back and faulted in anew
  try {
    for (int64_t n = 0; n < std::max<int64_t>(1, std::min(threads, tiles)); ++n) room.emplace_back(tables);
  } catch (const std::bad_alloc &) {
    return 1;
  }
  Pool::here().share(int64_t(room.size()), [&](int64_t n) { work(room[n]); });
  return 0;
}

}  // namespace bayescg

extern "C" {

int evaluate_float(const bayescg::Tables<float> *tables, const float *x, float *energy, float *force, int64_t frames,
                   int64_t threads) {
  return bayescg::run(*tables, x, energy, force, frames, threads);
}

int evaluate_double(const bayescg::Tables<double> *tables, const double *x, double *energy, double *force,
                    int64_t frames, int64_t threads) {
  return bayescg::run(*tables, x, energy, force, frames, threads);
}

}
