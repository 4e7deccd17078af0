// What all kernels share. T is the type in memory, A the one they compute in; both are defined before this text.

#ifdef __HIPCC__
#define FROM_LANE(x, distance) __shfl_xor(x, distance)
#else
#define FROM_LANE(x, distance) __shfl_xor_sync(0xffffffffu, x, distance)
#endif

typedef long long Index;

__device__ T plus(T x, T y) { return T(A(x) + A(y)); }

#define INFINITE A(1.0 / 0.0)

struct Sum {
    template <class X>
    static __device__ X of(X x, X y) { return x + y; }
};

struct Largest {
    template <class X>
    static __device__ X of(X x, X y) { return x > y || x != x ? x : y; }  // NaN stays
};

// What all threads of the block have together, the same in each. The block is whole warps, at most 32.
template <class Operation, class X>
__device__ X over_block(X x)
{
    __shared__ X parts[32];
    for (int distance = warpSize / 2; distance > 0; distance /= 2)
        x = Operation::of(x, FROM_LANE(x, distance));
    __syncthreads();  // before it, the parts of the last call may still be read
    if (threadIdx.x % warpSize == 0)
        parts[threadIdx.x / warpSize] = x;
    __syncthreads();
    x = parts[0];
    for (int warp = 1; warp < blockDim.x / warpSize; warp++)
        x = Operation::of(x, parts[warp]);
    return x;
}
