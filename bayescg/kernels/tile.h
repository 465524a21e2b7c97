// The parameters of a force field, and a tile: W frames side by side, with everything that is known of them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "elementary.h"

// The loop over the frames of a tile; rows of different atoms do not overlap, which the compiler cannot see.
#if defined(__clang__)
#define FRAMES _Pragma("clang loop vectorize(assume_safety)") for (int b = 0; b < W; ++b)
#else
#define FRAMES _Pragma("GCC ivdep") for (int b = 0; b < W; ++b)
#endif

namespace bayescg {

constexpr int W = 32;

// What lies below is taken for it: squares of distances between atoms (nm^2), of the lengths of bonds and axes (nm^2),
// of the areas of angles and planes (nm^4).
constexpr double kSquaredFloor = 4e-6, kPoint = 1e-20, kLine = 1e-20;

// native.py declares the same members in the same order; what they mean is said in tables.py.
template <class T> struct Tables {
  int64_t atoms;
  int64_t bonds;
  const int32_t *bond_atoms;
  const T *bond_length, *bond_k;
  int64_t angles;
  const int32_t *angle_atoms;
  const T *angle_angle, *angle_k;
  int64_t torsions, orders;
  const int32_t *torsion_atoms;
  const T *torsion_cos, *torsion_sin;
  int64_t impropers;
  const int32_t *improper_torsion;
  const T *improper_angle, *improper_k;
  int64_t maps;
  const int32_t *map_phi, *map_psi, *map_first, *map_size;
  const T *map_patches;
  int64_t ranges;
  const int64_t *pairs;  // of each range, one range after the other
  const int32_t *pair_atoms;
  const T *pair_qq, *pair_a, *pair_b;
  const T *range;  // cutoff, switch, k_rf, c_rf of each
  int64_t born, rescaled, swallowed, neck;
  const T *charge, *radius, *offset_radius, *scaled_radius, *alpha, *beta, *gamma, *area;
  const T *neck_depth, *neck_position, *neck_reach;
  const T *solvent;  // coulomb / solute dielectric, coulomb / solvent dielectric, kappa, cutoff
};

template <class T> struct Tile {
  const Tables<T> &t;
  std::unique_ptr<T[]> memory;
  T *x, *f, *e;                       // (3 atoms, W), (3 atoms, W), (W)
  T *v, *noise, *dt;                  // (3 atoms, W), (4, W), (W): of frames that move
  T *phi, *slope;                     // (torsions, W): angles, and derivatives by them of impropers and maps
  T *r2, *inward, *outward, *pull;    // (pairs, W) of all pairs, for the solvent
  T *integral, *born, *by_born;       // (atoms, W)

  explicit Tile(const Tables<T> &tables) : t(tables) {
    const int64_t n = t.atoms, all = t.born ? n * (n - 1) / 2 : 0, angles = t.impropers + t.maps ? t.torsions : 0;
    memory.reset(new T[(9 * n + 6 + 2 * angles + 4 * all + (t.born ? 3 * n : 0)) * W + 64 / sizeof(T)]);
    T *next = memory.get() + (64 - reinterpret_cast<uintptr_t>(memory.get()) % 64) % 64 / sizeof(T);
    auto take = [&](int64_t rows) { T *p = next; next += rows * W; return p; };
    x = take(3 * n), f = take(3 * n), e = take(1), v = take(3 * n), noise = take(4), dt = take(1);
    phi = take(angles), slope = take(angles);
    r2 = take(all), inward = take(all), outward = take(all), pull = take(all);
    integral = take(t.born ? n : 0), born = take(t.born ? n : 0), by_born = take(t.born ? n : 0);
  }

  // Energies and forces as they are before any term is added: NaN where a coordinate is not finite.
  void reset() {
    const int64_t dim = 3 * t.atoms;
    std::fill(f, f + dim * W, T(0));
    std::fill(e, e + W, T(0));
    for (int64_t k = 0; k < dim; ++k) FRAMES e[b] += 0 * x[k * W + b];
  }

  // Rows of a tile (3 atoms, W) from frames (count, 3 atoms), the last of which fills what is left, and back.
  void load(const T *frames, T *rows, int count) const {
    const int64_t dim = 3 * t.atoms;
    for (int b = 0; b < W; ++b) {
      const T *frame = frames + (b < count ? b : count - 1) * dim;
      for (int64_t k = 0; k < dim; ++k) rows[k * W + b] = frame[k];
    }
  }

  void store(const T *rows, T *frames, int count) const {
    const int64_t dim = 3 * t.atoms;
    for (int b = 0; b < count; ++b)
      for (int64_t k = 0; k < dim; ++k) frames[b * dim + k] = rows[k * W + b];
  }
};

}  // namespace bayescg
