// Torsions: Fourier series, CHARMM's harmonic impropers, and maps over two of them. Impropers and maps come first, and
// leave their derivatives by the angles to the loop that turns all of them into forces.

#pragma once

#include "tile.h"

namespace bayescg {

// What a torsion is made of: u, axis and w between its atoms, and the normals of its two planes
template <class T> struct Torsion {
  T ux, uy, uz, vx, vy, vz, wx, wy, wz, mx, my, mz, nx, ny, nz, mm, nn, cos, sin, vv, v;
};

template <class T> INLINE Torsion<T> torsion(const T *xa, const T *xb, const T *xc, const T *xd, int b) {
  Torsion<T> s;
  s.ux = xa[b] - xb[b], s.uy = xa[b + W] - xb[b + W], s.uz = xa[b + 2 * W] - xb[b + 2 * W];
  s.vx = xc[b] - xb[b], s.vy = xc[b + W] - xb[b + W], s.vz = xc[b + 2 * W] - xb[b + 2 * W];
  s.wx = xc[b] - xd[b], s.wy = xc[b + W] - xd[b + W], s.wz = xc[b + 2 * W] - xd[b + 2 * W];
  s.mx = s.uy * s.vz - s.uz * s.vy, s.my = s.uz * s.vx - s.ux * s.vz, s.mz = s.ux * s.vy - s.uy * s.vx;
  s.nx = s.vy * s.wz - s.vz * s.wy, s.ny = s.vz * s.wx - s.vx * s.wz, s.nz = s.vx * s.wy - s.vy * s.wx;
  s.mm = 1 / larger(s.mx * s.mx + s.my * s.my + s.mz * s.mz, T(kLine));
  s.nn = 1 / larger(s.nx * s.nx + s.ny * s.ny + s.nz * s.nz, T(kLine));
  s.vv = larger(s.vx * s.vx + s.vy * s.vy + s.vz * s.vz, T(kPoint));
  s.v = std::sqrt(s.vv);
  const T scale = std::sqrt(s.mm) * std::sqrt(s.nn);
  s.cos = (s.mx * s.nx + s.my * s.ny + s.mz * s.nz) * scale;
  s.sin = (s.ux * s.nx + s.uy * s.ny + s.uz * s.nz) * s.v * scale;
  return s;
}

template <class T> void find_torsions(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *phi = tile.phi, *slope = tile.slope;
  for (int64_t n = 0; n < t.torsions; ++n) {
    const int32_t *at = t.torsion_atoms + 4 * n;
    const T *xa = x + 3 * W * at[0], *xb = x + 3 * W * at[1], *xc = x + 3 * W * at[2], *xd = x + 3 * W * at[3];
    T *angle = phi + n * W, *by_angle = slope + n * W;
    FRAMES {
      const Torsion<T> s = torsion(xa, xb, xc, xd, b);
      const T up = s.sin < 0 ? -s.sin : s.sin, to = arc(up, s.cos);
      angle[b] = s.sin < 0 ? -to : to;
      by_angle[b] = 0;
    }
  }
}

template <class T> void add_impropers(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *e = tile.e, *phi = tile.phi, *slope = tile.slope;
  for (int64_t n = 0; n < t.impropers; ++n) {
    const T *angle = phi + t.improper_torsion[n] * W;
    T *by_angle = slope + t.improper_torsion[n] * W;
    const T rest = t.improper_angle[n], k = t.improper_k[n];
    FRAMES {
      const T turn = angle[b] - rest, away = turn < 0 ? -turn : turn, back = T(6.28318530717958647692) - away;
      const T d = away < back ? away : back, sign = (turn < 0) == (away < back) ? T(-1) : T(1);
      e[b] += k * d * d;
      by_angle[b] += 2 * k * d * sign;
    }
  }
}

template <class T> void add_maps(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *e = tile.e, *phi = tile.phi, *slope = tile.slope;
  for (int64_t n = 0; n < t.maps; ++n) {
    const T *first = phi + t.map_phi[n] * W, *second = phi + t.map_psi[n] * W;
    T *by_first = slope + t.map_phi[n] * W, *by_second = slope + t.map_psi[n] * W;
    const int32_t start = t.map_first[n], size = t.map_size[n];
    const T cells = size / T(6.28318530717958647692);
    for (int b = 0; b < W; ++b) {
      T u = first[b] * cells, v = second[b] * cells;
      u += u < 0 ? T(size) : T(0), v += v < 0 ? T(size) : T(0);
      // an angle that is not a number belongs to no cell; any one will do, since the rest of the cell is NaN
      const int32_t i = u >= 0 && u < size ? int32_t(u) : size - 1, j = v >= 0 && v < size ? int32_t(v) : size - 1;
      const T *c = t.map_patches + 16 * int64_t(start + size * i + j);
      u -= i, v -= j;
      T value = 0, by_u = 0, by_v = 0;
      for (int m = 3; m >= 0; --m) {
        const T *row = c + 4 * m;
        by_u = by_u * u + value;
        value = value * u + ((row[3] * v + row[2]) * v + row[1]) * v + row[0];
        by_v = by_v * u + (3 * row[3] * v + 2 * row[2]) * v + row[1];
      }
      e[b] += value;
      by_first[b] += by_u * cells;
      by_second[b] += by_v * cells;
    }
  }
}

// Orders: how many the tables have if that is known when compiling, so that the loop over them can be unrolled
template <bool Slopes, int Orders, class T> void add_series(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *f = tile.f, *e = tile.e, *slope = tile.slope;
  for (int64_t n = 0; n < t.torsions; ++n) {
    const int32_t *at = t.torsion_atoms + 4 * n;
    const T *xa = x + 3 * W * at[0], *xb = x + 3 * W * at[1], *xc = x + 3 * W * at[2], *xd = x + 3 * W * at[3];
    T *fa = f + 3 * W * at[0], *fb = f + 3 * W * at[1], *fc = f + 3 * W * at[2], *fd = f + 3 * W * at[3];
    const T *by_angle = Slopes ? slope + n * W : nullptr;
    const T *cosines = t.torsion_cos + n * t.orders, *sines = t.torsion_sin + n * t.orders;
    const int64_t orders = Orders ? Orders : t.orders;
    FRAMES {
      const Torsion<T> s = torsion(xa, xb, xc, xd, b);
      T value = cosines[0], by = Slopes ? by_angle[b] : T(0), c = s.cos, d = s.sin;
      for (int64_t k = 1; k < orders; ++k) {
        value += cosines[k] * c + sines[k] * d;
        by += T(k) * (sines[k] * c - cosines[k] * d);
        const T next = c * s.cos - d * s.sin;
        d = d * s.cos + c * s.sin, c = next;
      }
      e[b] += value;
      const T gm = -by * s.v * s.mm, gn = by * s.v * s.nn;
      const T ax = gm * s.mx, ay = gm * s.my, az = gm * s.mz, dx = gn * s.nx, dy = gn * s.ny, dz = gn * s.nz;
      const T p = (s.ux * s.vx + s.uy * s.vy + s.uz * s.vz) / s.vv;
      const T q = (s.wx * s.vx + s.wy * s.vy + s.wz * s.vz) / s.vv;
      const T sx = p * ax - q * dx, sy = p * ay - q * dy, sz = p * az - q * dz;
      fa[b] += ax, fa[b + W] += ay, fa[b + 2 * W] += az;
      fb[b] += sx - ax, fb[b + W] += sy - ay, fb[b + 2 * W] += sz - az;
      fc[b] -= sx + dx, fc[b + W] -= sy + dy, fc[b + 2 * W] -= sz + dz;
      fd[b] += dx, fd[b + W] += dy, fd[b + 2 * W] += dz;
    }
  }
}

template <bool Slopes, class T> void choose_series(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  if (t.orders == 5) add_series<Slopes, 5>(tile);
  else if (t.orders == 7) add_series<Slopes, 7>(tile);
  else add_series<Slopes, 0>(tile);
}

template <class T> void add_torsions(Tile<T> &tile) {
  if (tile.t.impropers + tile.t.maps) {
    find_torsions(tile);
    add_impropers(tile);
    add_maps(tile);
    choose_series<true>(tile);
  } else {
    choose_series<false>(tile);
  }
}

}  // namespace bayescg
