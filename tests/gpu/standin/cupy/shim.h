// What the kernels need of CUDA, on one processor: threads run one after the other, in an order of no meaning.
// It is compiled with every kernel, so it includes little: <string> or <cmath> would take three times as long.
#include <type_traits>
#include <utility>

#define __global__
#define __device__

struct Place { long long x; };
static thread_local Place blockIdx, blockDim, threadIdx;

static inline long long __double_as_longlong(double x) {
    long long bits;
    __builtin_memcpy(&bits, &x, 8);
    return bits;
}

template <typename T> T atomicAdd(T* place, T value) { T old = *place; *place = old + value; return old; }
template <typename T> T atomicMin(T* place, T value) { T old = *place; if (value < old) *place = value; return old; }
template <typename T> T atomicMax(T* place, T value) { T old = *place; if (value > old) *place = value; return old; }

template <typename T> void describe(char*& text) {
    if constexpr (std::is_pointer_v<T>) {
        *text++ = '*';
        describe<std::remove_cv_t<std::remove_pointer_t<T>>>(text);
    } else {
        *text++ = std::is_same_v<T, bool> ? 'b' : std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
        *text++ = '0' + sizeof(T);
        *text++ = ' ';
    }
}

template <typename... A> void signature(void (*)(A...), char* text) { (describe<A>(text), ...); }

template <typename... A, std::size_t... I>
void run(void (*kernel)(A...), long long grid, long long block, void** args, std::index_sequence<I...>) {
    long long n = grid * block, step = 7919 % n ? 7919 : 1;
    blockDim.x = block;
    for (long long k = 0, t = n - 1; k < n; k++, t = (t + step) % n) {
        blockIdx.x = t / block;
        threadIdx.x = t % block;
        kernel(*static_cast<std::remove_reference_t<A>*>(args[I])...);
    }
}

template <typename... A> void launch(void (*kernel)(A...), long long grid, long long block, void** args) {
    run(kernel, grid, block, args, std::index_sequence_for<A...>{});
}
