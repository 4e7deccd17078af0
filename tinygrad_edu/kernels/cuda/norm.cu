// The norm of all gradients together, and their scaling; see arrays.cu.

// sums[first + block] = the sum of the squares of each block.
extern "C" __global__ void square_sums(Arrays arrays, int first, double* sums)
{
    Part part = part_of_block(arrays);
    const T* x = (const T*)arrays.at[0][part.array];
    A sum = 0;
    for (unsigned i = part.start + threadIdx.x; i < part.end; i += blockDim.x)
        sum += A(x[i]) * A(x[i]);
    sum = over_block<Sum>(sum);
    if (threadIdx.x == 0)
        sums[first + blockIdx.x] = sum;
}

extern "C" __global__ void scale(Arrays arrays, A factor)
{
    Part part = part_of_block(arrays);
    T* x = (T*)arrays.at[0][part.array];
    for (unsigned i = part.start + threadIdx.x; i < part.end; i += blockDim.x)
        x[i] = T(A(x[i]) * factor);
}
