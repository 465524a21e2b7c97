// The generalised-Born solvent: descreening integrals of all atoms over all others, Born radii, energies, and back
// along the same chain.

#pragma once

#include "tile.h"

namespace bayescg {

// One direction of a pair: the integral of an atom of radius rho over another of scaled radius s, and its derivative
template <bool Swallowed, class T> INLINE void descreen(T r, T v, T rho, T s, T &value, T &by_r) {
  const T upper = r + s, gap = r - s, size = gap < 0 ? -gap : gap, lower = larger(size, rho);
  const T both = 1 / (lower * upper), il = both * upper, iu = both * lower, difference = iu * iu - il * il;
  const T s2 = s * s * v * v, quarter_log = T(0.25) * ln(lower * iu) * v;
  value = T(0.5) * (il - iu) + T(0.125) * r * (1 - s2) * difference + quarter_log;
  by_r = T(0.125) * (1 + s2) * difference - quarter_log * v;
  const bool inside = rho < -gap;
  if (Swallowed) value += inside ? 1 / rho - il : T(0);
  else by_r += inside ? il * il : T(0);
  const bool seen = upper > rho;
  value = seen ? value : T(0), by_r = seen ? by_r : T(0);
}

template <bool Swallowed, bool Neck, class T> void integrate(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *integral = tile.integral;
  std::fill(integral, integral + t.atoms * W, T(0));
  const T cutoff = t.solvent[3];
  int64_t p = 0;
  for (int64_t i = 0; i < t.atoms; ++i) {
    for (int64_t j = i + 1; j < t.atoms; ++j, ++p) {
      const T *xi = x + 3 * W * i, *xj = x + 3 * W * j;
      T *to_i = integral + i * W, *to_j = integral + j * W;
      T *square = tile.r2 + p * W, *in = tile.inward + p * W, *out = tile.outward + p * W;
      const T ri = t.offset_radius[i], rj = t.offset_radius[j], si = t.scaled_radius[i], sj = t.scaled_radius[j];
      const int64_t ij = i * t.atoms + j, ji = j * t.atoms + i;
      const T depth_i = Neck ? t.neck_depth[ij] : T(0), depth_j = Neck ? t.neck_depth[ji] : T(0);
      const T at_i = Neck ? t.neck_position[ij] : T(0), at_j = Neck ? t.neck_position[ji] : T(0);
      const T reach = Neck ? t.neck_reach[ij] : T(0);
      FRAMES {
        const T dx = xi[b] - xj[b], dy = xi[b + W] - xj[b + W], dz = xi[b + 2 * W] - xj[b + 2 * W];
        const T s = larger(dx * dx + dy * dy + dz * dz, T(kSquaredFloor)), r = std::sqrt(s), v = 1 / r;
        T value_i, value_j, by_i, by_j;
        descreen<Swallowed>(r, v, ri, sj, value_i, by_i);
        descreen<Swallowed>(r, v, rj, si, value_j, by_j);
        if (Neck) {
          const T di = r - at_i, dj = r - at_j, di2 = di * di, dj2 = dj * dj;
          const T li = 1 / (1 + 100 * di2 + T(3e5) * di2 * di2 * di2);
          const T lj = 1 / (1 + 100 * dj2 + T(3e5) * dj2 * dj2 * dj2);
          const T ni = r < reach ? depth_i * li : T(0), nj = r < reach ? depth_j * lj : T(0);
          value_i += ni, by_i -= ni * li * di * (200 + T(1.8e6) * di2 * di2);
          value_j += nj, by_j -= nj * lj * dj * (200 + T(1.8e6) * dj2 * dj2);
        }
        const bool near = r < cutoff;
        square[b] = s;
        in[b] = near ? by_i * v : T(0), out[b] = near ? by_j * v : T(0);
        to_i[b] += near ? value_i : T(0), to_j[b] += near ? value_j : T(0);
      }
    }
  }
}

// -k (1 / eps_in - exp(-kappa d) / eps_out), and its derivative by d
template <bool Salt, class T> INLINE void factor(const T *solvent, T d, T &value, T &by) {
  const T shield = Salt ? solvent[1] * expo(-solvent[2] * d) : solvent[1];
  value = shield - solvent[0], by = Salt ? -solvent[2] * shield : T(0);
}

template <bool Salt, class T> void add_own(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *e = tile.e, *integral = tile.integral, *born = tile.born, *by_born = tile.by_born;
  const T solvent[] = {t.solvent[0], t.solvent[1], t.solvent[2]};
  const bool rescaled = t.rescaled;
  for (int64_t i = 0; i < t.atoms; ++i) {
    T *sum = integral + i * W, *size = born + i * W, *by = by_born + i * W;
    const T rho = t.offset_radius[i], q = T(0.5) * t.charge[i] * t.charge[i], radius = t.radius[i], area = t.area[i];
    const T alpha = t.alpha[i], beta = t.beta[i], gamma = t.gamma[i];
    FRAMES {
      T limit = sum[b];
      if (rescaled) {
        const T psi = sum[b] * rho, y = psi * (alpha - psi * (beta - psi * gamma));
        limit = (1 - 2 / (expo(2 * y) + 1)) / radius;
      }
      size[b] = 1 / (1 / rho - limit);
      T value, by_size;
      factor<Salt>(solvent, size[b], value, by_size);
      const T v = 1 / size[b], ratio = radius * v, ratio2 = ratio * ratio, surface = area * ratio2 * ratio2 * ratio2;
      e[b] += q * value * v + surface;
      by[b] = q * (by_size - value * v) * v - 6 * surface * v;
    }
  }
}

template <bool Salt, class T> void polarise(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *e = tile.e, *born = tile.born, *by_born = tile.by_born;
  const T solvent[] = {t.solvent[0], t.solvent[1], t.solvent[2]};
  const T cutoff = t.solvent[3], shift = 1 / cutoff;
  int64_t p = 0;
  for (int64_t i = 0; i < t.atoms; ++i) {
    for (int64_t j = i + 1; j < t.atoms; ++j, ++p) {
      const T *square = tile.r2 + p * W, *bi = born + i * W, *bj = born + j * W;
      T *to_i = by_born + i * W, *to_j = by_born + j * W, *g = tile.pull + p * W;
      const T qq = t.charge[i] * t.charge[j], limit = cutoff * cutoff;
      FRAMES {
        const T product = bi[b] * bj[b], d = T(0.25) * square[b] / product, damp = expo(-d);
        const T v2 = 1 / (square[b] + product * damp), v = std::sqrt(v2);
        T value, by;
        factor<Salt>(solvent, Salt ? 1 / v : T(0), value, by);
        const bool near = square[b] < limit;
        const T scale = near ? qq : T(0);
        e[b] += scale * value * (v - shift);
        const T slope = scale * (by * (v - shift) - value * v2) * v;  // dE/df / f
        g[b] = slope * (1 - T(0.25) * damp);
        const T share = T(0.5) * slope * damp * (1 + d);
        to_i[b] += share * bj[b], to_j[b] += share * bi[b];
      }
    }
  }
}

template <class T> void add_chain(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  T *x = tile.x, *f = tile.f, *integral = tile.integral, *born = tile.born, *by_born = tile.by_born;
  const bool rescaled = t.rescaled;
  for (int64_t i = 0; i < t.atoms; ++i) {
    const T *sum = integral + i * W, *size = born + i * W;
    T *by = by_born + i * W;
    const T rho = t.offset_radius[i], radius = t.radius[i], alpha = t.alpha[i], beta = t.beta[i], gamma = t.gamma[i];
    FRAMES {
      T by_integral = 1;
      if (rescaled) {
        const T psi = sum[b] * rho, bent = radius * (1 / rho - 1 / size[b]);
        by_integral = (1 - bent * bent) * (alpha - psi * (2 * beta - 3 * gamma * psi)) * rho / radius;
      }
      by[b] *= size[b] * size[b] * by_integral;
    }
  }
  int64_t p = 0;
  for (int64_t i = 0; i < t.atoms; ++i) {
    for (int64_t j = i + 1; j < t.atoms; ++j, ++p) {
      const T *xi = x + 3 * W * i, *xj = x + 3 * W * j, *bi = by_born + i * W, *bj = by_born + j * W;
      const T *square = tile.r2 + p * W, *fixed = tile.pull + p * W;
      const T *in = tile.inward + p * W, *out = tile.outward + p * W;
      T *fi = f + 3 * W * i, *fj = f + 3 * W * j;
      FRAMES {
        const T dx = xi[b] - xj[b], dy = xi[b + W] - xj[b + W], dz = xi[b + 2 * W] - xj[b + 2 * W];
        const T all = -(fixed[b] + bi[b] * in[b] + bj[b] * out[b]), g = square[b] > T(kSquaredFloor) ? all : T(0);
        fi[b] += g * dx, fi[b + W] += g * dy, fi[b + 2 * W] += g * dz;
        fj[b] -= g * dx, fj[b + W] -= g * dy, fj[b + 2 * W] -= g * dz;
      }
    }
  }
}

template <class T> void add_born(Tile<T> &tile) {
  const Tables<T> &t = tile.t;
  if (t.neck) t.swallowed ? integrate<true, true>(tile) : integrate<false, true>(tile);
  else t.swallowed ? integrate<true, false>(tile) : integrate<false, false>(tile);
  const bool salt = t.solvent[2] != 0;
  salt ? add_own<true>(tile) : add_own<false>(tile);
  salt ? polarise<true>(tile) : polarise<false>(tile);
  add_chain(tile);
}

}  // namespace bayescg
