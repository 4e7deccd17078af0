// Adam's step of all parameters; see arrays.cu.

// p, g, m, v. rate = lr / (1 - beta1^step), root = 1 / sqrt(1 - beta2^step).
extern "C" __global__ void adam(Arrays arrays, A rate, A root, A share1, A beta2, A share2, A eps, A decay, A shrink)
{
    Part part = part_of_block(arrays);
    T *p = (T*)arrays.at[0][part.array], *m = (T*)arrays.at[2][part.array], *v = (T*)arrays.at[3][part.array];
    const T* g = (const T*)arrays.at[1][part.array];
    for (unsigned i = part.start + threadIdx.x; i < part.end; i += blockDim.x) {
        A x = A(g[i]) + decay * A(p[i]), mean = A(m[i]), square = A(v[i]);
        mean += share1 * (x - mean);
        square = beta2 * square + share2 * x * x;
        m[i] = T(mean);
        v[i] = T(square);
        p[i] = T(shrink * A(p[i]) - rate * mean / (sqrt(square) * root + eps));
    }
}
