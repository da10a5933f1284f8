// Loops over runs of equal label and over windows in CuPy blocks, compiled by CuPy when they are first called.
//
// They do what the loops of `cpu_runs.py` and `cpu_objects.py` do, on the same arrays.  One thread takes one run and
// channel, and adds what it found to its label by atomic operations; their order is not fixed, so results agree to
// rounding.  Neighbouring threads take neighbouring runs, whose pixels lie side by side.

typedef long long integer;
typedef unsigned long long word;

const word SIGN = 1ull << 63;

__device__ inline integer thread() { return (integer)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline long long wide(signed char x) { return x; }
__device__ inline long long wide(short x) { return x; }
__device__ inline long long wide(int x) { return x; }
__device__ inline long long wide(long long x) { return x; }
__device__ inline word wide(unsigned char x) { return x; }
__device__ inline word wide(unsigned short x) { return x; }
__device__ inline word wide(unsigned int x) { return x; }
__device__ inline word wide(unsigned long long x) { return x; }
__device__ inline double wide(float x) { return x; }
__device__ inline double wide(double x) { return x; }

// A word that sorts as the number does: there are atomic extremes of words, but not of all dtypes.
__device__ inline word ordered(word x) { return x; }
__device__ inline word ordered(long long x) { return (word)x ^ SIGN; }
__device__ inline word ordered(double x) {
    word bits = (word)__double_as_longlong(x);
    return bits & SIGN ? ~bits : bits | SIGN;
}

// Add to a sum; what rounding takes from it is kept beside it (Knuth's two-sum), as the old sum is known.
__device__ inline void add_exactly(double* sum, double part) {
    double old = atomicAdd(sum, part);
    double now = old + part;
    double kept = now - old;
    atomicAdd(sum + 1, (old - (now - kept)) + (part - kept));
}

template <typename P>
__global__ void count_valid(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, double* moments, integer fields
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs;
    const P* line = image + c * pixels + starts[run];
    integer n = 0;
    for (integer i = 0; i < lengths[run]; i++) n += line[i] == line[i];
    atomicAdd(moments + (codes[run] * channels + c) * fields, (double)n);
}

// S is the type in which the pixels of one run are summed.  No fields: no sums.
template <typename P, typename S>
__global__ void sums_and_extremes(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, double* sums, integer fields, word* extremes, bool ranging
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs;
    const P* line = image + c * pixels + starts[run];
    integer place = codes[run] * channels + c;
    S sum = 0;
    word low = ~0ull, high = 0;
    bool any = false;
    for (integer i = 0; i < lengths[run]; i++) {
        P x = line[i];
        if (x != x) continue;
        any = true;
        sum += (S)x;
        word key = ordered(wide(x));
        low = key < low ? key : low;
        high = key > high ? key : high;
    }
    if (!any) return;
    if (ranging) {
        atomicMin(extremes + 2 * place, low);
        atomicMax(extremes + 2 * place + 1, high);
    }
    if (fields == 1) atomicAdd(sums + place, (double)sum);
    if (fields == 2) add_exactly(sums + 2 * place, (double)sum);
}

// The powers 1 to `order` of pixel - sums[0], added to the four fields behind that.
template <typename P>
__global__ void powers(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, double* sums, integer order
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs;
    const P* line = image + c * pixels + starts[run];
    double* into = sums + (codes[run] * channels + c) * 5;
    double mean = into[0], a1 = 0, a2 = 0, a3 = 0, a4 = 0;
    for (integer i = 0; i < lengths[run]; i++) {
        P x = line[i];
        double d = x == x ? (double)x - mean : 0.0;
        double dd = d * d;
        a1 += d;
        a2 += dd;
        a3 += dd * d;
        a4 += dd * dd;
    }
    atomicAdd(into + 1, a1);
    atomicAdd(into + 2, a2);
    if (order > 2) atomicAdd(into + 3, a3);
    if (order > 3) atomicAdd(into + 4, a4);
}

// `table` has the bin of every number from first[0] on, -1 for none; where it is empty, bins are searched for.
template <typename P, typename C>
__global__ void histograms(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, const int* table, integer places, const P* first, integer size, const P* last, C* counts, integer bins
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs;
    const P* line = image + c * pixels + starts[run];
    C* into = counts + (codes[run] * channels + c) * bins;
    P lowest = first[0], beyond = last[0];
    for (integer i = 0; i < lengths[run]; i++) {
        P x = line[i];
        if (!(x >= lowest && x <= beyond)) continue;
        integer bin = 0;
        if (places) {
            bin = table[(word)x - (word)lowest];
            if (bin < 0) continue;
        } else {
            integer above = size;
            while (above - bin > 1) {
                integer middle = (bin + above) / 2;
                if (x >= first[middle]) bin = middle;
                else above = middle;
            }
        }
        atomicAdd(into + bin, (C)1);
    }
}

// The first pixel that has a value, or that is no number.
template <typename P>
__global__ void first_places(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, const P* values, bool lost, integer* places
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs, place = codes[run] * channels + c;
    const P* line = image + c * pixels + starts[run];
    P value = values[place];
    for (integer i = 0; i < lengths[run]; i++)
        if (lost ? line[i] != line[i] : line[i] == value) {
            atomicMin(places + place, starts[run] + i);
            return;
        }
}

// Weights, and weighted powers of pixel - sums[0], added to the four fields behind that.
template <typename P, typename W>
__global__ void weighted_powers(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, const integer* shape, integer ndim, const W* weights, const integer* steps, double* sums
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs, last = ndim - 1, step = steps[last];
    integer place = starts[run] % shape[last] * step, rest = starts[run] / shape[last];
    for (integer axis = last - 1; axis >= 0; axis--) {
        place += rest % shape[axis] * steps[axis];
        rest /= shape[axis];
    }
    const P* line = image + c * pixels + starts[run];
    double* into = sums + (codes[run] * channels + c) * 5;
    double mean = into[0], a1 = 0, a2 = 0, total = 0, spoiled = 0;
    for (integer i = 0; i < lengths[run]; i++) {
        double w = weights[place + i * step];
        P x = line[i];
        if (w > 0 && x == x) {
            double d = (double)x - mean;
            a1 += w * d;
            a2 += w * d * d;
            total += w;
        } else if (w != 0) {
            // Of negative weights minus infinity.
            spoiled += w < 0 ? -1.0 / 0.0 : 1.0;
        }
    }
    atomicAdd(into + 1, a1);
    atomicAdd(into + 2, a2);
    atomicAdd(into + 3, total);
    atomicAdd(into + 4, spoiled);
}

__global__ void centre(const double* sums, double* moments, integer size, integer order) {
    integer t = thread();
    if (t >= size) return;
    const double* s = sums + t * 5;
    double* out = moments + t * (order + 2);
    double n = out[0], d = n > 0 ? s[1] / n : 0.0;
    // Unlike fmax, these keep NaN.
    double m2 = s[2] - n * d * d;
    out[2] = m2 < 0 ? 0.0 : m2;
    if (order > 2) out[3] = s[3] - 3 * d * s[2] + 2 * n * d * d * d;
    if (order > 3) {
        double m4 = s[4] - 4 * d * s[3] + 6 * d * d * s[2] - 3 * n * d * d * d * d;
        out[4] = m4 < 0 ? 0.0 : m4;
    }
    out[order + 1] = d;
}

// One thread per row and channel.  A row that held no pixel before is taken over as it is.
template <typename E>
__global__ void merge(
    const integer* rows, integer size, integer channels, integer fields, bool ranging, const double* moments_in,
    const E* extremes_in, const integer* before, double* moments, E* extremes
) {
    integer t = thread();
    if (t >= size * channels) return;
    integer row = rows[t / channels], place = row * channels + t % channels;
    bool first = before[t / channels] == 0;
    double* a = moments + place * fields;
    const double* b = moments_in + t * fields;
    if (ranging) {
        E *x = extremes + 2 * place;
        const E *y = extremes_in + 2 * t;
        if (first || y[0] < x[0]) x[0] = y[0];
        if (first || y[1] > x[1]) x[1] = y[1];
    }
    double na = first ? 0.0 : a[0], nb = b[0];
    if (na == 0 || nb == 0) {
        for (integer field = 0; field < fields; field++) a[field] = b[field] + (first ? 0.0 : a[field]);
        return;
    }
    if (fields > 2) {
        integer order = fields - 2;
        double mean_a = a[1] / na, delta = (b[1] / nb - mean_a) + (b[order + 1] - a[order + 1]), step = delta / (na + nb);
        if (order > 3)
            a[4] += b[4] + delta * step * step * step * na * nb * (na * na - na * nb + nb * nb) +
                    6 * step * step * (na * na * b[2] + nb * nb * a[2]) + 4 * step * (na * b[3] - nb * a[3]);
        if (order > 2) a[3] += b[3] + delta * step * step * na * nb * (na - nb) + 3 * step * (na * b[2] - nb * a[2]);
        a[2] += b[2] + delta * step * na * nb;
        a[order + 1] += (mean_a - (a[1] + b[1]) / (na + nb)) + step * nb;
    }
    if (fields > 1) a[1] += b[1];
    a[0] += b[0];
}

__global__ void boxes(
    const integer* codes, const integer* starts, const integer* lengths, integer runs, const integer* shape, integer ndim,
    integer* low, integer* high
) {
    integer run = thread();
    if (run >= runs) return;
    integer rest = starts[run];
    for (integer axis = ndim - 1; axis >= 0; axis--) {
        integer position = rest % shape[axis];
        rest /= shape[axis];
        atomicMin(low + codes[run] * ndim + axis, position);
        atomicMax(high + codes[run] * ndim + axis, position + (axis == ndim - 1 ? lengths[run] : 1));
    }
}

// The sums of positions from `origin` and of their products: whole numbers, so their order does not matter.
__global__ void position_sums(
    const integer* codes, const integer* starts, const integer* lengths, integer runs, const integer* shape, integer ndim,
    const integer* origin, double* s1, double* s2
) {
    integer run = thread();
    if (run >= runs) return;
    integer code = codes[run], last = ndim - 1;
    const integer* from = origin + code * ndim;
    double* sum = s1 + code * ndim;
    double* product = s2 + code * ndim * ndim;
    double n = lengths[run], first = starts[run] % shape[last] - from[last];
    double along = n * first + n * (n - 1) / 2;
    integer row = starts[run] / shape[last], rest_a = row;
    for (integer a = last - 1; a >= 0; a--) {
        double at = rest_a % shape[a] - from[a];
        atomicAdd(sum + a, n * at);
        atomicAdd(product + a * ndim + last, along * at);
        integer rest_b = row;
        for (integer b = last - 1; b >= a; b--) {
            double other = rest_b % shape[b] - from[b];
            atomicAdd(product + a * ndim + b, n * at * other);
            rest_b /= shape[b];
        }
        rest_a /= shape[a];
    }
    atomicAdd(sum + last, along);
    atomicAdd(product + last * ndim + last, n * first * first + first * n * (n - 1) + (n - 1) * n * (2 * n - 1) / 6);
}

__global__ void merge_geometry(
    const integer* rows, integer size, integer ndim, const integer* before, const integer* count, const integer* low_in,
    const integer* high_in, const integer* origin_in, const double* offset_in, const double* m2_in, integer* low,
    integer* high, integer* origin, double* offset, double* m2
) {
    integer t = thread();
    if (t >= size) return;
    integer row = rows[t], a = row * ndim, b = t * ndim;
    bool first = before[t] == 0;
    double na = before[t], nb = count[t], share = nb / (na + nb);
    for (integer axis = 0; axis < ndim; axis++) {
        low[a + axis] = first || low_in[b + axis] < low[a + axis] ? low_in[b + axis] : low[a + axis];
        high[a + axis] = first || high_in[b + axis] > high[a + axis] ? high_in[b + axis] : high[a + axis];
        if (first) {
            origin[a + axis] = origin_in[b + axis];
            offset[a + axis] = offset_in[b + axis];
        }
    }
    for (integer i = 0; i < ndim; i++)
        for (integer j = 0; j < ndim; j++) {
            double di = (double)(origin_in[b + i] - origin[a + i]) + (offset_in[b + i] - offset[a + i]);
            double dj = (double)(origin_in[b + j] - origin[a + j]) + (offset_in[b + j] - offset[a + j]);
            m2[a * ndim + i * ndim + j] += m2_in[b * ndim + i * ndim + j] + di * dj * na * share;
        }
    for (integer axis = 0; axis < ndim; axis++)
        offset[a + axis] +=
            share * ((double)(origin_in[b + axis] - origin[a + axis]) + (offset_in[b + axis] - offset[a + axis]));
}

// An image of 0 channels weighs every pixel 1.
template <typename P>
__global__ void coordinate_sums(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, const integer* shape, integer ndim, const double* coords, integer longest, double* out, integer rows
) {
    integer t = thread();
    if (t >= runs * rows) return;
    integer run = t % runs, c = t / runs, last = ndim - 1;
    integer row = starts[run] / shape[last], first = starts[run] % shape[last];
    double total = 0, along = 0;
    for (integer i = 0; i < lengths[run]; i++) {
        double w = channels ? (double)image[c * pixels + starts[run] + i] : 1.0;
        total += w;
        along += w * coords[last * longest + first + i];
    }
    double* into = out + (codes[run] * rows + c) * (1 + ndim);
    atomicAdd(into, total);
    atomicAdd(into + 1 + last, along);
    for (integer axis = last - 1; axis >= 0; axis--) {
        atomicAdd(into + 1 + axis, total * coords[axis * longest + row % shape[axis]]);
        row /= shape[axis];
    }
}

// One thread per run, channel and combination of powers; the powers of the last axis vary fastest.
template <typename P>
__global__ void position_moments(
    const P* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, const integer* shape, integer ndim, const integer* origin, integer powers, integer combinations, double* out,
    integer rows
) {
    integer t = thread();
    if (t >= runs * rows * combinations) return;
    integer run = t % runs, c = t / runs % rows, combination = t / runs / rows, last = ndim - 1;
    integer power = combination % powers, rest = combination / powers, row = starts[run] / shape[last];
    const integer* from = origin + codes[run] * ndim;
    double factor = 1;
    for (integer axis = last - 1; axis >= 0; axis--) {
        double position = row % shape[axis] - from[axis];
        for (integer i = 0; i < rest % powers; i++) factor *= position;
        rest /= powers;
        row /= shape[axis];
    }
    double sum = 0, first = starts[run] % shape[last] - from[last];
    for (integer i = 0; i < lengths[run]; i++) {
        double term = channels ? (double)image[c * pixels + starts[run] + i] : 1.0;
        for (integer k = 0; k < power; k++) term *= first + i;
        sum += term;
    }
    atomicAdd(out + (codes[run] * rows + c) * combinations + combination, factor * sum);
}

// `places` (run) are the pixels of the run's label before the run.
template <typename T>
__global__ void gather(
    const T* image, integer pixels, integer channels, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, const integer* count, const integer* before, const integer* places, T* out
) {
    integer t = thread();
    if (t >= runs * channels) return;
    integer run = t % runs, c = t / runs, code = codes[run];
    const T* from = image + c * pixels + starts[run];
    T* into = out + before[code] * channels + c * count[code] + places[run];
    for (integer i = 0; i < lengths[run]; i++) into[i] = from[i];
}

// One thread per window, channel and pixel; a channel beyond the last marks where the object is.
template <typename T, typename L, typename M>
__global__ void cut(
    const T* image, const integer* first, integer channels, const integer* steps, const L* mask, const integer* mask_steps,
    const integer* shape, integer ndim, const integer* starts, const integer* low, const integer* high, const integer* size,
    integer cells, const L* labels, bool alone, const integer* rows, integer windows, T* out, const M* marks, M* marked,
    bool marking
) {
    integer t = thread();
    if (t >= windows * (channels + marking) * cells) return;
    integer cell = t % cells, c = t / cells % (channels + marking), window = t / cells / (channels + marking);
    integer source = 0, mask_source = 0, rest = cell;
    for (integer axis = ndim - 1; axis >= 0; axis--) {
        integer inside = rest % size[axis], position = starts[window * ndim + axis] + inside;
        rest /= size[axis];
        if (inside < low[window * ndim + axis] || inside >= high[window * ndim + axis]) return;
        if (position < 0 || position >= shape[axis]) return;
        source += position * steps[axis];
        mask_source += position * mask_steps[axis];
    }
    bool own = (alone || c == channels) && mask[mask_source] == labels[window];
    if (c == channels) {
        if (own) marked[rows[window] * cells + cell] = marks[window];
    } else if (own || !alone)
        out[(rows[window] * channels + c) * cells + cell] = image[first[c] + source];
}
