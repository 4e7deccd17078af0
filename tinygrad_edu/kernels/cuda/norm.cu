// The norm of all gradients together, and their scaling; see arrays.cu.

// sums[first + block] = the sum of the squares of each block.
extern "C" __global__ void square_sums(Arrays arrays, int first, double* sums)
{
    Part part = part_of_block(arrays);
    const T* x = start_of(arrays, 0, part.array);
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
    T* x = start_of(arrays, 0, part.array);
    for (unsigned i = part.start + threadIdx.x; i < part.end; i += blockDim.x)
        x[i] = T(A(x[i]) * factor);
}

// norm = the root of the sum of all n square sums; the arrays are multiplied by most / (norm + 1e-6) if that is below 1.
// Every block adds up the sums anew, which is less work than another launch.
extern "C" __global__ void clip(Arrays arrays, const double* sums, int n, double most, double* norm)
{
    double total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        total += sums[i];
    total = sqrt(over_block<Sum>(total));
    if (blockIdx.x == 0 && threadIdx.x == 0)
        *norm = total;
    double factor = most / (total + 1e-6);
    if (factor >= 1)  // not for NaN, which then shows in every gradient
        return;
    Part part = part_of_block(arrays);
    T* x = start_of(arrays, 0, part.array);
    for (unsigned i = part.start + threadIdx.x; i < part.end; i += blockDim.x)
        x[i] = T(A(x[i]) * A(factor));
}
