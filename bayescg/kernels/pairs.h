// Lennard-Jones and Coulomb between pairs of atoms.

#pragma once

#include <cmath>

#include "tile.h"

namespace bayescg {

template <bool Cut, class T> void add_range(Tile<T> &tile, int64_t from, int64_t to, const T *range) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *f = tile.f, *e = tile.e;
  const T cutoff = range[0], begin = range[1], k_rf = range[2], c_rf = range[3], width = 1 / (cutoff - begin);
  for (int64_t n = from; n < to; ++n) {
    const int64_t i = 3 * W * t.pair_atoms[2 * n], j = 3 * W * t.pair_atoms[2 * n + 1];
    const T qq = t.pair_qq[n], a = t.pair_a[n], c = t.pair_b[n];
    const T *xi = x + i, *xj = x + j;
    T *fi = f + i, *fj = f + j;
    FRAMES {
      const T dx = xi[b] - xj[b], dy = xi[b + W] - xj[b + W], dz = xi[b + 2 * W] - xj[b + 2 * W];
      const T square = dx * dx + dy * dy + dz * dz, s = larger(square, T(kSquaredFloor));
      const T v2 = 1 / s, v = std::sqrt(v2), v6 = v2 * v2 * v2;
      T wells = (a * v6 - c) * v6, pull = (12 * a * v6 - 6 * c) * v6 * v2, charges = qq * v, field = charges * v2;
      if (Cut) {
        const T past = s * v - begin, u = past > 0 ? past * width : T(0);
        const T on = 1 + u * u * u * (-10 + u * (15 - 6 * u)), off = u * u * (-30 + u * (60 - 30 * u)) * width;
        pull = pull * on - wells * off * v;
        wells *= on;
        charges += qq * (k_rf * s - c_rf);
        field -= 2 * qq * k_rf;
      }
      const bool near = !Cut || s < cutoff * cutoff;
      e[b] += near ? wells + charges : T(0);
      const T g = near && square >= T(kSquaredFloor) ? pull + field : T(0);
      fi[b] += g * dx, fi[b + W] += g * dy, fi[b + 2 * W] += g * dz;
      fj[b] -= g * dx, fj[b + W] -= g * dy, fj[b + 2 * W] -= g * dz;
    }
  }
}

template <class T> void add_pairs(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  for (int64_t n = 0, from = 0; n < t.ranges; from += t.pairs[n++]) {
    const T *range = t.range + 4 * n;
    if (std::isinf(range[0])) add_range<false>(tile, from, from + t.pairs[n], range);
    else add_range<true>(tile, from, from + t.pairs[n], range);
  }
}

}  // namespace bayescg
