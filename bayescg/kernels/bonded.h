// Bonds and angles.

#pragma once

#include "tile.h"

namespace bayescg {

template <class T> void add_bonds(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *f = tile.f, *e = tile.e;
  for (int64_t n = 0; n < t.bonds; ++n) {
    const int64_t i = 3 * W * t.bond_atoms[2 * n], j = 3 * W * t.bond_atoms[2 * n + 1];
    const T length = t.bond_length[n], k = t.bond_k[n];
    const T *xi = x + i, *xj = x + j;
    T *fi = f + i, *fj = f + j;
    FRAMES {
      const T dx = xi[b] - xj[b], dy = xi[b + W] - xj[b + W], dz = xi[b + 2 * W] - xj[b + 2 * W];
      const T r = std::sqrt(larger(dx * dx + dy * dy + dz * dz, T(kPoint))), stretch = r - length;
      const T g = -k * stretch / r;
      e[b] += T(0.5) * k * stretch * stretch;
      fi[b] += g * dx, fi[b + W] += g * dy, fi[b + 2 * W] += g * dz;
      fj[b] -= g * dx, fj[b + W] -= g * dy, fj[b + 2 * W] -= g * dz;
    }
  }
}

template <class T> void add_angles(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *f = tile.f, *e = tile.e;
  for (int64_t n = 0; n < t.angles; ++n) {
    const int32_t *at = t.angle_atoms + 3 * n;
    const T *xa = x + 3 * W * at[0], *xb = x + 3 * W * at[1], *xc = x + 3 * W * at[2];
    T *fa = f + 3 * W * at[0], *fb = f + 3 * W * at[1], *fc = f + 3 * W * at[2];
    const T rest = t.angle_angle[n], k = t.angle_k[n];
    FRAMES {
      const T ux = xa[b] - xb[b], uy = xa[b + W] - xb[b + W], uz = xa[b + 2 * W] - xb[b + 2 * W];
      const T vx = xc[b] - xb[b], vy = xc[b + W] - xb[b + W], vz = xc[b + 2 * W] - xb[b + 2 * W];
      const T mx = uy * vz - uz * vy, my = uz * vx - ux * vz, mz = ux * vy - uy * vx;
      const T uv = ux * vx + uy * vy + uz * vz, uu = larger(ux * ux + uy * uy + uz * uz, T(kPoint));
      const T vv = larger(vx * vx + vy * vy + vz * vz, T(kPoint));
      const T area = std::sqrt(larger(mx * mx + my * my + mz * mz, T(kLine)));
      const T bend = arc(area, uv) - rest, g = -k * bend / area, gu = g * uv / uu, gv = g * uv / vv;
      e[b] += T(0.5) * k * bend * bend;
      const T ax = gu * ux - g * vx, ay = gu * uy - g * vy, az = gu * uz - g * vz;
      const T cx = gv * vx - g * ux, cy = gv * vy - g * uy, cz = gv * vz - g * uz;
      fa[b] += ax, fa[b + W] += ay, fa[b + 2 * W] += az;
      fc[b] += cx, fc[b + W] += cy, fc[b + 2 * W] += cz;
      fb[b] -= ax + cx, fb[b + W] -= ay + cy, fb[b + 2 * W] -= az + cz;
    }
  }
}

}  // namespace bayescg
