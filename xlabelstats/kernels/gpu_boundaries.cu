// Loops over the neighbours of the pixels of labels in CuPy blocks: what the loops of `cpu_boundaries.py` do.
//
// One thread takes one run, and adds what it found to its label by atomic operations on whole numbers, whose order does
// not matter.  A sum of signed numbers is that of the words they are written as.

__device__ inline void add(integer* place, integer part) { if (part) atomicAdd((word*)place, (word)part); }

template <typename L>
__global__ void neighbours(
    const L* area, const integer* codes, const integer* starts, const integer* lengths, integer runs, const integer* shape,
    integer ndim, const integer* area_shape, const integer* start, const integer* offsets, integer size,
    const signed char* table, integer* crossings, integer* euler, bool measuring
) {
    integer run = thread();
    if (run >= runs) return;
    integer last = ndim - 1, code = codes[run], n = lengths[run], total = 0;
    // Where the first pixel lies in the area, and how far it is in it from the first of the pixel before along each axis.
    integer place = 0, step = 1, rest = starts[run];
    for (integer axis = last; axis >= 0; axis--) {
        place += (start[axis] + rest % shape[axis]) * step;
        step *= area_shape[axis];
        rest /= shape[axis];
    }
    L label = area[place];
    unsigned short bits[64];
    for (integer i = 0; i < n; i++) bits[i] = 0;
    for (integer k = 0; k < size; k++) {
        const integer* offset = offsets + k * ndim;
        integer shift = 0, same = 0;
        bool inside = true;
        step = 1;
        rest = starts[run] / shape[last];
        integer first = start[last] + starts[run] % shape[last] + offset[last];
        for (integer axis = last; axis >= 0; axis--) {
            if (axis < last) {
                integer position = start[axis] + rest % shape[axis] + offset[axis];
                inside = inside && position >= 0 && position < area_shape[axis];
                rest /= shape[axis];
            }
            shift += offset[axis] * step;
            step *= area_shape[axis];
        }
        for (integer i = 0; inside && i < n; i++) {
            bool hit = first + i >= 0 && first + i < area_shape[last] && area[place + shift + i] == label;
            same += hit;
            bits[i] |= hit << k;
        }
        add(crossings + code * size + k, n - same);
    }
    if (!measuring) return;
    for (integer i = 0; i < n; i++) total += table[bits[i]];
    add(euler + code, total);
}

template <typename L>
__device__ inline bool carries(const L* area, const integer* area_shape, integer y, integer x, L label) {
    return y >= 0 && y < area_shape[0] && x >= 0 && x < area_shape[1] && area[y * area_shape[1] + x] == label;
}

template <typename L>
__device__ inline bool is_border(const L* area, const integer* area_shape, integer y, integer x, L label) {
    return carries(area, area_shape, y, x, label) &&
           !(carries(area, area_shape, y - 1, x, label) && carries(area, area_shape, y + 1, x, label) &&
             carries(area, area_shape, y, x - 1, label) && carries(area, area_shape, y, x + 1, label));
}

template <typename L>
__global__ void border_pixels(
    const L* area, const integer* codes, const integer* starts, const integer* lengths, integer runs, const integer* shape,
    const integer* area_shape, const integer* start, const signed char* kinds, integer* out
) {
    integer run = thread();
    if (run >= runs) return;
    integer y = start[0] + starts[run] / shape[1], first = start[1] + starts[run] % shape[1];
    L label = area[y * area_shape[1] + first];
    integer tally[3] = {0, 0, 0};
    for (integer x = first; x < first + lengths[run]; x++) {
        if (!is_border(area, area_shape, y, x, label)) continue;
        int place = 1;
        for (int dy = -1; dy <= 1; dy++)
            for (int dx = -1; dx <= 1; dx++)
                if ((dy || dx) && is_border(area, area_shape, y + dy, x + dx, label)) place += dy && dx ? 10 : 2;
        if (kinds[place]) tally[kinds[place] - 1]++;
    }
    for (int kind = 0; kind < 3; kind++) add(out + codes[run] * 3 + kind, tally[kind]);
}
