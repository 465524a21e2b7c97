// Energies and forces of many frames of one molecule, by hand.
//
// Frames are taken in tiles of W. Within a tile the frame is the innermost, contiguous index, so that every operation is
// a vector operation over frames, the terms of the force field are a plain loop around it, and forces are added up in
// place: no term of one tile meets another thread's. What a frame gets never depends on the frames around it.
//
// native.py declares the same Tables; the formulas are those of bonded.py, nonbonded.py and born.py.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__clang__)
#define FRAMES _Pragma("clang loop vectorize(assume_safety)") for (int b = 0; b < W; ++b)
#else
#define FRAMES _Pragma("GCC ivdep") for (int b = 0; b < W; ++b)
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int W = 32;

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

// ---- elementary functions that vectorise with any compiler ----

template <class T> struct Bits;
template <> struct Bits<float> {
  using Int = int32_t;
  static constexpr int mantissa = 23, bias = 127, log_terms = 5, exp_terms = 7, atan_terms = 5;
  static constexpr Int sqrt_half = 0x3f3504f3;
  static constexpr float largest = 80.0f;
};
template <> struct Bits<double> {
  using Int = int64_t;
  static constexpr int mantissa = 52, bias = 1023, log_terms = 11, exp_terms = 13, atan_terms = 12;
  static constexpr Int sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr double largest = 700.0;
};

template <class To, class From> INLINE To as(From from) {
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// ln x of a positive normal number, zero of any other: x = 2^e m with m around one, and the series of ln m = 2 artanh((m - 1) / (m + 1))
template <class T> INLINE T ln(T x) {
  using B = Bits<T>;
  const typename B::Int bits = as<typename B::Int>(x > 0 ? x : T(1)), e = (bits - B::sqrt_half) >> B::mantissa;
  const T m = as<T>(bits - e * (typename B::Int(1) << B::mantissa)), s = (m - 1) / (m + 1), z = s * s;
  T sum = 0;
  for (int k = B::log_terms - 1; k >= 0; --k) sum = sum * z + T(1) / (2 * k + 1);
  return T(e) * T(0.693147180559945309417) + 2 * s * sum;
}

// e^x = 2^n e^r with |r| <= ln 2 / 2
template <class T> INLINE T expo(T x) {
  using B = Bits<T>;
  x = x > -B::largest ? x : -B::largest;  // what is not a number too: an integer is made of it
  x = x < B::largest ? x : B::largest;
  const T n = std::rint(x * T(1.44269504088896340736));
  const T r = (x - n * T(0.693145751953125)) - n * T(1.42860682030941723212e-6);
  T sum = 1;
  for (int k = B::exp_terms; k > 0; --k) sum = sum * r / T(k) + 1;
  return sum * as<T>((typename B::Int(n) + B::bias) << B::mantissa);
}

// Angle of the vector (x, y) with y >= 0, in [0, pi]; two halvings leave a short series
template <class T> INLINE T arc(T y, T x) {
  const T ax = x < 0 ? -x : x;
  const T small = y < ax ? y : ax, large = y < ax ? ax : y, t = small / large;
  const T h = t / (1 + std::sqrt(1 + t * t)), q = h / (1 + std::sqrt(1 + h * h)), z = -q * q;
  T sum = 0;
  for (int k = Bits<T>::atan_terms - 1; k >= 0; --k) sum = sum * z + T(1) / (2 * k + 1);
  T angle = 4 * q * sum;
  angle = y < ax ? angle : T(1.57079632679489661923) - angle;
  return x < 0 ? T(3.14159265358979323846) - angle : angle;
}

template <class T> INLINE T larger(T a, T b) { return a < b ? b : a; }  // NaN stays NaN where it is a

constexpr double kSquaredFloor = 4e-6, kPoint = 1e-20, kLine = 1e-20;

// ---- one tile ----

template <class T> struct Tile {
  const Tables<T> &t;
  std::unique_ptr<T[]> memory;
  T *x, *f, *e;                     // (3 atoms, W), (3 atoms, W), (W)
  T *phi, *slope;                   // (torsions, W): angles, and derivatives by them of impropers and maps
  T *r2, *inverse, *inward, *outward, *pull;  // (pairs, W) of all pairs for the solvent
  T *integral, *born, *by_born;     // (atoms, W)

  explicit Tile(const Tables<T> &tables) : t(tables) {
    const int64_t n = t.atoms, all = t.born ? n * (n - 1) / 2 : 0, angles = t.impropers + t.maps ? t.torsions : 0;
    memory.reset(new T[(6 * n + 1 + 2 * angles + 5 * all + (t.born ? 3 * n : 0)) * W + 64 / sizeof(T)]);
    T *next = memory.get() + (64 - reinterpret_cast<uintptr_t>(memory.get()) % 64) % 64 / sizeof(T);
    auto take = [&](int64_t rows) { T *p = next; next += rows * W; return p; };
    x = take(3 * n), f = take(3 * n), e = take(1), phi = take(angles), slope = take(angles);
    r2 = take(all), inverse = take(all), inward = take(all), outward = take(all), pull = take(all);
    integral = take(t.born ? n : 0), born = take(t.born ? n : 0), by_born = take(t.born ? n : 0);
  }

  void load(const T *source, int count) {
    const int64_t dim = 3 * t.atoms;
    std::fill(f, f + dim * W, T(0));
    std::fill(e, e + W, T(0));
    for (int b = 0; b < W; ++b) {
      const T *frame = source + (b < count ? b : count - 1) * dim;
      T sum = 0;
      for (int64_t k = 0; k < dim; ++k) x[k * W + b] = frame[k], sum += frame[k];
      e[b] = 0 * sum;  // NaN where a coordinate is not finite
    }
  }

  void store(T *energy, T *force, int count) const {
    const int64_t dim = 3 * t.atoms;
    for (int b = 0; b < count; ++b) {
      energy[b] = e[b];
      for (int64_t k = 0; k < dim; ++k) force[b * dim + k] = f[k * W + b];
    }
  }

  void add_bonds() {
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

  void add_angles() {
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

  // What a torsion is made of: u, axis and w between its atoms, and the normals of its two planes
  struct Torsion {
    T ux, uy, uz, vx, vy, vz, wx, wy, wz, mx, my, mz, nx, ny, nz, mm, nn, cos, sin, vv, v;
  };

  INLINE Torsion torsion(const T *xa, const T *xb, const T *xc, const T *xd, int b) {
    Torsion s;
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

  void find_torsions() {
    for (int64_t n = 0; n < t.torsions; ++n) {
      const int32_t *at = t.torsion_atoms + 4 * n;
      const T *xa = x + 3 * W * at[0], *xb = x + 3 * W * at[1], *xc = x + 3 * W * at[2], *xd = x + 3 * W * at[3];
      T *angle = phi + n * W, *by_angle = slope + n * W;
      FRAMES {
        const Torsion s = torsion(xa, xb, xc, xd, b);
        const T up = s.sin < 0 ? -s.sin : s.sin, to = arc(up, s.cos);
        angle[b] = s.sin < 0 ? -to : to;
        by_angle[b] = 0;
      }
    }
  }

  void add_impropers() {
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

  void add_maps() {
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
  template <bool Slopes, int Orders> void add_torsions() {
    for (int64_t n = 0; n < t.torsions; ++n) {
      const int32_t *at = t.torsion_atoms + 4 * n;
      const T *xa = x + 3 * W * at[0], *xb = x + 3 * W * at[1], *xc = x + 3 * W * at[2], *xd = x + 3 * W * at[3];
      T *fa = f + 3 * W * at[0], *fb = f + 3 * W * at[1], *fc = f + 3 * W * at[2], *fd = f + 3 * W * at[3];
      const T *by_angle = Slopes ? slope + n * W : nullptr;
      const T *cosines = t.torsion_cos + n * t.orders, *sines = t.torsion_sin + n * t.orders;
      const int64_t orders = Orders ? Orders : t.orders;
      FRAMES {
        const Torsion s = torsion(xa, xb, xc, xd, b);
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

  template <bool Slopes> void choose_torsions() {
    if (t.orders == 5) add_torsions<Slopes, 5>();
    else if (t.orders == 7) add_torsions<Slopes, 7>();
    else add_torsions<Slopes, 0>();
  }

  template <bool Cut> void add_pairs(int64_t from, int64_t to, const T *range) {
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

  // One direction of a pair: the integral of an atom of radius rho over another of scaled radius s, and its derivative
  template <bool Swallowed> INLINE void descreen(T r, T v, T rho, T s, T &value, T &by_r) {
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

  template <bool Swallowed, bool Neck> void integrate() {
    std::fill(integral, integral + t.atoms * W, T(0));
    const T cutoff = t.solvent[3];
    int64_t p = 0;
    for (int64_t i = 0; i < t.atoms; ++i) {
      for (int64_t j = i + 1; j < t.atoms; ++j, ++p) {
        const T *xi = x + 3 * W * i, *xj = x + 3 * W * j;
        T *to_i = integral + i * W, *to_j = integral + j * W;
        T *square = r2 + p * W, *over = inverse + p * W, *in = inward + p * W, *out = outward + p * W;
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
          square[b] = s, over[b] = v;
          in[b] = near ? by_i * v : T(0), out[b] = near ? by_j * v : T(0);
          to_i[b] += near ? value_i : T(0), to_j[b] += near ? value_j : T(0);
        }
      }
    }
  }

  // -k (1 / eps_in - exp(-kappa d) / eps_out), and its derivative by d
  template <bool Salt> INLINE void factor(const T *solvent, T d, T &value, T &by) {
    const T shield = Salt ? solvent[1] * expo(-solvent[2] * d) : solvent[1];
    value = shield - solvent[0], by = Salt ? -solvent[2] * shield : T(0);
  }

  template <bool Salt> void add_own() {
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

  template <bool Salt> void polarise() {
    const T solvent[] = {t.solvent[0], t.solvent[1], t.solvent[2]};
    const T cutoff = t.solvent[3], shift = 1 / cutoff;
    int64_t p = 0;
    for (int64_t i = 0; i < t.atoms; ++i) {
      for (int64_t j = i + 1; j < t.atoms; ++j, ++p) {
        const T *square = r2 + p * W, *bi = born + i * W, *bj = born + j * W;
        T *to_i = by_born + i * W, *to_j = by_born + j * W, *g = pull + p * W;
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

  void add_chain() {
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
        const T *square = r2 + p * W, *in = inward + p * W, *out = outward + p * W, *fixed = pull + p * W;
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

  void add_born() {
    if (t.neck) t.swallowed ? integrate<true, true>() : integrate<false, true>();
    else t.swallowed ? integrate<true, false>() : integrate<false, false>();
    const bool salt = t.solvent[2] != 0;
    salt ? add_own<true>() : add_own<false>();
    salt ? polarise<true>() : polarise<false>();
    add_chain();
  }

  void evaluate() {
    add_bonds();
    add_angles();
    if (t.impropers + t.maps) {
      find_torsions();
      add_impropers();
      add_maps();
      choose_torsions<true>();
    } else {
      choose_torsions<false>();
    }
    for (int64_t n = 0, from = 0; n < t.ranges; from += t.pairs[n++])
      std::isinf(t.range[4 * n]) ? add_pairs<false>(from, from + t.pairs[n], t.range + 4 * n)
                                 : add_pairs<true>(from, from + t.pairs[n], t.range + 4 * n);
    if (t.born) add_born();
  }
};

template <class T>
void run(const Tables<T> &tables, const T *x, T *energy, T *force, int64_t frames, int64_t threads) {
  const int64_t tiles = (frames + W - 1) / W, dim = 3 * tables.atoms;
  std::atomic<int64_t> next{0};
  auto work = [&](Tile<T> &tile) {
    for (int64_t n = next++; n < tiles; n = next++) {
      const int64_t from = n * W;
      const int count = int(frames - from < W ? frames - from : W);
      tile.load(x + from * dim, count);
      tile.evaluate();
      tile.store(energy + from, force + from * dim, count);
    }
  };
  std::vector<Tile<T>> room;  // taken here: memory of a thread that ends is given back and faulted in anew
  for (int64_t n = 0; n < std::max<int64_t>(1, std::min(threads, tiles)); ++n) room.emplace_back(tables);
  std::vector<std::thread> others;
  for (size_t n = 1; n < room.size(); ++n) {
    try {
      others.emplace_back(work, std::ref(room[n]));
    } catch (const std::exception &) {
      break;  // fewer threads than asked for do the same work
    }
  }
  work(room[0]);
  for (std::thread &other : others) other.join();
}

}  // namespace

extern "C" {
void evaluate_float(const Tables<float> *t, const float *x, float *e, float *f, int64_t frames, int64_t threads) {
  run(*t, x, e, f, frames, threads);
}
void evaluate_double(const Tables<double> *t, const double *x, double *e, double *f, int64_t frames, int64_t threads) {
  run(*t, x, e, f, frames, threads);
}
}
