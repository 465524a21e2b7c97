// Steps of Langevin dynamics (BAOAB), and without friction of velocity Verlet, without leaving a tile.

#pragma once

#include "noise.h"

namespace bayescg {

// native.py declares the same members in the same order.
template <class T> struct Motion {
  const T *from_x, *from_v, *from_f;  // (frames, dim): where the steps begin
  T *x, *v, *f, *energy;              // (frames, dim) thrice, (frames): where they end
  const T *dt;                        // (frames)
  const T *inverse_mass, *spread;     // (dim): 1 / m, and what noise adds to velocities; none without friction
  double slowed;                      // what friction leaves of velocities
  uint64_t seed, step;
  int64_t steps;
};

template <class T> void evaluate(Tile<T> &tile);

// Half a kick.
template <class T> void kick(Tile<T> &tile, T inverse_mass, int64_t k) {
  const T *dt = tile.dt, *force = tile.f + k * W, half = T(0.5) * inverse_mass;
  T *v = tile.v + k * W;
  FRAMES v[b] += dt[b] * half * force[b];
}

// Half a drift, friction and noise, half a drift.
template <class T> void drift(Tile<T> &tile, T slowed, T spread, const T *noise, int64_t k) {
  const T *dt = tile.dt;
  T *x = tile.x + k * W, *v = tile.v + k * W;
  FRAMES {
    const T before = v[b];
    v[b] = slowed * before + spread * noise[b];
    x[b] += T(0.5) * dt[b] * (before + v[b]);
  }
}

template <class T> void move(Tile<T> &tile, const Motion<T> &m, int64_t from, int count) {
  const int64_t dim = 3 * tile.t.atoms;
  uint32_t chain[W];
  for (int b = 0; b < W; ++b) {
    const int64_t frame = from + (b < count ? b : count - 1);
    tile.dt[b] = m.dt[frame], chain[b] = uint32_t(frame);
  }
  tile.load(m.from_x + from * dim, tile.x, count);
  tile.load(m.from_v + from * dim, tile.v, count);
  tile.load(m.from_f + from * dim, tile.f, count);
  std::fill(tile.noise, tile.noise + 4 * W, T(0));
  for (int64_t n = 0; n < m.steps; ++n) {
    const Counter counter{m.seed, m.step + uint64_t(n)};
    for (int64_t k = 0; k < dim; ++k) {
      if (m.spread && k % 4 == 0) counter.normal(chain, uint32_t(k / 4), tile.noise);
      kick(tile, m.inverse_mass[k], k);
      drift(tile, T(m.slowed), m.spread ? m.spread[k] : T(0), tile.noise + k % 4 * W, k);
    }
    tile.reset();
    evaluate(tile);
    for (int64_t k = 0; k < dim; ++k) kick(tile, m.inverse_mass[k], k);
  }
  tile.store(tile.x, m.x + from * dim, count);
  tile.store(tile.v, m.v + from * dim, count);
  tile.store(tile.f, m.f + from * dim, count);
  std::copy(tile.e, tile.e + count, m.energy + from);
}

}  // namespace bayescg
