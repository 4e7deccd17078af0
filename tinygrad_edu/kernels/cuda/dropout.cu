// Dropout, forward and backward alike. SPAN elements are done at a time: 8 for each of THREADS threads.
#define SPAN (8 * THREADS)

// y = x * mask, of which each number is for `each` elements beside each other.
extern "C" __global__ void __launch_bounds__(THREADS) dropout(Index n, Index each, Mask mask, const T* x, T* y)
{
    __shared__ unsigned char kept[THREADS];
    for (Index start = Index(blockIdx.x) * SPAN; start < n; start += Index(gridDim.x) * SPAN) {
        Index end = start + SPAN < n ? start + SPAN : n, first = start / each / 8;
        __syncthreads();  // before it, the last bits may still be read
        if (first + threadIdx.x <= (end - 1) / each / 8)
            kept[threadIdx.x] = kept_of_block(mask, first + threadIdx.x);
        __syncthreads();
        for (Index i = start + threadIdx.x; i < end; i += THREADS)
            y[i] = T(A(x[i]) * factor(mask, kept, int(i / each - 8 * first)));
    }
}
