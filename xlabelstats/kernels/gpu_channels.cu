// Loops over pairs of channels in CuPy blocks: what the loops of `cpu_channels.py` do.
//
// One thread takes one run and one channel, with this and all later channels of its group.

// Sums of signed numbers are those of the words they are written as.
template <typename P>
__global__ void cross_sums(
    const P* image, integer pixels, integer size, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, integer channels, integer* sums, integer* products
) {
    integer t = thread();
    if (t >= runs * size) return;
    integer run = t % runs, line = t / runs, group = line / channels, a = line % channels;
    const P* x = image + line * pixels + starts[run];
    integer row = codes[run] * (size / channels) + group;
    integer pair = row * (channels * (channels + 1) / 2) + a * channels - a * (a - 1) / 2;
    integer sum = 0;
    for (integer i = 0; i < lengths[run]; i++) sum += (integer)x[i];
    atomicAdd((word*)(sums + row * channels + a), (word)sum);
    for (integer b = a; b < channels; b++, pair++) {
        const P* y = x + (b - a) * pixels;
        integer product = 0;
        for (integer i = 0; i < lengths[run]; i++) product += (integer)x[i] * (integer)y[i];
        atomicAdd((word*)(products + pair), (word)product);
    }
}

template <typename P>
__global__ void cross_powers(
    const P* image, integer pixels, integer size, const integer* codes, const integer* starts, const integer* lengths,
    integer runs, integer channels, const double* means, double* sums, double* products
) {
    integer t = thread();
    if (t >= runs * size) return;
    integer run = t % runs, line = t / runs, group = line / channels, a = line % channels;
    const P* x = image + line * pixels + starts[run];
    integer row = codes[run] * (size / channels) + group;
    integer pair = row * (channels * (channels + 1) / 2) + a * channels - a * (a - 1) / 2;
    double mean = means[row * channels + a], sum = 0;
    for (integer i = 0; i < lengths[run]; i++) sum += x[i] == x[i] ? (double)x[i] - mean : 0.0;
    atomicAdd(sums + row * channels + a, sum);
    for (integer b = a; b < channels; b++, pair++) {
        const P* y = x + (b - a) * pixels;
        double other = means[row * channels + b], product = 0;
        for (integer i = 0; i < lengths[run]; i++)
            product += x[i] == x[i] && y[i] == y[i] ? ((double)x[i] - mean) * ((double)y[i] - other) : 0.0;
        atomicAdd(products + pair, product);
    }
}
