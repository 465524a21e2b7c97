// Monotonic rational-quadratic splines with linear tails, and their derivatives: many sites, each a number and its
// spline of a few bins. The formulas are those of _Spline in spline_flow.py.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

#include "elementary.h"
#include "pool.h"

#if defined(__clang__)
#define SITES _Pragma("clang loop vectorize(assume_safety)") for (int b = 0; b < W; ++b)
#else
#define SITES _Pragma("GCC ivdep") for (int b = 0; b < W; ++b)
#endif

namespace bayescg {

constexpr int W = 32;
constexpr double kMost = 6.90775527898213705;  // of logarithms: slopes are above 1e-3

// A number squeezed into (-kMost / steep, kMost / steep), and the derivative of that.
template <class T> INLINE T squeezed(T u, T steep) { return u / (1 + steep / T(kMost) * std::fabs(u)); }
template <class T> INLINE T squeezing(T u, T steep) {
  const T by = 1 + steep / T(kMost) * std::fabs(u);
  return 1 / (by * by);
}

// W splines side by side: rows of W numbers, one for each site.
template <class T> struct Splines {
  const int64_t bins, width;  // of a site there are `width` parameters: logs of widths, of heights, of slopes between
  const T bound;
  std::vector<T> memory;
  T *u, *shares[2], *slopes;             // (width), (bins) of widths and of heights, (bins + 1) at the ends of bins
  T *v, *by_value, *by_ladj;             // numbers, and derivatives by what becomes of them
  T *below[2], *part[2], *left, *right;  // shares below the bin of v and of it, and slopes at its ends
  T *at, *whole;                         // number of that bin; zero, or not a number where a parameter is not finite

  Splines(int64_t bins, T bound) : bins(bins), width(3 * bins - 1), bound(bound), memory((6 * bins + 11) * W + 16) {
    T *next = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64 / sizeof(T);
    auto take = [&](int64_t rows) { T *row = next; next += rows * W; return row; };
    u = take(width), slopes = take(bins + 1), v = take(1), by_value = take(1), by_ladj = take(1);
    for (int side = 0; side < 2; ++side) shares[side] = take(bins), below[side] = take(1), part[side] = take(1);
    left = take(1), right = take(1), at = take(1), whole = take(1);
  }
  Splines(const Splines &other) : Splines(other.bins, other.bound) {}

  void load(const T *values, const T *knots, int count) {
    for (int b = 0; b < W; ++b) {
      const int site = b < count ? b : count - 1;
      v[b] = values[site];
      for (int64_t k = 0; k < width; ++k) u[k * W + b] = knots[site * width + k];
    }
  }

  // Shares of the bins, slopes between them, and the bin that v lies in along widths (0) or heights (1).
  void locate(int axis) {
    T sum[2][W] = {}, begin[W], here[W];
    std::fill(whole, whole + W, T(0)), std::fill(at, at + W, T(0));
    for (int64_t k = 0; k < width; ++k) SITES whole[b] += 0 * u[k * W + b];
    for (int side = 0; side < 2; ++side) {
      T *row = shares[side], *total = begin;
      const T *log = u + side * bins * W;
      std::fill(total, total + W, T(0));
      for (int64_t k = 0; k < bins; ++k) {
        SITES row[k * W + b] = expo(squeezed(log[k * W + b], T(2)));
        SITES total[b] += row[k * W + b];
      }
      SITES total[b] = 1 / total[b];
      for (int64_t k = 0; k < bins; ++k) SITES row[k * W + b] *= total[b];
    }
    std::fill(slopes, slopes + W, T(1)), std::fill(slopes + bins * W, slopes + (bins + 1) * W, T(1));
    for (int64_t k = 1; k < bins; ++k) {
      const T *log = u + (2 * bins + k - 1) * W;
      T *row = slopes + k * W;
      SITES row[b] = expo(squeezed(log[b], T(1)));
    }
    const T *along = sum[axis];
    for (int64_t k = 0; k < bins; ++k) {
      SITES begin[b] = bound * (2 * along[b] - 1);
      if (k == 0) std::fill(here, here + W, T(1)); else SITES here[b] = v[b] > begin[b] ? T(1) : T(0);
      for (int side = 0; side < 2; ++side) {
        T *lower = below[side], *of_it = part[side], *total = sum[side];
        const T *row = shares[side] + k * W;
        SITES lower[b] = here[b] > 0 ? total[b] : lower[b];
        SITES of_it[b] = here[b] > 0 ? row[b] : of_it[b];
        SITES total[b] += row[b];
      }
      const T *low = slopes + k * W, *high = low + W;
      SITES left[b] = here[b] > 0 ? low[b] : left[b];
      SITES right[b] = here[b] > 0 ? high[b] : right[b];
      SITES at[b] = here[b] > 0 ? T(k) : at[b];
    }
  }
};

// A site in its bin: how wide and high that is, and how far through it the site is.
template <class T> struct Place {
  T w, h, s, z, t;
  bool inside;
};

template <bool inverse, class T>
INLINE Place<T> placed(T v, T bound, T below_x, T part_x, T below_y, T part_y, T d0, T d1) {
  Place<T> p;
  p.inside = (v > -bound) & (v <= bound);
  p.w = 2 * bound * part_x, p.h = 2 * bound * part_y, p.s = p.h / p.w;
  const T edge = bound * (2 * (inverse ? below_y : below_x) - 1), above = p.inside ? v - edge : T(0);
  if (inverse) {
    const T curve = d0 + d1 - 2 * p.s;
    const T a = p.h * (p.s - d0) + above * curve, c = p.h * d0 - above * curve, square = c * c + 4 * a * p.s * above;
    p.z = 2 * p.s * above / (c + std::sqrt(square > 0 ? square : T(0)));
  } else {
    p.z = above / p.w;
  }
  p.t = p.z * (1 - p.z);
  return p;
}

template <bool inverse, class T> void evaluate(Splines<T> &a, T *value, T *ladj, int count) {
  a.locate(inverse);
  const T *v = a.v, *x0 = a.below[0], *xs = a.part[0], *y0 = a.below[1], *ys = a.part[1], *left = a.left;
  const T *right = a.right, *whole = a.whole, bound = a.bound;
  T out[W], log[W];
  SITES {
    const T d0 = left[b], d1 = right[b];
    const auto p = placed<inverse>(v[b], bound, x0[b], xs[b], y0[b], ys[b], d0, d1);
    const T den = 1 / (p.s + (d0 + d1 - 2 * p.s) * p.t), r = p.s * den;
    const T slope = ln(r * r * (2 * p.s * p.t + d0 * (1 - p.z) * (1 - p.z) + d1 * p.z * p.z));
    const T x = bound * (2 * x0[b] - 1) + p.z * p.w;
    const T y = bound * (2 * y0[b] - 1) + p.h * (p.s * p.z * p.z + d0 * p.t) * den;
    out[b] = (p.inside ? (inverse ? x : y) : v[b]) + whole[b];
    log[b] = (p.inside ? (inverse ? -slope : slope) : T(0)) + whole[b];
  }
  std::copy(out, out + count, value), std::copy(log, log + count, ladj);
}

// Of a scalar whose derivatives by values and by logs of slopes are known: those by the numbers and by the parameters.
template <bool inverse, class T> void differentiate(Splines<T> &a, T *by_v, T *by_knots, int count) {
  a.locate(inverse);
  const T *v = a.v, *x0 = a.below[0], *xs = a.part[0], *y0 = a.below[1], *ys = a.part[1], *left = a.left;
  const T *right = a.right, *whole = a.whole, *by_value = a.by_value, *by_ladj = a.by_ladj, *at = a.at, bound = a.bound;
  T first[W], start[2][W], extent[2][W], low[W], high[W];
  SITES {
    const T d0 = left[b], d1 = right[b];
    const auto p = placed<inverse>(v[b], bound, x0[b], xs[b], y0[b], ys[b], d0, d1);
    const T w = p.w, s = p.s, z = p.z, t = p.t, turn = 1 - 2 * z, curve = d0 + d1 - 2 * s, far = 1 - z;
    const T den = 1 / (s + curve * t), q = 1 / (2 * s * t + d0 * far * far + d1 * z * z), hd = p.h * den;
    const T mean = (s * z * z + d0 * t) * den;
    const T y_z = hd * (2 * s * z + d0 * turn - mean * curve * turn), y_s = hd * (z * z - mean * (1 - 2 * t));
    const T l_z = q * (2 * s * turn - 2 * d0 * far + 2 * d1 * z) - 2 * den * curve * turn;
    const T l_s = 2 / s + 2 * q * t - 2 * den * (1 - 2 * t);
    // of the inverse x of f(x) = y: what x does to f, f does to x, and the log of the slope turns its sign
    const T by_x = inverse ? (by_value[b] - by_ladj[b] * l_z / w) * w / y_z : (by_value[b] * y_z + by_ladj[b] * l_z) / w;
    const T gy = p.inside ? (inverse ? -by_x : by_value[b]) : T(0);
    const T gl = p.inside ? (inverse ? -by_ladj[b] : by_ladj[b]) : T(0);
    const T gz = gy * y_z + gl * l_z, gs = gy * y_s + gl * l_s;
    first[b] = (p.inside ? by_x : by_value[b]) + whole[b];
    start[0][b] = -gz / w, extent[0][b] = -(gz * z + gs * s) / w;
    start[1][b] = gy, extent[1][b] = gy * mean + gs / w;
    low[b] = gy * hd * t * (1 - mean) + gl * (q * far * far - 2 * den * t);
    high[b] = -gy * hd * t * mean + gl * (q * z * z - 2 * den * t);
  }
  for (int side = 0; side < 2; ++side) {  // rows of parameters become the derivatives by themselves
    const T *begin = start[side], *size = extent[side], *below = a.below[side], *part = a.part[side];
    for (int64_t k = 0; k < a.bins; ++k) {
      const T *share = a.shares[side] + k * W, bin = T(k);
      T *u = a.u + (side * a.bins + k) * W;
      SITES {
        const T before = bin < at[b] ? T(1) : T(0), here = bin == at[b] ? T(1) : T(0);
        const T by = begin[b] * (before - below[b]) + size[b] * (here - part[b]);
        u[b] = 2 * bound * share[b] * by * squeezing(u[b], T(2)) + whole[b];
      }
    }
  }
  for (int64_t k = 1; k < a.bins; ++k) {
    const T *slope = a.slopes + k * W, bin = T(k);
    T *u = a.u + (2 * a.bins + k - 1) * W;
    SITES {
      const T by = (bin == at[b] ? low[b] : T(0)) + (bin == at[b] + 1 ? high[b] : T(0));
      u[b] = by * slope[b] * squeezing(u[b], T(1)) + whole[b];
    }
  }
  for (int b = 0; b < count; ++b) {
    by_v[b] = first[b];
    for (int64_t k = 0; k < a.width; ++k) by_knots[b * a.width + k] = a.u[k * W + b];
  }
}

// Work on W sites after another in so many threads; zero, or one where the memory does not suffice.
template <class T, class Work>
int run(int64_t sites, int64_t bins, double bound, int64_t threads, const Work &work) {
  const int64_t tiles = (sites + W - 1) / W, few = 16;  // of a thread, at least
  std::atomic<int64_t> next{0};
  std::vector<Splines<T>> room;
  try {
    for (int64_t n = 0; n < std::max<int64_t>(1, std::min(threads, tiles / few)); ++n) room.emplace_back(bins, T(bound));
  } catch (const std::bad_alloc &) {
    return 1;
  }
  Pool::here().share(int64_t(room.size()), [&](int64_t thread) {
    for (int64_t n = next++; n < tiles; n = next++) work(room[thread], n * W, int(std::min<int64_t>(sites - n * W, W)));
  });
  return 0;
}

template <class T>
int values(const T *x, const T *knots, T *value, T *ladj, int64_t sites, int64_t bins, double bound, int64_t inverse,
           int64_t threads) {
  return run<T>(sites, bins, bound, threads, [&](Splines<T> &room, int64_t from, int count) {
    room.load(x + from, knots + from * room.width, count);
    (inverse ? evaluate<true, T> : evaluate<false, T>)(room, value + from, ladj + from, count);
  });
}

template <class T>
int gradients(const T *x, const T *knots, const T *by_value, const T *by_ladj, T *by_x, T *by_knots, int64_t sites,
              int64_t bins, double bound, int64_t inverse, int64_t threads) {
  return run<T>(sites, bins, bound, threads, [&](Splines<T> &room, int64_t from, int count) {
    room.load(x + from, knots + from * room.width, count);
    for (int b = 0; b < W; ++b) {
      const int64_t site = from + (b < count ? b : count - 1);
      room.by_value[b] = by_value[site], room.by_ladj[b] = by_ladj[site];
    }
    (inverse ? differentiate<true, T> : differentiate<false, T>)(room, by_x + from, by_knots + from * room.width, count);
  });
}

}  // namespace bayescg

extern "C" {

#define SPLINES(T, name)                                                                                              \
  int spline_##name(const T *x, const T *knots, T *value, T *ladj, int64_t sites, int64_t bins, double bound,         \
                    int64_t inverse, int64_t threads) {                                                               \
    return bayescg::values(x, knots, value, ladj, sites, bins, bound, inverse, threads);                              \
  }                                                                                                                   \
  int spline_gradient_##name(const T *x, const T *knots, const T *by_value, const T *by_ladj, T *by_x, T *by_knots,   \
                             int64_t sites, int64_t bins, double bound, int64_t inverse, int64_t threads) {           \
    return bayescg::gradients(x, knots, by_value, by_ladj, by_x, by_knots, sites, bins, bound, inverse, threads);     \
  }

SPLINES(float, float)
SPLINES(double, double)

}
